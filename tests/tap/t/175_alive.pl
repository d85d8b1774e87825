# A connection on which nothing is to be sent stays alive: while a huge transaction is passed over,
# through a long silence, and on a standby.
use strict;
use warnings;
use IPC::Run;
use Walrank;
use Walrank::Shadow;
use Walrank::Stream;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $full = $ENV{WALRANK_TIER} ne 'check';
my $rows = $full ? 5_000_000 : 100_000;
my $timeout_ms = 10_000; # long enough for a busy machine, on which a walsender may have to wait for a processor
# spilling 64 MB at a time, the server itself may be silent for longer than the timeout on a busy machine
my $node = source('alive', allow => 1, conf => <<CONF);
logical_decoding_work_mem = 1MB
wal_sender_timeout = ${timeout_ms}ms
synchronous_commit = off
max_wal_size = 4GB
CONF
my $major = int($node->safe_psql('postgres', 'SHOW server_version_num') / 10000);

sub connection
{
	my ($on) = @_;
	return $on->safe_psql('postgres', q{SELECT pid FROM pg_stat_replication WHERE application_name = 'walrank_stream'});
}

# ---- what is passed over ------------------------------------------------------------------------------

$node->safe_psql('postgres', q{
	CREATE TABLE published (id int PRIMARY KEY, v int);
	CREATE TABLE unpublished (id int, t text);
	CREATE PUBLICATION chosen FOR TABLE published});
# the client speaks only when it is asked
my $stream = stream_start($node, 'postgres', slot => 'ours', options => ['publication_names=chosen'], interval => 3600);
my $pid = connection($node);
$node->safe_psql('postgres', "INSERT INTO unpublished SELECT i, 'row ' || i FROM generate_series(1, $rows) i");
my $end = $node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()');
$node->safe_psql('postgres', 'INSERT INTO published VALUES (1, 1)');

# each answer of the client is one that the walsender asked for in the middle of the transaction
my $psql = $node->background_psql('postgres');
my (%answers, $decoded);
my $begun = time;
poll('the huge transaction to be passed over', sub {
	my ($sent, $answer) = split /\|/, $psql->query_safe(qq{SELECT sent_lsn >= '$end', reply_time FROM pg_stat_replication WHERE application_name = 'walrank_stream'}), 2;
	die "the connection is gone: $stream->{said}\n" if !defined $answer;
	$answers{$answer}++;
	$decoded = time;
	return $sent eq 't';
}, 900);
my $took = $decoded - $begun;
diag(sprintf '%d rows of no publication were passed over in %.1f s; wal_sender_timeout %d ms; %d answers of the client', $rows, $took, $timeout_ms, scalar keys %answers);
is(connection($node), $pid, 'a huge transaction that is not published breaks no connection');
if ($took * 1000 > 2 * $timeout_ms) { cmp_ok(scalar keys %answers, '>=', 2, 'and the client hears from the server meanwhile') }
else { diag('NOT RUN: it took too short a time to tell whether the client hears from the server meanwhile (make check-full)') }

# ---- a long silence --------------------------------------------------------------------------------------

my $silence = $full ? 60 : 12;
sleep $silence;
is(connection($node), $pid, "$silence s of silence break no connection");
$node->safe_psql('postgres', 'UPDATE published SET v = 2; INSERT INTO published VALUES (2, 2)');
ok(stream_end($stream, 60), 'what comes after it arrives') or diag($stream->{said});
my $shadow = Walrank::Shadow->new->read_file($stream->{files}[0]);
is(scalar(keys %{ (grep { $_->{relation}{table} eq 'published' } values %{ $shadow->{tables} })[0]{rows} }), 2, 'and nothing else');
$psql->quit;

# ---- a standby ------------------------------------------------------------------------------------------------

SKIP:
{
	skip "NOT RUN: decoding on a standby came with 16, this is $major", 4 if $major < 16;
	$node->safe_psql('postgres', q{ALTER SYSTEM SET wal_sender_timeout = '60s'; SELECT pg_reload_conf(); SELECT pg_create_physical_replication_slot('standby')});
	$node->backup('base');
	my $standby = PostgreSQL::Test::Cluster->new('standby');
	$standby->init_from_backup($node, 'base', has_streaming => 1);
	$standby->append_conf('postgresql.conf', "hot_standby_feedback = on\nprimary_slot_name = 'standby'\n");
	$standby->start;
	# a slot on a standby waits for a snapshot of the running transactions, which an idle primary logs when it is asked
	my $made = '';
	my $making = IPC::Run::start([ @{ psql_of($standby, 'postgres') }, '-Atc', q{SELECT 'made' FROM pg_create_logical_replication_slot('ours', 'walrank')} ],
		'<', \undef, '>', \$made, '2>', \$made);
	poll('the slot on the standby', sub {
		$node->safe_psql('postgres', 'SELECT pg_log_standby_snapshot()');
		$making->pump_nb if $making->pumpable;
		return !$making->pumpable;
	}, 120);
	$making->finish;
	like($made, qr/made/, 'a slot is made on a standby') or diag($made);
	my $there = stream_again({ node => $standby, db => 'postgres', slot => 'ours', said => '', options => ['missing_ok'], files => [] });
	$node->safe_psql('postgres', q{CREATE TABLE fresh (id int PRIMARY KEY, t text, j jsonb);
		INSERT INTO fresh SELECT i, 'x' || i, jsonb_build_object('a', i) FROM generate_series(1, 1000) i; UPDATE fresh SET j = j || '{"b": 1}' WHERE id % 3 = 0;
		BEGIN; DELETE FROM fresh WHERE id < 10; ROLLBACK; DELETE FROM fresh WHERE id > 990; ALTER TABLE fresh ADD n int; UPDATE fresh SET n = 1 WHERE id = 1});
	$node->wait_for_replay_catchup($standby);
	ok(stream_end($there, 120), 'the standby streams where it has replayed') or diag($there->{said});
	my $copy = Walrank::Shadow->new->read_file($there->{files}[0]);
	my $fresh = $node->safe_psql('postgres', q{SELECT count(*) FROM fresh});
	is(scalar(keys %{ (grep { $_->{relation}{table} eq 'fresh' } values %{ $copy->{tables} })[0]{rows} }), $fresh, 'all rows are there');
	is_deeply([ stream_errors($standby) ], [], 'no walsender of the standby met an error');
	$standby->stop;
}
$node->stop;
done_testing();
