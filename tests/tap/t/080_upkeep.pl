# The daemon's upkeep: disk space is given back, but never what a sink or a snapshot still needs; it can be told to
# stop whatever it waits for, to read its configuration again under load, and started again at once after a kill.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../../fault";
use Fault;
use Walrank;
use IO::Socket::INET;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $source = source('source', conf => "listen_addresses = '127.0.0.1'\n");
my $search = source('search');
$source->safe_psql('postgres', q{CREATE TABLE item (id int PRIMARY KEY, v int, note text); INSERT INTO item SELECT i, i, '' FROM generate_series(1, 300) i});
my $d = daemon_new($source, postgres => $search,
	conf => "[journal]\nsegment_size = 64kB\n[feed]\nsegment_size = 64kB\nretain = 0\n[store]\nsnapshot_interval = 1s\ncommit_time = 100ms\n");
$d->init;
$source->safe_psql('postgres', q{SELECT walrank.watch('item'); INSERT INTO walrank.ranking (name, relation, definition) VALUES ('r', 'public.item', 'term v weight 1 v')});
$d->create;

sub work { $source->safe_psql('postgres', q{UPDATE item SET v = v + 1, note = repeat(md5(random()::text), 20); DELETE FROM item WHERE id = (SELECT min(id) FROM item); INSERT INTO item SELECT max(id) + 1, 1, '' FROM item}); return }

