# walrankd --create, killed at any step, goes on where it stopped: one slot, one row, one stream; and it never drops a slot that is
# not the one it made.
use strict;
use warnings;
use IPC::Run;
use Walrank;
use Walrank::DieAt;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{WALRANK_SEED} // (time ^ $$) % 1_000_000_000;
srand $seed;
diag "seed $seed (WALRANK_SEED=$seed repeats the choice)";

my $source = source('source', allow => 1);
$source->safe_psql('postgres', 'CREATE TABLE item (id int PRIMARY KEY, v int); INSERT INTO item SELECT i, i FROM generate_series(1, 10) i');
my $d = daemon_new($source);
$d->init;
$source->safe_psql('postgres', q{SELECT walrank.watch('item')});
$source->safe_psql('postgres', q{SELECT pg_create_logical_replication_slot('old', 'walrank'); CREATE DATABASE second; UPDATE item SET v = v});

sub clean
{
	system('rm', '-rf', $d->{state}, glob "$d->{ndjson}*") == 0 or die;
	$source->safe_psql('postgres', q{DELETE FROM walrank.control; SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = 'walrank'});
	return;
}

# Runs it to step $n (0: to the end of the creation, then it is killed); true when it was gone before.
sub create
{
	my ($n, @more) = @_;
	my $from = length(slurp($d->{log}) // '');
	local $d->{env} = $n > 0 ? { LD_PRELOAD => die_library(), WALRANK_DIE_AT => $n } : {};
	$d->start('--create', @more);
	my $log = '';
	poll("walrankd --create ($d->{log})", sub {
		my $ended = $d->ended;
		$log = substr(slurp($d->{log}) // '', $from);
		return $ended || $log =~ /stream ready|nothing to do/;
	});
	my $gone = $log !~ /stream ready|nothing to do/;
	$d->kill9 unless $d->ended;
	return wantarray ? ($gone, $log) : $gone;
}

sub fresh { my ($n) = @_; clean(); return scalar create($n) }

sub there
{
	return $source->safe_psql('postgres', q{SELECT (SELECT string_agg(slot_name || ' ' || plugin || ' ' || active, ',') FROM pg_replication_slots WHERE slot_name = 'walrank') || '; ' || (SELECT string_agg(state, ',') FROM walrank.control)});
}

my $steps = steps_of(\&fresh);
cmp_ok($steps, '>', 40, "the creation has steps: $steps");
for my $n (steps_to_try($steps, 14))
{
	ok(fresh($n), "gone at step $n");
	my ($gone, $log) = create(0);
	ok(!$gone, "step $n: the next --create goes on") or diag($log);
	is(there(), 'walrank walrank false; ready', "step $n: one slot, one row");
	my ($id) = slurp("$d->{state}/journal/identity") =~ /^stream_id=(\S+)$/m;
	is($source->safe_psql('postgres', 'SELECT stream_id FROM walrank.control'), $id, "step $n: of one stream");
}

# killed again and again, each time a few steps further
{
	clean();
	my $runs = 0;
	for (my $n = 1; create($n); $n += 3) { die "it never gets through\n" if ++$runs > 400 }
	ok($runs > 5, "killed $runs times one after the other");
	create(0);
	is(there(), 'walrank walrank false; ready', 'and it comes to its end');
}
$d->start;
$d->ready;
$source->safe_psql('postgres', 'INSERT INTO item VALUES (11, 11)');
$d->catch_up;
is(scalar(grep { /"kind":"change"/ } $d->lines), 11, 'and works');
is($d->stop, 0, 'stopped');
{
	my ($gone, $log) = create(0);
	like($log, qr/nothing to do/, '--create once more does nothing');
}

# ---- a slot of that name that is not the one it made --------------------------------------------------------------------
sub first_step { my ($sql) = @_; return 1 + steps_of(sub { fresh($_[0]); return $source->safe_psql('postgres', $sql) ne 't' }) }
my $row = first_step('SELECT count(*) > 0 FROM walrank.control');
my $old = q{SELECT pg_copy_logical_replication_slot('old', 'walrank')};
for my $case (
	[ 'one that is older than the creation', 'postgres', $old ],
	[ "one of another plugin", 'postgres', q{SELECT pg_create_logical_replication_slot('walrank', 'pgoutput')} ],
	[ 'one of another database', 'second', q{SELECT pg_create_logical_replication_slot('walrank', 'walrank')} ],
	[ 'a physical one', 'postgres', q{SELECT pg_create_physical_replication_slot('walrank', true)} ],
	[ 'one made before our row was written', 'postgres', q{SELECT pg_create_logical_replication_slot('walrank', 'walrank'); DELETE FROM walrank.control} ])
{
	my ($what, $db, $sql) = @$case;
	ok(fresh($row), "$what: gone before its own slot was made");
	$source->safe_psql($db, $sql);
	my $slots = $source->safe_psql('postgres', 'SELECT * FROM pg_replication_slots ORDER BY 1');
	my ($gone, $log) = create(0);
	ok($gone, "$what: --create stops");
	like($log, qr/slot "walrank" exists and is not the one this creation made.*\n.*HINT: .*\w/, "$what: says why and what to do");
	is($source->safe_psql('postgres', 'SELECT * FROM pg_replication_slots ORDER BY 1'), $slots, "$what: it is still there");
}
# in use
{
	ok(fresh($row), 'one in use: gone before its own slot was made');
	$source->safe_psql('postgres', q{SELECT pg_create_logical_replication_slot('walrank', 'walrank')});
	my $reader = IPC::Run::start([ 'pg_recvlogical', '-h', $source->host, '-p', $source->port, '-d', 'postgres', '-S', 'walrank', '--start', '-f', '/dev/null', '-o', "publication_names=walrank" ], '<', \undef, '>', '/dev/null', '2>', '/dev/null');
	poll('somebody to read it', sub { $source->safe_psql('postgres', q{SELECT active FROM pg_replication_slots WHERE slot_name = 'walrank'}) eq 't' });
	my ($gone, $log) = create(0);
	like($log, qr/slot "walrank" exists and is not the one this creation made/, 'one in use: --create stops');
	$reader->signal('TERM');
	$reader->finish;
}
# there from the beginning
{
	clean();
	$source->safe_psql('postgres', $old);
	my ($gone, $log) = create(0);
	like($log, qr/slot "walrank" exists already.*\n.*HINT: .*--adopt/, 'a slot that is there from the beginning: refused, with --adopt named');
	ok(!-e "$d->{state}/journal/identity", 'and nothing was begun');
}
done_testing();
