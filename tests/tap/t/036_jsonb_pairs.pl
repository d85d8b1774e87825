# Random pairs of jsonb values: what the plugin says of the way from one to the other, applied to
# the old one, gives the new one.  Plugin under ASan and UBSan; the oracle is SQL (tests/data/apply.sql).
#
# WALRANK_PAIRS, WALRANK_SEED repeat a run.
use strict;
use warnings;
use Walrank;
use PostgreSQL::Test::Utils;
use Test::More;

my %pairs = (check => 20_000, full => 1_000_000, torture => 5_000_000);
my $pairs = $ENV{WALRANK_PAIRS} // $pairs{ $ENV{WALRANK_TIER} };
my $seed = $ENV{WALRANK_SEED} // time;
my $batch = 20_000;
my $top = $ENV{WALRANK_TOP};
srand $seed;
note "$pairs pairs, WALRANK_SEED=$seed";

chomp(my $asan = `gcc -print-file-name=libasan.so`);
ok(-r "$top/build/asan/walrank.so" && -r $asan, 'the sanitized library and its runtime are there') or BAIL_OUT('make so-san');

# ---- values -------------------------------------------------------------------------------------

my @keys = ('', 'a', 'b', 'id', 'x' x 40, "k\x{e4}", "\x{6f22}\x{5b57}", '"', '\\', map { "key$_" } 1 .. 250);
my @strings = ('', 'a', 'abc', 'abd', "\x{20ac}", "\x{1d11e}", "\x{1}\x{1f}", '"\\/', "tab\tline\n", 'x' x 130, '12', 'null', 'true');
my @numbers = qw(0 1 -1 12 13 1.5 1.50 1.500 0.1 0.10 -0.00001 100 10000 100000000 9223372036854775807 -9223372036854775808
	9223372036854775808 123456789012345678901234567890.123456789 1e20 1e-20 3.14159265358979 0.0 99999999999999999999);

sub pick { return $_[ int rand @_ ] }

