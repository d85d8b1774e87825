# A walsender's memory: one huge transaction, very many small ones, and a schema that never rests.
#
# Measured on true walsenders: anonymous memory from /proc, and our memory contexts as the server
# logs them.  What a plugin that does nothing needs on the same log is the measure of the first.
use strict;
use warnings;
use IPC::Run;
use Walrank;
use Walrank::Stream;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $tier = $ENV{WALRANK_TIER};
my $rows = $ENV{MEMORY_ROWS} // ($tier eq 'check' ? 300_000 : 10_000_000);
my $transactions = $ENV{MEMORY_TRANSACTIONS} // ($tier eq 'check' ? 30_000 : 1_000_000);
my $churn_seconds = $ENV{CHURN_SECONDS} // { check => 10, full => 60, torture => 3600 }->{$tier};
my $bytes_beside_nothing = 16 * 1024 * 1024;
# tables that came and went: the memory of 64 of them is given back together, 4096 names are kept (plugin/relmeta.c)
my $bytes_of_tables = 4 * 1024 * 1024;

my $library = "$ENV{WORK}/memory_lib";
mkdir $library;
chomp(my $headers = qx{"$ENV{PG_CONFIG}" --includedir-server});
Walrank::run_quiet('gcc', '-O2', '-fPIC', '-shared', '-I', $headers, '-o', "$library/limits.so", "$ENV{WALRANK_TOP}/bench/decode/limits.c");

my $node = source('memory', nostart => 1, conf => <<CONF);
dynamic_library_path = '@{[ Walrank::stage() ]}/lib:$library:\$libdir'
max_replication_slots = 20
shared_buffers = 64MB
max_wal_size = 8GB
synchronous_commit = off
wal_sender_timeout = 0
CONF
$node->append_conf('postgresql.conf', "output_plugin_libraries = 'walrank, limits'\n") if Walrank::knows_setting('output_plugin_libraries');
$node->start;

