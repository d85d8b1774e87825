# Two histories never mix: each way a journal and a server can come to differ is refused before anything is written anywhere, by the
# name of the rule, with what to do.  045 has servers, databases and slots; here are journals, backups, promotions, copies.
use strict;
use warnings;
use IPC::Run;
use Walrank;
use Walrank::Untouched;
use PostgreSQL::Test::Utils;
use Test::More;

my $conf = "wal_level = logical\nmax_wal_size = 1GB\nwal_keep_size = 256MB\ntrack_commit_timestamp = on\nautovacuum = off\n"; # nobody else takes transaction numbers
my $source = source('source', allow => 1, conf => $conf);
my $search = source('search');
$source->safe_psql('postgres', 'CREATE TABLE item (id int PRIMARY KEY, v int); INSERT INTO item SELECT i, i FROM generate_series(1, 100) i');
# a beat only when it streams anew: what a backup lost is not always told by the control row
my $d = daemon_new($source, postgres => $search, conf => "[daemon]\nbeat_interval = 30s\n");
$d->init;
$source->safe_psql('postgres', q{SELECT walrank.watch('item'); INSERT INTO walrank.ranking (name, relation, definition) VALUES ('r', 'public.item', 'term v weight 1 v')});
$d->create;

my $next = 1000;
sub work
{
	my ($node) = @_;
	($node // $source)->safe_psql('postgres', "INSERT INTO item VALUES ($next, $next)");
	return $next++;
}

# What is committed is in the sink; waits for it without writing anything itself.
sub arrived
{
	my ($id) = @_;
	poll("item $id to arrive ($d->{log})", sub {
		die "walrankd ended with $d->{ended}\n" if $d->ended;
		return $search->safe_psql('postgres', "SELECT count(*) FROM walrank_out.score_item WHERE id = $id");
	});
	return;
}

sub same
{
	my ($when, $node) = @_;
	local $d->{node} = $node // $source;
	$d->catch_up;
	is($search->safe_psql('postgres', 'SELECT id, score FROM walrank_out.score_item ORDER BY id'),
		($node // $source)->safe_psql('postgres', 'SELECT id, v::float8 FROM item ORDER BY id'), $when);
	return;
}

sub check_refused
{
	my ($rule, $what, $when, %o) = @_;
	return refused($d, $rule, $what, $when, search => $search, %o);
}

sub copy { my ($from, $to) = @_; system('cp', '-a', $from, $to) == 0 or die "cp $from $to"; return }
sub move { my ($from, $to) = @_; rename $from, $to or die "$from to $to: $!"; return }
sub remove { my ($dir) = @_; system('rm', '-rf', $dir) == 0 or die "rm $dir"; return }

work();
same('at first');

# ---- the journal -----------------------------------------------------------------------------------------------------
$d->stop;
my $other = daemon_new($source, name => 'other', slot => 'other', file => 0);
$other->create;
$other->stop;
my $right = $d->{state};

copy($right, "$right.kept");
remove("$right/journal");
copy("$other->{state}/journal", "$right/journal");
{
	my ($rc, $log) = $d->fails;
	is($rc, 2, 'the journal of another slot: a matter of configuration');
	like($log, qr/source\.slot is "walrank", but ".*" belongs to slot "other"/, 'and slot and directory are named');
}
spew($d->{conf}, (my $own = slurp($d->{conf})) =~ s/slot = walrank/slot = other/r);
check_refused('R6', 'store file "data.mdb" belongs to stream', 'store and journal of two streams');
remove("$right/store");
copy("$other->{state}/store", "$right/store");
check_refused('', 'rule R7: feed .*another stream', 'journal, store and feed of two streams');
spew($d->{conf}, $own);
remove($right);
copy("$right.kept", $right);

# segments of another stream below our identity
remove("$right/journal");
copy("$other->{state}/journal", "$right/journal");
copy("$right.kept/journal/identity", "$right/journal/identity");
check_refused('', 'journal: journal segment 0000000001 belongs to another stream', "another stream's segments under our identity");
remove($right);
copy("$right.kept", $right);

my ($segment) = sort glob "$right/journal/*.seg";
{
	my $bytes = slurp($segment);
	my $at = int(length($bytes =~ s/\0+\z//r) / 2);
	substr($bytes, $at, 1) = chr(ord(substr($bytes, $at, 1)) ^ 0x04);
	spew($segment, $bytes);
}
check_refused('', 'journal: journal segment 0000000001 is damaged at offset \d+: a bad record stands where all was durable once', 'a bit flipped below the confirmed position');
remove($right);
copy("$right.kept", $right);

# ---- copies ------------------------------------------------------------------------------------------------------------
# While the one daemon streams, the other waits for the slot and writes nothing; once the one has gone on, it is refused.
{
	$d->start;
	$d->ready;
	my $twin = bless { %$d, pid => undef, state => "$right.kept", log => "$d->{log}.twin", ndjson => "$d->{dir}/twin.ndjson", conf => "$d->{dir}/twin.conf" }, 'Walrank::Daemon';
	spew($twin->{conf}, $own =~ s/\Q$right\E/$right.kept/r =~ s/\Q$d->{ndjson}\E/$twin->{ndjson}/r);
	chmod 0600, $twin->{conf};
	my $epoch = sub { $source->safe_psql('postgres', q{SELECT owner_epoch FROM walrank.control WHERE slot = 'walrank'}) };
	my $before = $epoch->();
	$twin->start;
	poll('the twin to wait', sub { (slurp($twin->{log}) // '') =~ /rule C2: slot "walrank" is in use/ });
	work();
	same('the first daemon goes on');
	poll('the twin to be refused', sub { $twin->ended });
	like(slurp($twin->{log}), qr/rule C3: slot "walrank" is confirmed up to/, 'a daemon on a copy of the state directory is refused');
	is($epoch->(), $before, 'and has taken nothing from the first');
	is($d->stop, 0, 'which was not disturbed');
}

# ---- transactions of another node ----------------------------------------------------------------------------------------
# What is replayed from elsewhere bears that node's time, or none where the session that replays does not say it: no wrong history.
for my $case ([ 'with its time', q{SELECT pg_replication_origin_xact_setup('0/1', '2011-11-11 11:11:11.111111+00');} ], [ 'without a time', '' ])
{
	my ($what, $say) = @$case;
	$source->safe_psql('postgres', q{SELECT pg_replication_origin_create('elsewhere') WHERE NOT EXISTS (SELECT FROM pg_replication_origin)});
	$d->start;
	$d->ready;
	$source->safe_psql('postgres', "SELECT pg_replication_origin_session_setup('elsewhere'); BEGIN; $say INSERT INTO item VALUES ($next, $next); COMMIT");
	arrived($next++);
	is($d->stop, 0, 'stopped');
	$d->start;
	$d->ready;
	is($d->stop, 0, "a transaction of another node, $what: the journal's last, and it goes on");
}

# ---- a server restored from a backup -----------------------------------------------------------------------------------
# The backup is a copy of the idle server's files, with a daemon connected: neither epoch nor beat tell by themselves.
my $data = $source->data_dir;
my $state = $right;
sub lay_aside
{
	my ($what) = @_;
	$d->stop;
	$source->stop('fast');
	remove("$data.now");
	move($data, "$data.now");
	copy("$data.backup", $data);
	unlink "$data/postmaster.pid";
	$source->{_pid} = undef;
	$source->start;
	return;
}

sub put_back
{
	my ($when) = @_;
	$source->stop('immediate');
	remove($data);
	move("$data.now", $data);
	$source->start;
	$d->start;
	$d->ready;
	work();
	same($when);
	return;
}

# Backup, then $n transactions that the journal has and the backup has not; far: in a later WAL file. A beat that came
# between would tell by itself: then another backup is made.
sub backup_and_work
{
	my ($n, %o) = @_;
	for (1 .. 5)
	{
		my $beat = $source->safe_psql('postgres', 'SELECT beat FROM walrank.control');
		$source->safe_psql('postgres', 'CHECKPOINT');
		remove("$data.backup");
		copy($data, "$data.backup");
		$source->safe_psql('postgres', 'SELECT pg_switch_wal()') if $o{far};
		arrived(work()) for 1 .. $n;
		return if $source->safe_psql('postgres', 'SELECT beat FROM walrank.control') == $beat;
	}
	die "beats too often\n";
}

# WAL files full of nothing: no transaction gets a number
sub more_wal
{
	my ($files) = @_;
	$source->safe_psql('postgres', q{SELECT pg_logical_emit_message(false, 'nothing', ''); SELECT pg_switch_wal()}) for 1 .. $files;
	$source->safe_psql('postgres', 'CHECKPOINT');
	return;
}

$d->start;
$d->ready;
work();
same('before the backups');
backup_and_work(3, far => 1);
my $xid = $source->safe_psql('postgres', 'SELECT max(xmin::text::bigint) FROM item');
lay_aside();
check_refused('C3', "the journal ends at .*, the server's WAL at", 'a restored server, nothing new');
more_wal(3);
check_refused('C6', "transaction $xid, the journal's last, lies in the future", 'a restored server, WAL but no new transaction');

# the number is given out again: as long as that transaction runs nobody knows
{
	my $before = everything($d, search => $search);
	my $mark = length(slurp($d->{log}));
	$source->safe_psql('postgres', 'SELECT txid_current()') for 1 .. $xid - $source->safe_psql('postgres', 'SELECT txid_snapshot_xmax(txid_current_snapshot())');
	my ($in, $out, $timer) = ('', '', IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	my $handle = IPC::Run::start([ 'psql', '-XAtq', '-h', $source->host, '-p', $source->port, '-d', 'postgres' ], '<', \$in, '>', \$out, $timer);
	$in .= "BEGIN; SELECT txid_current();\n";
	$handle->pump until $out =~ /^\d+$/m;
	is($out =~ s/\s+//gr, $xid, 'the number is given out again');
	$d->start;
	poll('the daemon to wait', sub { substr(slurp($d->{log}), $mark) =~ /rule C6: transaction $xid, the journal's last, is still in progress/ });
	ok(!$d->ended, 'in progress: the daemon waits');
	is_deeply(everything($d, search => $search), $before, 'in progress: nothing was written');
	$in .= "ROLLBACK;\n\\q\n";
	$handle->finish;
	poll('walrankd to refuse', sub { $d->ended });
	like(substr(slurp($d->{log}), $mark), qr/rule C6: transaction $xid, the journal's last, is aborted/, 'aborted: the daemon stops');
	is_deeply(everything($d, search => $search), $before, 'aborted: nothing was written');
}
put_back('the right server again, after a backup');

# committed again: only the time tells
backup_and_work(2);
$xid = $source->safe_psql('postgres', 'SELECT max(xmin::text::bigint) FROM item');
lay_aside();
$source->safe_psql('postgres', 'SELECT pg_switch_wal()');
work() for 1 .. 2;
$source->safe_psql('postgres', 'SELECT pg_switch_wal(); CHECKPOINT');
check_refused('C6', "transaction $xid, the journal's last, was committed at another time", 'a restored server, few new transactions');
work() for 1 .. 50;
check_refused('C6', "transaction $xid, the journal's last, was committed at another time", 'a restored server, many new transactions');
put_back('the right server again');

# without commit timestamps the control row tells, once a connection or a beat lies between
$d->stop;
$source->append_conf('postgresql.conf', 'track_commit_timestamp = off');
$source->restart;
$d->start;
$d->ready;
same('without commit timestamps');
backup_and_work(1);
$d->stop;
$d->start;
$d->ready;
arrived(work());
lay_aside();
$source->safe_psql('postgres', 'SELECT pg_switch_wal()');
work() for 1 .. 20;
$source->safe_psql('postgres', 'SELECT pg_switch_wal(); CHECKPOINT');
check_refused('C5', 'walrank.control is at owner epoch \d+ and beat \d+', 'a restored server without commit timestamps');
put_back('the right server again, without commit timestamps');

# ---- promoted standbys --------------------------------------------------------------------------------------------------
# One that has all the journal has, and one that has not; the slot is carried along by hand, as no server before 17 does.
$source->backup('base');
sub standby
{
	my ($name) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	$node->init_from_backup($source, 'base', has_streaming => 1);
	$node->start;
	return $node;
}

sub promoted
{
	my ($node) = @_;
	$node->stop('fast');
	copy("$data/pg_replslot/walrank", $node->data_dir . '/pg_replslot/walrank');
	$node->start;
	$node->promote;
	return;
}

my $behind = standby('behind');
my $ahead = standby('ahead');
$source->wait_for_catchup($behind, 'replay', $source->lsn('flush'));
$behind->stop('fast');
arrived(work());
same('before the failover');
$d->stop;
work();
$source->wait_for_catchup($ahead, 'replay', $source->lsn('flush'));
$source->stop('fast');
my $port = $source->port;
my $host = $source->host;
sub follow
{
	my ($node) = @_;
	spew($d->{conf}, $own =~ s/host=\Q$host\E port=$port dbname=postgres user/"host=" . $node->host . " port=" . $node->port . " dbname=postgres user"/er);
	$d->{node} = $node;
	return;
}

follow($behind);
promoted($behind);
check_refused('C4', 'the server left timeline 1 at \S+, the journal ends at', 'a promoted standby behind the journal', node => $behind);
$behind->safe_psql('postgres', q{SELECT pg_drop_replication_slot('walrank')});
check_refused('C2', 'replication slot "walrank" does not exist', 'a promoted standby without our slot', node => $behind);
$behind->stop('immediate');

follow($ahead);
promoted($ahead);
$d->start;
$d->ready;
work($ahead);
same('a promoted standby that has all of the journal: it goes on', $ahead);
is($d->stop, 0, 'stopped');
# the old primary comes back at the old address
$source->start;
follow($source);
check_refused('C4', 'the server is on timeline 1, the journal already on 2', 'the old primary');
done_testing();
