# Another server, another database, a slot that is gone, lost, moved or made anew, a state directory of yesterday: each is
# refused before anything is written anywhere, by the name of the rule, with a way out; the right one put back, all goes on.
use strict;
use warnings;
use Walrank;
use Walrank::Untouched;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

my $source = source('source', allow => 1);
my $search = source('search');
$source->safe_psql('postgres', 'CREATE TABLE item (id int PRIMARY KEY, v int); INSERT INTO item SELECT i, i FROM generate_series(1, 100) i');
my $d = daemon_new($source, postgres => $search);
$d->init;
$source->safe_psql('postgres', q{SELECT walrank.watch('item'); INSERT INTO walrank.ranking (name, relation, definition) VALUES ('r', 'public.item', 'term v weight 1 v')});
$d->create;

my $next = 1000;
sub work
{
	$source->safe_psql('postgres', "INSERT INTO item VALUES ($next, $next); UPDATE item SET v = v + 1 WHERE id % 10 = 0");
	return $next++;
}

sub same
{
	my ($when) = @_;
	$d->catch_up;
	is($search->safe_psql('postgres', 'SELECT id, score FROM walrank_out.score_item ORDER BY id'),
		$source->safe_psql('postgres', 'SELECT id, v::float8 FROM item ORDER BY id'), $when);
	return;
}

sub check_refused
{
	my ($rule, $what, $when, $node, $db) = @_;
	refused($d, $rule, $what, $when, search => $search, node => $node, db => $db);
	return;
}

work();
same('at first');

# ---- another server, another database ------------------------------------------------------------
$d->stop;
my $conf = slurp($d->{conf});
my $other = source('other', allow => 1);
sub twin
{
	my ($node, $db) = @_;
	my $host = $node->host;
	my $port = $node->port;
	run_ok("init of $db", Walrank::Daemon::bin('walrank'), '-h', $host, '-p', $port, '-d', $db, 'init', '--role', 'walrank_daemon', '--accept-unbounded-wal');
	my ($copy, $err) = ('', '');
	IPC::Run::run([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-h', $host, '-p', $port, '-d', $db, '-c', 'COPY walrank.control FROM STDIN' ],
		'<', \$source->safe_psql('postgres', 'COPY walrank.control TO STDOUT'), '>', \$copy, '2>', \$err) or die $err;
	return;
}
twin($other, 'postgres');
$other->safe_psql('postgres', q{CREATE TABLE item (id int PRIMARY KEY, v int); SELECT walrank.watch('item'); SELECT pg_create_logical_replication_slot('walrank', 'walrank')});
$source->safe_psql('postgres', 'CREATE DATABASE second');
twin($source, 'second');
my $port = $source->port;
spew($d->{conf}, $conf =~ s/port=$port dbname=postgres user/"port=" . $other->port . " dbname=postgres user"/er);
check_refused('C1', "the server's system identifier is \\d+", 'another server', $other);
spew($d->{conf}, $conf =~ s/dbname=postgres user/dbname=second user/r);
check_refused('C1', 'database "second" has OID \d+', 'another database', $source, 'second');
spew($d->{conf}, $conf);
$other->stop('immediate');
work();
$d->start;
$d->ready;
same('the right server again');

# ---- a state directory of yesterday ----------------------------------------------------------------
$d->stop;
run_ok('copy of the state directory', 'cp', '-a', $d->{state}, "$d->{state}.yesterday");
$d->start;
$d->ready;
work();
same('a day later');
$d->stop;
rename $d->{state}, "$d->{state}.today" or die;
rename "$d->{state}.yesterday", $d->{state} or die;
check_refused('C3', 'slot "walrank" is confirmed up to \S+, the journal ends at', 'a state directory of yesterday');
rename $d->{state}, "$d->{state}.yesterday" or die;
rename "$d->{state}.today", $d->{state} or die;
$d->start;
$d->ready;
work();
same('the state directory of today again');
$d->stop;

# ---- the slot -----------------------------------------------------------------------------------------
# a copy of the slot as we left it, to put back
sub drop { $source->safe_psql('postgres', q{SELECT pg_drop_replication_slot('walrank')}); return }
sub keep
{
	$d->stop;
	$source->safe_psql('postgres', q{SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = 'kept'});
	$source->safe_psql('postgres', q{SELECT pg_copy_logical_replication_slot('walrank', 'kept')});
	return;
}

sub put_back
{
	my ($when) = @_;
	$source->safe_psql('postgres', q{SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = 'walrank'});
	$source->safe_psql('postgres', q{SELECT pg_copy_logical_replication_slot('kept', 'walrank')});
	$d->start;
	$d->ready;
	work();
	same($when);
	keep();
	return;
}

sub anew { $source->safe_psql('postgres', q{SELECT pg_create_logical_replication_slot('walrank', 'walrank')}); return }

keep();
drop();
anew();
check_refused('C3', 'slot "walrank" is confirmed up to', 'the slot made anew at once');
put_back('the slot as it was');

drop();
check_refused('C2', 'replication slot "walrank" does not exist', 'no slot');
work();
anew();
check_refused('C3', 'slot "walrank" is confirmed up to', 'the slot made anew, changes lost');
put_back('the slot as it was, no change lost');

work();
$source->safe_psql('postgres', q{SELECT pg_replication_slot_advance('walrank', pg_current_wal_lsn())});
check_refused('C3', 'slot "walrank" is confirmed up to', 'the slot advanced by somebody else');
put_back('the slot where it was');

drop();
$source->safe_psql('postgres', q{SELECT pg_create_logical_replication_slot('walrank', 'pgoutput')});
check_refused('C1', 'slot "walrank" uses plugin "pgoutput"', 'a slot of another plugin');
drop();
$source->safe_psql('second', q{SELECT pg_create_logical_replication_slot('walrank', 'walrank')});
check_refused('C1', 'slot "walrank" belongs to database "second"', 'a slot of another database');
put_back('our own slot');

# the daemon stays while the server is away, and refuses what comes back
$d->start;
$d->ready;
work();
same('before the server goes');
$source->stop('immediate');
run_ok('the slot is lost with the server', 'rm', '-r', $source->data_dir . '/pg_replslot/walrank');
$source->start;
poll('walrankd to refuse', sub { $d->ended });
is($d->{ended}, 1, 'a server that comes back without the slot: the daemon stops');
like(slurp($d->{log}) =~ s/.*\n(?=(?:[^\n]*\n){4}\z)//sr, qr/rule C2: replication slot "walrank" does not exist/, 'and says so');
check_refused('C2', 'replication slot "walrank" does not exist', 'and again');

# WAL that the slot needs is removed
$source->safe_psql('postgres', q{SELECT pg_copy_logical_replication_slot('kept', 'walrank')});
$source->safe_psql('postgres', q{ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'});
$source->reload;
$source->safe_psql('postgres', 'CREATE TABLE filler (t text)');
for (1 .. 4)
{
	$source->safe_psql('postgres', 'INSERT INTO filler VALUES (1)');
	$source->safe_psql('postgres', 'SELECT pg_switch_wal()');
}
$source->safe_psql('postgres', 'CHECKPOINT');
is($source->safe_psql('postgres', q{SELECT wal_status FROM pg_replication_slots WHERE slot_name = 'walrank'}), 'lost', 'the slot is lost');
check_refused('C2', 'slot "walrank" is lost', 'a lost slot');
done_testing();
