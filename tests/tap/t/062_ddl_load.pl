# Publications, partitions and tables change under load while a walsender streams: it never fails, the slot advances, and
# every change fits the description that was sent before it.
use strict;
use warnings;
use Walrank;
use IPC::Run;
use JSON::XS;
use PostgreSQL::Test::Utils;
use Test::More;

# Rounds of DDL; the load is run again and again meanwhile.
my $rounds = $ENV{WALRANK_TIER} eq 'check' ? 36 : 600;
my $node = source('load', allow => 1, conf => "autovacuum = off\n");
my $dir = PostgreSQL::Test::Utils::tempdir();
$node->safe_psql('postgres', q{
	CREATE TABLE item (id int PRIMARY KEY, v int, note text);
	ALTER TABLE item REPLICA IDENTITY FULL;
	CREATE TABLE root (note text, id int PRIMARY KEY, v int) PARTITION BY RANGE (id);
	CREATE TABLE leaf1 PARTITION OF root FOR VALUES FROM (0) TO (500);
	CREATE TABLE leaf2 (v int, id int PRIMARY KEY, note text);
	ALTER TABLE root ATTACH PARTITION leaf2 FOR VALUES FROM (500) TO (1001);
	CREATE TYPE mood AS ENUM ('m0');
	CREATE TABLE feeling (id int PRIMARY KEY, m mood);
	INSERT INTO feeling SELECT i, 'm0' FROM generate_series(1, 100) i;
	CREATE PUBLICATION p FOR TABLE item WHERE (100 / (v - 7) < 40), root, feeling;
	SELECT pg_create_logical_replication_slot('load', 'walrank');
});
my $start = $node->safe_psql('postgres', 'SELECT pg_current_wal_lsn()');

my ($out, $err) = ('', '');
my $receiver = IPC::Run::start([ 'pg_recvlogical', '-h', $node->host, '-p', $node->port, '-d', 'postgres', '--slot', 'load', '--start', '--no-loop',
		'-s', 1, '-F', 1, '-f', "$dir/frames", '-o', 'format=json', '-o', 'publication_names=p' ], '<', \undef, '>', \$out, '2>', \$err);

spew("$dir/load.sql", join "\n", '\set a random(1, 1000)', '\set b random(1, 1000)', '\set v random(0, 20)', 'BEGIN;',
	q{INSERT INTO item VALUES (:a, :v, 'x') ON CONFLICT (id) DO UPDATE SET v = :v;}, q{INSERT INTO root (id, v) VALUES (:a, :v) ON CONFLICT (id) DO NOTHING;},
	'SAVEPOINT s;', 'DELETE FROM root WHERE id = :b;', 'ROLLBACK TO s;', q{UPDATE root SET v = :v, note = 'y' WHERE id = :b;}, 'UPDATE feeling SET m = m WHERE id = :v;', 'DELETE FROM item WHERE id = :b;', 'COMMIT;');
my ($load_out, $load_err, $load) = ('', '');
sub run_load
{
	$load = IPC::Run::start([ 'pgbench', '-n', '-c', 3, '-t', 300, '--max-tries', 10, '-h', $node->host, '-p', $node->port, '-f', "$dir/load.sql", 'postgres' ],
		'<', \undef, '>', \$load_out, '2>', \$load_err);
	return;
}
sub end_load
{
	$load->finish;
	is($load->full_result(0), 0, 'the load came to its end') or diag $load_err;
	return;
}