sub same
{
	my ($when) = @_;
	$d->catch_up;
	is($search->safe_psql('postgres', 'SELECT id, score FROM walrank_out.score_item ORDER BY id'), $source->safe_psql('postgres', 'SELECT id, v::float8 FROM item ORDER BY id'), "$when: postgres sink equals SQL");
	my %seen;
	is(scalar(grep { /^\{"pos":"([^"]+)"/ && $seen{$1}++ } $d->lines), 0, "$when: no line twice");
	return;
}

# ---- threads --------------------------------------------------------------------------------------
{
	my @wanted = ('walrankd', 'receiver', 'journal sync', 'scorer', 'snapshot', 'backfill', 'housekeeping', 'sink file', 'sink table');
	my %name;
	eval { poll('threads', sub {
		%name = map { chomp(my $n = slurp($_) // ''); ($n => 1) } glob "/proc/$d->{pid}/task/*/comm";
		return !grep { !$name{$_} } @wanted;
	}) };
	for my $wanted (@wanted)
	{
		ok($name{$wanted}, "a thread is called \"$wanted\"") or diag join ', ', sort keys %name;
	}
}

# ---- space ----------------------------------------------------------------------------------------
poll('journal and feed to be trimmed', sub { work(); my $s = $d->status; $s->{journal}{first_seq} > 1 && $s->{feed}{first_seq} > 1 });
ok(!-e "$d->{state}/journal/0000000001.seg" && !-e "$d->{state}/feed/0000000001.seg", 'the first segments of journal and feed are gone')
  or diag join ' ', glob "$d->{state}/{journal,feed}/*";
same('after trimming');

$search->stop('fast');
my ($held, $bad);
poll('the journal to be trimmed beyond a sink that is away', sub {
	work();
	my $s = $d->status;
	($held) = map { $_->{seq} } grep { $_->{name} eq 'table' } @{ $s->{sinks} };
	$bad++ if $s->{feed}{first_seq} > $held + 1 || $s->{journal}{first_seq} > $s->{store}{oldest_snapshot_seq} + 1;
	return $s->{journal}{first_seq} > $held + 20; # some segments, of either log
});
is($bad, undef, 'the feed is kept for the slowest sink, the journal for the oldest snapshot');

# back to the oldest snapshot: what it needs must still be there
$d->kill9;
my @snapshots = sort { ($a =~ /(\d+)\.mdb/)[0] <=> ($b =~ /(\d+)\.mdb/)[0] } glob "$d->{state}/store/snapshot-*.mdb";
cmp_ok(scalar @snapshots, '>=', 2, 'two snapshots are kept');
unlink $snapshots[-1], "$d->{state}/store/mark";
work();
$search->start;
$d->start;
$d->ready;
like(slurp($d->{log}), qr/snapshot.*mark is missing|mark is missing.*snapshot/s, 'the log says that a snapshot took the place of the store');
same('from the oldest snapshot, over trimmed logs');

# ---- what must not stop or hang it -------------------------------------------------------------------
{
	# the description of a table with many columns is larger than any frame or value may be
	my $before = slurp($d->{conf});
	is($d->stop, 0, 'stopped');
	spew($d->{conf}, $before =~ s/\[source\]\n/[source]\nframe_bytes = 1kB\nmax_value_bytes = 1kB\n/r);
	my $columns = join ', ', map { sprintf '%s_%04d int', 'c' x 58, $_ } 1 .. 1500;
	$source->safe_psql('postgres', "CREATE TABLE wide (id int PRIMARY KEY, $columns); SELECT walrank.watch('wide')");
	$d->start;
	poll('the new table to be filled', sub { my $s = $d->status; grep { $_->{relation} eq 'public.wide' && $_->{backfill} eq 'filled' } @{ $s->{tables} // [] } });
	$source->safe_psql('postgres', 'INSERT INTO wide (id) VALUES (1)');
	same('a table with 1500 columns, all limits at 1 kB');
	is(scalar(grep { /"relation":"public.wide"/ } $d->lines), 1, 'its row is there');

	# a server that waits for standbys must not wait for us before we are there
	$source->safe_psql('postgres', q{ALTER SYSTEM SET synchronous_standby_names = '*'});
	$source->reload;
	$d->kill9;
	$d->start;
	$d->ready;
	like(slurp($d->{log}), qr/synchronous_standby_names/, 'a source whose commits would wait for us: a warning');
	$source->safe_psql('postgres', q{ALTER SYSTEM RESET synchronous_standby_names});
	$source->reload;
	$d->stop;
	spew($d->{conf}, $before);
	$d->start;
	$d->ready;
	same('after that');
}

# ---- a reload under load --------------------------------------------------------------------------
my $conf = slurp($d->{conf});
for (1 .. 100)
{
	my $n = 1 + $_ % 7;
	spew($d->{conf}, $conf . "[daemon]\nbeat_interval = ${n}s\n[log]\nlevel = " . ($_ % 2 ? 'debug' : 'info') . "\n");
	kill 'HUP', $d->{pid};
	work() if $_ % 10 == 0;
	sleep 0.01;
}
poll('the last reload', sub { () = (slurp($d->{log}) =~ /configuration reloaded/g) });
same('after reloads under load');
spew($d->{conf}, $conf);

# ---- killed and started at once ---------------------------------------------------------------------
for (1 .. 3)
{
	work();
	my $old = delete $d->{pid};
	kill 'KILL', $old;
	$d->start;
	waitpid $old, 0;
	$d->ready;
}
pass('killed and started at once, three times');
same('after that');
is($d->stop, 0, 'ended');

# ---- a stop that does not wait for the source ---------------------------------------------------------
sub stops_soon
{
	my ($what) = @_;
	my $begun = time;
	is($d->stop, 0, "$what: TERM ends the daemon with 0");
	cmp_ok(time - $begun, '<', 4.5, "$what: and no timeout has to end first"); # statement_timeout is 5 s
	return;
}
{
	my $mute = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 5) or die;
	spew($d->{conf}, $conf =~ s/conninfo = host=\S+ port=\S+ dbname=postgres user=walrank_daemon/'conninfo = host=127.0.0.1 port=' . $mute->sockport . ' dbname=postgres user=walrank_daemon'/er);
	$d->start;
	poll('the connection attempt', sub { my $r = ''; vec($r, fileno($mute), 1) = 1; select $r, undef, undef, 0.1 });
	sleep 0.5;
	stops_soon('a server that does not answer');
	spew($d->{conf}, $conf);
}
{
	my $holder = fork() // die;
	if ($holder == 0)
	{
		open STDOUT, '>', '/dev/null';
		open STDERR, '>', '/dev/null';
		exec 'psql', '-X', '-h', $source->host, '-p', $source->port, '-d', 'postgres', '-c', 'BEGIN; UPDATE walrank.control SET beat = beat; SELECT pg_sleep(60)';
	}
	poll('the lock', sub { $source->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' AND wait_event = 'PgSleep'}) == 1 });
	$d->start;
	poll('the daemon to wait for it', sub { $source->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE application_name = 'walrank' AND wait_event_type = 'Lock'}) == 1 });
	stops_soon('a statement that waits for a lock');
	$source->safe_psql('postgres', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' AND pid <> pg_backend_pid()});
	waitpid $holder, 0;
}
{
	# nothing comes through any more, the request to cancel the statement of a reading that waits for a lock included
	my $proxy = proxy_start($source, seed => 1, mean => 500);
	spew($d->{conf}, $conf =~ s/conninfo = host=\S+ port=\S+ dbname=postgres user=walrank_daemon/conninfo = host=127.0.0.1 port=$proxy->{port} dbname=postgres user=walrank_daemon/r);
	$d->start;
	$d->ready;
	my $locker = $source->background_psql('postgres');
	$locker->query_safe('BEGIN; LOCK TABLE item IN ACCESS EXCLUSIVE MODE');
	run_ok('a reading is asked for', Walrank::Daemon::bin('walrank'), '--config', $d->{conf}, 'backfill', 'start', 'item');
	poll('the reading to wait', sub { $source->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'walrank backfill%' AND wait_event_type = 'Lock'}) == 1 });
	kill 'STOP', $proxy->{pid};
	my $begun = time;
	is($d->stop, 0, 'a network that swallows everything: TERM ends the daemon with 0');
	note sprintf 'after %.1f s', time - $begun;
	kill 'CONT', $proxy->{pid};
	$proxy->stop;
	$locker->query_safe('ROLLBACK');
	$locker->quit;
	spew($d->{conf}, $conf);
}
$d->start;
$d->ready;
same('in the end');
is($d->stop, 0, 'ended');
done_testing();