sub string
{
	my $s = rand() < 0.7 ? pick(@strings) : join '', map { pick('a' .. 'z') } 1 .. rand 12;
	if (rand() < 0.003) { $s = join '', map { sprintf '%08x', rand 0xffffffff } 1 .. rand 1000 }    # does not compress
	$s =~ s/(["\\])/\\$1/g;
	$s =~ s/([\x00-\x1f])/sprintf '\\u%04x', ord $1/ge;
	return "\"$s\"";
}

sub number { return rand() < 0.7 ? pick(@numbers) : rand() < 0.002 ? pick('1e131000', '1e-16000') : int rand 1e6 }

sub scalar_value { return pick(\&number, \&number, \&string, \&string, sub { pick(qw(null true false)) })->() }

sub value
{
	my ($depth) = @_;
	my $kind = rand;
	return scalar_value() if $depth > 3 || $kind < 0.7;
	return '[' . join(',', map { scalar_value() } 1 .. rand 6) . ']' if $kind < 0.8;
	return '[' . join(',', map { value($depth + 1) } 1 .. rand 5) . ']' if $kind < 0.9;
	return text_of(object($depth + 1));
}

# An object as a list of keys and a hash of their values' text.
sub object
{
	my ($depth) = @_;
	my $n = $depth > 0 ? rand 4 : rand() < 0.02 ? 33 + rand 170 : rand 9;
	return { map { pick(@keys) => value($depth + 1) } 1 .. $n };
}

sub text_of
{
	my ($o) = @_;
	my @members = map { my $k = $_; (my $q = $k) =~ s/(["\\])/\\$1/g; "\"$q\":$o->{$k}" } sort keys %$o;
	return '{' . join(',', @members) . '}';
}

# Another text of the same kind: what tests the comparison of bytes most.
sub similar
{
	my ($v) = @_;
	return $v . '0' if $v =~ /^-?\d+\.\d+$/ && rand() < 0.5;
	return "$1.0" if $v =~ /^(-?\d+)$/ && rand() < 0.2;
	return "\"$v\"" if $v =~ /^-?\d+$/ && rand() < 0.3;
	if ($v =~ /^"[a-z0-9]+"$/) { substr($v, 1 + rand(length($v) - 2), 1) = pick('a' .. 'f'); return $v }
	if ($v =~ /^(-?)[1-9]\d{0,6}$/) { return $v + pick(-1, 1) }
	return value(1);
}

sub changed
{
	my ($old) = @_;
	my $rate = pick(0, 0.03, 0.2, 0.8);
	my %new;
	for my $k (sort keys %$old)
	{
		my $what = rand;
		next if $what < $rate / 4;
		$new{$k} = $what < $rate ? similar($old->{$k}) : $old->{$k};
	}
	if (rand() < 0.3) { $new{ pick(@keys) } = value(1) for 1 .. 1 + rand 3 }
	return \%new;
}

# undef is SQL null.
sub pair
{
	my $kind = rand;
	my $o = object(0);
	return (text_of($o), text_of(changed($o))) if $kind < 0.8;
	return (text_of($o), text_of(object(0))) if $kind < 0.85;
	my @other = (undef, '{}', '[]', 'null', value(0), scalar_value(), text_of($o));
	return (pick(@other), pick(@other));
}

sub copy_text
{
	my ($v) = @_;
	return '\N' unless defined $v;
	$v =~ s/\\/\\\\/g;
	return $v;
}

# ---- the server ---------------------------------------------------------------------------------

my $node = source('pairs', allow => 1, nostart => 1, conf => "dynamic_library_path = '$top/build/asan:\$libdir'\njit = off\nautovacuum = off\nmax_wal_size = 4GB\n");
{
	local $ENV{LD_PRELOAD} = "$asan $top/build/asan/first.so";
	local $ENV{ASAN_OPTIONS} = 'detect_leaks=0:detect_stack_use_after_return=0';
	local $ENV{UBSAN_OPTIONS} = 'print_stacktrace=1';
	$node->start;
}
spew("$ENV{WORK}/apply.sql", slurp("$top/tests/data/apply.sql"));
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE item (id int PRIMARY KEY, j jsonb, v int);
ALTER TABLE item REPLICA IDENTITY FULL;
CREATE UNLOGGED TABLE pair (id int PRIMARY KEY, old jsonb, new jsonb);
CREATE UNLOGGED TABLE change (id int, mode text, attributes jsonb);
SQL
$node->safe_psql('postgres', slurp("$ENV{WORK}/apply.sql"));

my $decode = <<'SQL';
INSERT INTO change SELECT (c #>> '{key,0,int}')::int, '%s',
	(SELECT coalesce(jsonb_agg(a), '[]') FROM jsonb_array_elements(c -> 'attributes') AS x(a) WHERE a -> 'column' = '1')
FROM pg_logical_slot_%s_changes('s', NULL, NULL, 'format', 'json', 'frame_bytes', '%s', 'mode', '%s', 'old_values', '%s') AS f,
	jsonb_array_elements(f.data::jsonb -> 'entries') AS e(entry), LATERAL (SELECT entry -> 'change') AS d(c) WHERE entry ? 'change';
SQL

# What is to be looked at by a person: nothing.
my $judge = <<'SQL';
SELECT p.id, 'delta', p.old, p.new, d.attributes FROM pair p LEFT JOIN change d ON d.id = p.id AND d.mode = 'delta'
 WHERE (d.id IS NOT NULL) <> (p.id % 4 = 0 OR p.old::text IS DISTINCT FROM p.new::text)
	OR wire_apply(p.old, coalesce(d.attributes, '[]'))::text IS DISTINCT FROM coalesce(p.new, 'null')::text
	OR EXISTS (SELECT FROM jsonb_array_elements(d.attributes) AS x(a) WHERE a ->> 'changed' IS DISTINCT FROM 'YES' OR a ? 'oldValue')
	OR p.old::text IS NOT DISTINCT FROM p.new::text AND d.attributes <> '[]'
UNION ALL
SELECT p.id, 'row', p.old, p.new, r.attributes FROM pair p LEFT JOIN change r ON r.id = p.id AND r.mode = 'row'
 WHERE (r.id IS NOT NULL) <> (p.id % 4 = 0 OR p.old::text IS DISTINCT FROM p.new::text)
	OR r.id IS NOT NULL AND wire_apply(NULL, r.attributes)::text IS DISTINCT FROM coalesce(p.new, 'null')::text
	OR wire_wrong(p.old, p.new, r.attributes) IS NOT NULL
 LIMIT 3;
SQL

my ($done, $sent, $wrong) = (0, 0, '');
while ($done < $pairs && $wrong eq '')
{
	my $n = $pairs - $done < $batch ? $pairs - $done : $batch;
	my $copy = "COPY pair FROM STDIN;\n";
	for my $id (1 .. $n)
	{
		my ($old, $new) = pair();
		$copy .= join("\t", $id, copy_text($old), copy_text($new)) . "\n";
	}
	utf8::encode($copy);
	$node->safe_psql('postgres', "TRUNCATE item, pair, change;\n$copy\\.\n"
		  . "INSERT INTO item SELECT id, old, 1 FROM pair; SELECT pg_create_logical_replication_slot('s', 'walrank');\n"
		  # a fourth of the rows is written whatever becomes of the value
		  . "UPDATE item SET j = new, v = CASE WHEN pair.id % 4 = 0 THEN 2 ELSE 1 END FROM pair WHERE item.id = pair.id;\n"
		  . sprintf($decode, 'delta', 'peek', '1MB', 'delta', 'off')
		  . sprintf($decode, 'row', 'get', '1kB', 'row', 'on')
		  . "SELECT pg_drop_replication_slot('s'); ANALYZE pair, change;");
	$wrong = $node->safe_psql('postgres', $judge);
	$sent += $node->safe_psql('postgres', "SELECT count(*) FROM change WHERE mode = 'delta'");
	$done += $n;
}
is($wrong, '', "old and delta give new, flags and old values are right: $done pairs, $sent of them sent") or diag("WALRANK_SEED=$seed");
cmp_ok($sent, '>', $done / 2, 'most pairs differ');
$node->stop;
unlike(slurp($node->logfile), qr/AddressSanitizer|runtime error|terminated by signal|PANIC/, 'the sanitizers found nothing');
done_testing();