sub anonymous_bytes
{
	my ($pid) = @_;
	return (slurp("/proc/$pid/status") // '') =~ /^RssAnon:\s+(\d+) kB/m ? $1 * 1024 : undef;
}

# A walsender that writes to nowhere.
sub sender
{
	my ($slot, @options) = @_;
	my $said = '';
	my $sender = { slot => $slot, said => \$said };
	local $ENV{PGAPPNAME} = 'walrank_stream';
	$sender->{run} = IPC::Run::start(
		[ "$ENV{WALRANK_BINDIR}/pg_recvlogical", '-h', $node->host, '-p', $node->port, '-d', 'postgres', '--slot', $slot, '--start', '--no-loop',
			'-f', '/dev/null', '-s', '1', '-F', '0', map { ('-o', $_) } @options ],
		'<', \undef, '>', \$said, '2>', \$said);
	$sender->{pid} = poll("the walsender of $slot", sub { $node->safe_psql('postgres', "SELECT active_pid FROM pg_replication_slots WHERE slot_name = '$slot'") }, 60);
	return $sender;
}

# Waits until the client has all that is in the log; returns the largest anonymous memory seen.
sub watch
{
	my ($sender, $seconds) = @_;
	my $end = $node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()');
	my ($most, $checked) = (0, 0);

	poll("$sender->{slot} at $end", sub {
		my $now = anonymous_bytes($sender->{pid}) // die "the walsender of $sender->{slot} is gone: ${$sender->{said}}\n";
		$most = $now if $now > $most;
		return 0 if time - $checked < 0.5;
		$checked = time;
		return $node->safe_psql('postgres', "SELECT confirmed_flush_lsn >= '$end' FROM pg_replication_slots WHERE slot_name = '$sender->{slot}'") eq 't';
	}, $seconds);
	return $most;
}

sub finish
{
	my ($sender) = @_;
	$sender->{run}->signal('INT');
	$sender->{run}->finish;
	return;
}

# Bytes in use in each memory context of ours in the walsender, as it logs them itself when it is asked.
sub contexts
{
	my ($sender) = @_;
	my $from = length slurp($node->logfile);
	$node->safe_psql('postgres', "SELECT pg_log_backend_memory_contexts($sender->{pid})");
	my $log = poll('memory contexts in the log', sub {
		my $new = substr slurp($node->logfile), $from;
		$new =~ /\[$sender->{pid}\].*Grand total: (\d+) bytes/ ? $new : 0;
	}, 60);
	my %bytes;
	$bytes{$1} += $2 while $log =~ /\[$sender->{pid}\][^\n]*level: \d+; (walrank [a-z]+)[^\n:]*: [^\n]* (\d+) used/g;
	# beyond a hundred children of a context the server only gives the sum; no context of its own has as many here
	$bytes{more} += $1 while $log =~ /\[$sender->{pid}\][^\n]*more child contexts containing [^\n]* (\d+) used/g;
	return \%bytes;
}

sub total { my ($bytes) = @_; my $sum = 0; $sum += $_ for values %$bytes; return $sum }
sub mib { return sprintf '%.1f MiB', $_[0] / 1048576 }

# ---- one transaction --------------------------------------------------------------------------------

$node->safe_psql('postgres', qq{
	CREATE TABLE big (id int PRIMARY KEY, v int, t text);
	SELECT pg_create_logical_replication_slot('nothing', 'limits'), pg_create_logical_replication_slot('ours', 'walrank');
	INSERT INTO big SELECT i, i, 'row number ' || i FROM generate_series(1, $rows) i});
my %most;
for my $slot (qw(nothing ours))
{
	my $sender = sender($slot);
	$most{$slot} = watch($sender, 3600);
	finish($sender);
	$node->safe_psql('postgres', "SELECT pg_drop_replication_slot('$slot')");
}
diag("$rows rows in one transaction: a plugin that does nothing " . mib($most{nothing}) . ', ours ' . mib($most{ours}));
cmp_ok($most{ours}, '<=', $most{nothing} + $bytes_beside_nothing, 'a huge transaction needs hardly more than without a plugin');
$node->safe_psql('postgres', 'TRUNCATE big');

# ---- many transactions --------------------------------------------------------------------------------

$node->safe_psql('postgres', q{
	CREATE TABLE small (id int PRIMARY KEY, v int, att jsonb, tags text[], r int4range);
	ALTER TABLE small REPLICA IDENTITY FULL;
	INSERT INTO small SELECT i, i, '{"a": 1, "views": [1, "2026-01-01"]}', '{a,b}', '[1,5)' FROM generate_series(1, 100) i;
	CREATE PROCEDURE many(transactions int) LANGUAGE plpgsql AS $$ BEGIN
		FOR i IN 1..transactions LOOP
			UPDATE small SET v = i, att = att || jsonb_build_object('views', jsonb_build_array(i, now()), 'k' || i % 10, i), r = int4range(i, i + 2) WHERE id = 1 + i % 100;
			COMMIT;
		END LOOP;
	END $$;
	SELECT pg_create_logical_replication_slot('ours', 'walrank')});
my $sender = sender('ours', 'mode=delta');
# as many before as after, so that whatever grows with them would show twice
my $half = int($transactions / 2);
$node->safe_psql('postgres', "CALL many($half)", timeout => 3600);
watch($sender, 3600);
my ($before, $rss) = (contexts($sender), anonymous_bytes($sender->{pid}));
ok(total($before) > 0, 'the server shows contexts of ours') or diag(explain($before));
$node->safe_psql('postgres', "CALL many($half)", timeout => 3600);
watch($sender, 3600);
my ($after, $rss_after) = (contexts($sender), anonymous_bytes($sender->{pid}));
diag("our contexts: " . total($before) . " bytes in use after $half transactions, " . total($after) . " after twice as many; the walsender's anonymous memory " . mib($rss) . ', ' . mib($rss_after));
cmp_ok(total($after), '<=', total($before), 'no byte is left behind by a transaction') or diag(explain([ $before, $after ]));
finish($sender);

# ---- a schema that never rests ----------------------------------------------------------------------------

# The types, publications and tables are made anew each time.  A composite type is renamed, not made anew: the server remembers each that it has ever read, half a kilobyte for good.
my $churn = "$PostgreSQL::Test::Utils::tmp_check/churn.sql";
spew($churn, <<'SQL');
\set n random(1, 1000000000)
\set k random(1, 4)
BEGIN;
CREATE TYPE mood_:client_id AS ENUM ('sad', 'ok');
CREATE DOMAIN price_:client_id AS numeric(10, 2) CHECK (VALUE > 0);
CREATE TABLE churn_:client_id (id int PRIMARY KEY, m mood_:client_id, p pair_:client_id, c price_:client_id, att jsonb, tags int[]);
INSERT INTO churn_:client_id SELECT i, 'ok', row(i, 'x'::text)::pair_:client_id, i, jsonb_build_object('k' || i, i), ARRAY[i] FROM generate_series(1, 20) i;
COMMIT;
ALTER TABLE churn_:client_id REPLICA IDENTITY FULL;
UPDATE churn_:client_id SET c = c + 1, att = att || '{"x": 1}' WHERE id % :k = 0;
BEGIN;
ALTER TABLE churn_:client_id ADD note text DEFAULT 'n';
UPDATE churn_:client_id SET note = repeat('y', 3000) WHERE id < 3;
SAVEPOINT s;
ALTER TABLE churn_:client_id RENAME note TO remark;
UPDATE churn_:client_id SET remark = 'z' WHERE id = 1;
ROLLBACK TO s;
ALTER TABLE churn_:client_id ALTER c TYPE float8;
COMMIT;
CREATE PUBLICATION p_:client_id FOR TABLE churn_:client_id;
ALTER TYPE mood_:client_id ADD VALUE 'happy';
ALTER TYPE pair_:client_id RENAME ATTRIBUTE b TO c;
ALTER TABLE churn_:client_id RENAME TO renamed_:client_id;
UPDATE renamed_:client_id SET m = 'happy' WHERE id = 2;
ALTER PUBLICATION p_:client_id SET (publish = 'insert');
ALTER PUBLICATION sometimes_:client_id RENAME TO never_:client_id;
INSERT INTO renamed_:client_id (id, m, p) VALUES (:n + 100, 'sad', row(1, 'y'));
ALTER TYPE pair_:client_id RENAME ATTRIBUTE c TO b;
ALTER PUBLICATION never_:client_id RENAME TO sometimes_:client_id;
TRUNCATE renamed_:client_id;
DROP PUBLICATION p_:client_id;
DROP TABLE renamed_:client_id;
DROP DOMAIN price_:client_id;
DROP TYPE mood_:client_id;
SQL
$node->safe_psql('postgres', q{SELECT pg_drop_replication_slot('ours');
	CREATE TYPE pair_0 AS (a int, b text); CREATE TYPE pair_1 AS (a int, b text);
	CREATE PUBLICATION everything FOR ALL TABLES; CREATE PUBLICATION sometimes_0 FOR ALL TABLES; CREATE PUBLICATION sometimes_1 FOR ALL TABLES;
	SELECT pg_create_logical_replication_slot('ours', 'walrank')});
$sender = sender('ours', 'publication_names=everything, sometimes_0, sometimes_1', 'missing_ok', 'old_values');
my ($load_said, $start, @samples, $first) = ('', time);
my $load = IPC::Run::start([ "$ENV{WALRANK_BINDIR}/pgbench", '-n', '-c', '2', '-T', $churn_seconds, '-f', $churn, '-h', $node->host, '-p', $node->port, 'postgres' ],
	'<', \undef, '>', \$load_said, '2>', \$load_said);
while ($load->pumpable)
{
	$load->pump_nb;
	sleep($churn_seconds > 600 ? 5 : 0.2);
	push @samples, anonymous_bytes($sender->{pid}) // last;
	$first //= contexts($sender) if time - $start > $churn_seconds / 3;
}
ok($load->finish, 'the schema changed all the time') or diag($load_said);
watch($sender, 600);
my $last = contexts($sender);
my ($rounds) = $load_said =~ /number of transactions actually processed: (\d+)/;
my $third = int(@samples / 3);
my @medians = map { my @part = sort { $a <=> $b } @samples[ $_ * $third .. ($_ + 1) * $third - 1 ]; $part[ @part / 2 ] } 0 .. 2;
diag(($rounds // '?') . " rounds of DDL and DML in $churn_seconds s: anonymous memory, medians of the thirds " . join(', ', map { mib($_) } @medians)
	  . '; our contexts ' . total($first) . ' bytes after a third, ' . total($last) . ' at the end');
cmp_ok(total($last), '<=', $bytes_of_tables, 'tables that came and went left little behind') or diag(explain([ $first, $last ]));
cmp_ok($medians[2], '<=', $medians[1] * 1.05 + 1024 * 1024, 'memory is flat') if $churn_seconds >= 60;
finish($sender);
is_deeply([ stream_errors($node) ], [], 'no walsender met an error');
$node->stop;
done_testing();