my @ddl = (
	'ALTER PUBLICATION p SET TABLE item WHERE (v > 10), root (id, v), feeling',
	'ALTER PUBLICATION p SET (publish_via_partition_root = true); ALTER PUBLICATION p SET TABLE item WHERE (100 / (v - 7) < 40), root WHERE (id > 100), feeling',
	'ALTER PUBLICATION p SET TABLE item, root, feeling',
	'ALTER PUBLICATION p SET (publish_via_partition_root = true)',
	'ALTER PUBLICATION p SET (publish_via_partition_root = false)',
	'DROP PUBLICATION p; CREATE PUBLICATION p FOR ALL TABLES',
	'DROP PUBLICATION p; SELECT pg_sleep(0.01); CREATE PUBLICATION p FOR TABLE item, leaf1, root WITH (publish_via_partition_root = true)',
	'BEGIN; ALTER TABLE root DETACH PARTITION leaf2; ALTER TABLE root ATTACH PARTITION leaf2 FOR VALUES FROM (500) TO (1001); COMMIT',
	'ALTER TABLE item ADD COLUMN w int DEFAULT 3; ALTER TABLE item DROP COLUMN w',
	'BEGIN; ALTER TABLE root RENAME COLUMN note TO remark; INSERT INTO root (id, remark) VALUES (0, 1) ON CONFLICT (id) DO UPDATE SET v = root.v + 1; ALTER TABLE root RENAME COLUMN remark TO note; COMMIT',
	'BEGIN; ALTER TABLE item REPLICA IDENTITY DEFAULT; ALTER TABLE item REPLICA IDENTITY FULL; COMMIT',
	'BEGIN; ALTER TABLE root ADD COLUMN w int; TRUNCATE leaf1; SAVEPOINT s; ALTER TABLE root DROP COLUMN w; ROLLBACK TO s; ALTER TABLE root DROP COLUMN w; COMMIT',
);
my $runs = 0;
run_load();
for (my $n = 1; $n <= $rounds || $runs == 0; $n++)
{
	# a lock that does not come in time is somebody else's, and so is a deadlock
	$node->psql('postgres', join("\n", "SET lock_timeout = '200ms';", (map { "$_;" } split /; /, $ddl[ $n % @ddl ]), "ALTER TYPE mood RENAME VALUE 'm" . ($n - 1) . "' TO 'm$n';"), on_error_stop => 0);
	$load->pump_nb;
	next if $load->pumpable;
	end_load();
	$runs++;
	run_load();
}
end_load();
# what a round may have missed by chance
$node->safe_psql('postgres', 'DROP PUBLICATION IF EXISTS p; CREATE PUBLICATION p FOR TABLE item WHERE (100 / (v - 7) < 40); INSERT INTO item VALUES (4999, 7)');
$node->safe_psql('postgres', 'DROP PUBLICATION IF EXISTS p; CREATE PUBLICATION p FOR ALL TABLES');
$node->safe_psql('postgres', q{INSERT INTO item VALUES (5000, 5000, 'last')});

my $end = $node->safe_psql('postgres', 'SELECT pg_current_wal_lsn()');
my $came = eval { poll('the slot to advance', sub { $node->safe_psql('postgres', "SELECT confirmed_flush_lsn >= '$end' FROM pg_replication_slots") eq 't' }, 120) };
ok($came, 'the slot advanced to the end');
$receiver->signal('INT');
$receiver->finish;
unlike($err, qr/ERROR|FATAL/, 'the server told the receiver of no error') or diag $err;
unlike(slurp($node->logfile), qr/in the (change|truncate|commit|begin) callback/, 'no callback raised an error');

# ---- every change fits its description ------------------------------------------------------------------
my (%known, %bad, %seen, $failed);
for my $frame (map { decode_json($_) } split /\n/, slurp("$dir/frames"))
{
	for my $entry (@{ $frame->{entries} })
	{
		if (my $r = $entry->{relation}) { $known{ $r->{fingerprint} } = $r }
		elsif (my $t = $entry->{truncate}) { $known{$_} or $bad{'truncate of an unknown table'}++ for @{ $t->{relations} // [] }, @{ $t->{thinned} // [] } }
		elsif ($entry->{publicationLost}) { $seen{lost}++ }
		elsif (my $c = $entry->{change})
		{
			my $r = $known{ $c->{relation} } or ($bad{'change of an unknown table'}++, next);
			my @columns = @{ $r->{columns} };
			my $flags = $c->{flags} // 0;
			$seen{ $r->{table} }++;
			$failed++ if $flags & 4;
			$bad{'key that is none'}++ if !($flags & 1) && @{ $c->{key} // [] } != grep { $_->{key} } @columns;
			for my $a (@{ $c->{attributes} // [] })
			{
				my $column = $columns[ $a->{column} // 0 ] or ($bad{'column that is none'}++, next);
				my ($kind) = keys %{ $a->{value} // {} };
				$bad{"$column->{name} as $kind"}++ if defined $kind && $kind ne 'null' && $kind ne ($column->{typeName} =~ /^int/ ? 'int' : 'text');
			}
		}
	}
}
is_deeply(\%bad, {}, 'every change fits the description before it') or diag explain \%bad;
ok($seen{$_}, "there were changes of $_: " . ($seen{$_} // 0)) for qw(item root leaf1 leaf2 feeling);
ok($failed, 'there were filters that failed: ' . ($failed // 0));
note 'publications lost: ' . ($seen{lost} // 0);
$node->stop;
done_testing();
