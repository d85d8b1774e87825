# Values made to kill: each is sent, or flagged with its size, the slot moves past it, what comes
# later arrives, and the walsender's memory stays bounded.
use strict;
use warnings;
use Walrank;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

my $full = $ENV{WALRANK_TIER} ne 'check';
my $seconds = 60;
my $node = source('poison', allow => 1, conf => <<'CONF');
autovacuum = off
shared_buffers = 16MB
max_wal_size = 8GB
max_stack_depth = 7MB
CONF

# name, SQL, what the stream says of it, megabytes that the walsender may have taken at its peak
my @numbers = ('1e131000', '1e-16383', '-1e131000');
my $many = sub { join ',', ($_[0]) x 9000 };
my @poison;
for my $n (@numbers)
{
	push @poison,
	  [ "$n as a jsonb scalar", "INSERT INTO j (v) VALUES ('$n')", qr/"decimal":\{"digits":"1","exponent":-?1\d+/, 100 ],
	  [ "$n as an object's value", "INSERT INTO j (v) VALUES ('{\"a\": $n}')", qr/"decimal":\{"digits":"1","exponent":-?1\d+/, 100 ],
	  [ "$n inside", "INSERT INTO j (v) VALUES ('{\"a\": {\"b\": [[$n]]}}')", qr/"json":"\{\\"b\\":\[\[-?(?:1e131000|1e-16383)\]\]\}"/, 100 ],
	  [ "9,000 times $n", "INSERT INTO j (v) VALUES ('[" . $many->($n) . "]')", qr/"list":\{"values":\[\{"decimal"/, 100 ],
	  [ "9,000 times $n inside", "INSERT INTO j (v) VALUES ('{\"a\": [[" . $many->($n) . "]]}')", qr/"json":"\[\[-?1e/, 100 ],
	  [ "9,000 times $n in an array", "INSERT INTO n (a) VALUES (array_fill($n\::numeric, ARRAY[9000]))", qr/"list":\{"values":\[\{"decimal"/, 100 ],
	  [ "9,000 times $n in two dimensions", "INSERT INTO n (a) VALUES (array_fill($n\::numeric, ARRAY[90, 100]))", qr/"json":"\[\[-?1e/, 100 ];
}
push @poison,
  [ 'composite values in an array, full of numbers',
	"INSERT INTO c (v) VALUES (array_fill(ROW(1e131000, array_fill(1e131000::numeric, ARRAY[90]))::big, ARRAY[100]))",
	qr/"json":"\{\\"n\\":1e131000,\\"a\\":\[1e131000,/, 100 ],
  [ 'ranges of numbers', "INSERT INTO m (v) SELECT range_agg(numrange(i * 2 * 1e130000, (i * 2 + 1) * 1e130000)) FROM generate_series(1, 9000) i", qr/OVERSIZED/, 100 ],
  [ 'as many ranges as are tried', "INSERT INTO m (v) SELECT range_agg(numrange(i * 2 * 1e130000, (i * 2 + 1) * 1e130000)) FROM generate_series(1, 300) i", qr/OVERSIZED/, 450 ],
  [ 'a path full of numbers', "INSERT INTO p (v) VALUES (('\$.a ? (' || repeat('\@ == 1e131000 || ', 8000) || '\@ == 1)')::jsonpath)", qr/OVERSIZED/, 100 ],
  [ 'jsonb 6,000 deep', "INSERT INTO j (v) VALUES ((repeat('[', 6000) || repeat(']', 6000))::jsonb)", qr/OVERSIZED","changed":"YES","size":"\d+"/, 100 ],
  [ 'jsonb objects 6,000 deep', "INSERT INTO j (v) VALUES ((repeat('{\"a\":', 6000) || '1' || repeat('}', 6000))::jsonb)", qr/"state":"OVERSIZED","changed":"YES","size":"\d+"/, 100 ],
  [ 'json 6,000 deep', "INSERT INTO t (j) VALUES ((repeat('[', 6000) || repeat(']', 6000))::json)", qr/"json":"\[{6000}/, 100 ],
  [ 'a query 600 deep', "INSERT INTO q (v) VALUES (deep_query(600))", qr/"text":"!{600}'a'"|OVERSIZED/, 100 ],
  [ 'domains over arrays of domains', "INSERT INTO d (v) VALUES (nested())", qr/OVERSIZED/, 100 ],
  [ '20 MB of jsonb', "INSERT INTO j (v) VALUES (jsonb_build_object('small', 1, 'a', repeat('x', 20000000)))", qr/"state":"OVERSIZED","changed":"YES","size":"200000\d\d"/, 150 ],
  [ '15 MB of control characters', "INSERT INTO t (t) VALUES (repeat(E'\\x01', 15000000))", qr/"text":"(?:\\u0001){100}/, 450 ],
  [ '15 MB of control characters inside', "INSERT INTO j (v) VALUES (jsonb_build_array(ARRAY[repeat(E'\\x01', 15000000)]))", qr/"state":"OVERSIZED"/, 150 ],
  # the server itself reassembles what is out of line at its full size, all columns of a row at a time
  [ '24 columns of 15 MB', "INSERT INTO wide SELECT " . join(',', ("repeat('x', 15000000)") x 24), qr/"state":"OVERSIZED","changed":"YES","size":"15000000"/, 600 ],
  [ '24 columns of 15 MB, updated under FULL', "ALTER TABLE wide REPLICA IDENTITY FULL; UPDATE wide SET " . join(',', map { "c$_ = c$_ || 'y'" } 1 .. 24), qr/"size":"15000001"/, 600 ],
  [ '6 rows of 15 MB', "INSERT INTO t (t) SELECT repeat('x', 15000000) FROM generate_series(1, 6)", qr/"text":"x{100}/, 150 ];
if ($full)
{
	push @poison,
	  [ '255 MB of jsonb', "INSERT INTO j (v) VALUES (jsonb_build_object('a', repeat('x', 255 * 1024 * 1024)))", qr/"state":"OVERSIZED","changed":"YES","size":"26738\d{4}"/, 1200 ],
	  [ 'jsonb of 3,000,000 keys', "INSERT INTO j (v) SELECT jsonb_object_agg(i, repeat('x', 60)) FROM generate_series(1, 3000000) i", qr/"state":"OVERSIZED"/, 1200 ],
	  [ '900 MB of bytea', "INSERT INTO t (b) VALUES (convert_to(repeat('x', 900 * 1024 * 1024), 'UTF8'))", qr/"state":"OVERSIZED","changed":"YES","size":"943718400"/, 4000 ],
	  [ '900 MB of text', "INSERT INTO t (t) VALUES (repeat('x', 900 * 1024 * 1024))", qr/"state":"OVERSIZED","changed":"YES","size":"943718400"/, 4000 ],
	  [ 'text as large as the server takes', "INSERT INTO t (t) VALUES (repeat('x', 1073741823 - 4))", qr/"state":"OVERSIZED","changed":"YES","size":"1073741819"/, 4000 ];
}

$node->safe_psql('postgres', <<'SQL');
CREATE TYPE big AS (n numeric, a numeric[]);
CREATE TABLE j (id serial PRIMARY KEY, v jsonb);
CREATE TABLE n (id serial PRIMARY KEY, a numeric[]);
CREATE TABLE c (id serial PRIMARY KEY, v big[]);
CREATE TABLE m (id serial PRIMARY KEY, v nummultirange);
CREATE TABLE p (id serial PRIMARY KEY, v jsonpath);
CREATE TABLE q (id serial PRIMARY KEY, v tsquery);
CREATE TABLE t (id serial PRIMARY KEY, t text, j json, b bytea);
CREATE TABLE mark (id int PRIMARY KEY);
CREATE FUNCTION deep_query(n int) RETURNS tsquery LANGUAGE plpgsql AS $$
DECLARE q tsquery := 'a';
BEGIN
	FOR i IN 1 .. n LOOP q := !!q; END LOOP;
	RETURN q;
END $$;
-- out of line as it is: all of it is in the log
ALTER TABLE t ALTER b SET STORAGE EXTERNAL;
DO $$
DECLARE value text := 'ARRAY[1]::d0';
BEGIN
	CREATE DOMAIN d0 AS int[];
	FOR i IN 1 .. 80 LOOP
		EXECUTE format('CREATE DOMAIN d%s AS d%s[]', i, i - 1);
		value := format('ARRAY[%s]::d%s', value, i);
	END LOOP;
	CREATE TABLE d (id serial PRIMARY KEY, v d80);
	EXECUTE format('CREATE FUNCTION nested() RETURNS d80 LANGUAGE sql AS $f$ SELECT %s $f$', value);
END $$;
SQL
$node->safe_psql('postgres', 'CREATE TABLE wide (' . join(',', map { "c$_ text" } 1 .. 24) . ')');

# Kilobytes free in memory and on the disk.
sub memory_free { return slurp('/proc/meminfo') =~ /MemAvailable:\s+(\d+)/ ? $1 : 0 }
sub disk_free { return (split ' ', `df -kP '$ENV{WORK}' | tail -1`)[3] }

# ---- one walsender for all of it -------------------------------------------------------------------

my $out = "$ENV{WORK}/stream";
my ($receiver, $sender);

sub connect_receiver
{
	$receiver = fork() // die "fork: $!";
	if ($receiver == 0)
	{
		open STDOUT, '>', '/dev/null';
		open STDERR, '>>', "$ENV{WORK}/pg_recvlogical.log";
		no warnings 'exec';
		exec 'pg_recvlogical', '-d', $node->connstr('postgres'), '-S', 's', '--start', '-f', $out, '-s', '1', '-F', '1', '-o', 'format=json';
		POSIX::_exit(127);
	}
	$sender = poll('walsender', sub { $node->safe_psql('postgres', "SELECT active_pid FROM pg_replication_slots WHERE slot_name = 's'") });
	return;
}

sub peak_kb { return slurp("/proc/$sender/status") =~ /VmHWM:\s+(\d+)/ ? $1 : die "no peak of process $sender" }

$node->safe_psql('postgres', "SELECT pg_create_logical_replication_slot('s', 'walrank')");
my $mark = 1_000_000;

# Whether the slot gets past what has been written; without that nothing after it makes sense.
sub moves
{
	my ($name) = @_;
	my $lsn = $node->safe_psql('postgres', 'SELECT pg_current_wal_flush_lsn()');
	my $moved = eval { poll("$name: slot", sub { $node->safe_psql('postgres', "SELECT confirmed_flush_lsn >= '$lsn' FROM pg_replication_slots") eq 't' }, $seconds) };
	ok($moved, "$name: the slot moves past it within $seconds s") or BAIL_OUT($@ . substr(slurp($node->logfile), -2000));
	return;
}

# What the stream says up to a mark: 1 GB of it is not kept, patterns are shorter than 10,000 bytes.
sub says
{
	my ($file, $upto, $pattern) = @_;
	my ($window, $found) = ('', 0);
	while (read $file, my $piece, 1 << 20)
	{
		$window = substr($window, -10_000) . $piece;
		my ($said) = split /"key":\[\{"int":"$upto"\}\]/, $window, 2;
		$found ||= $said =~ $pattern;
		next if length $said == length $window;
		# the rest belongs to the next one
		seek $file, length($said) - length($window), 1;
		return (1, $found);
	}
	return (0, $found);
}

# Cases that share a walsender, and its peak.
sub try_together
{
	my ($title, $megabytes, @cases) = @_;
	my @written;
	connect_receiver();
	for my $case (@cases)
	{
		my ($rc, undef, $stderr) = $node->psql('postgres', $case->[1]);
		# what cannot be written is no poison; but then it is not tested either
		diag "NOT RUN: $case->[0]: the server does not take it: $stderr" if $rc != 0;
		next if $rc != 0;
		push @written, [ @$case, ++$mark ];
		$node->safe_psql('postgres', "INSERT INTO mark VALUES ($mark)");
	}
	moves($title);
	open my $file, '<:raw', $out or die "$out: $!";
	for my $case (@written)
	{
		my ($arrived, $said) = says($file, $case->[4], $case->[2]);
		ok($said, "$case->[0]: is said");
		ok($arrived, "$case->[0]: what comes later arrives");
	}
	close $file;
	my $peak = peak_kb();
	cmp_ok($peak, '<', $megabytes * 1024, "$title: the walsender's peak is bounded");
	note sprintf 'peak %5d MB  %s', $peak / 1024, $title;
	kill 'INT', $receiver;
	waitpid $receiver, 0;
	poll('slot free', sub { $node->safe_psql('postgres', "SELECT active FROM pg_replication_slots") eq 'f' });
	truncate $out, 0;
	return;
}

try_together('small ones', 100, grep { $_->[3] == 100 } @poison);
for my $case (grep { $_->[3] > 100 } @poison)
{
	my ($name, undef, undef, $megabytes) = @$case;
	if ($megabytes > 1000 && (memory_free() < 3e3 * $megabytes || disk_free() < 8e6))
	{
		diag "NOT RUN: $name: " . int(memory_free() / 1024) . ' MB of memory, ' . int(disk_free() / 1024) . ' MB of disk are free';
		next;
	}
	try_together($name, $megabytes, $case);
}
diag 'NOT RUN: values of 255 MB to 1 GB (make check-full)' unless $full;
$node->stop;
unlike(slurp($node->logfile), qr/terminated by signal|PANIC|stack depth limit/, 'nothing fell over');
done_testing();
