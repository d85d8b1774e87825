# Values of every type (tests/data/values.txt) under four identities in two modes, compared byte for
# byte with tests/data/values.golden; stream, walrank.encode() and a hostile role's walsender give the
# same bytes (H16); and the server's own to_jsonb agrees on what a value is.
#
# tests/data/make-values makes the golden file anew.
use strict;
use warnings;
use utf8;
use Walrank;
use Digest::MD5 qw(md5_hex);
use PostgreSQL::Test::Utils;
use Test::More;

my $top = $ENV{WALRANK_TOP};
my $node = source('values', allow => 1, conf => "autovacuum = off\n");
my @identities = qw(NOTHING DEFAULT INDEX FULL);
my @modes = qw(row delta);

my @values;    # [type, expression, index in the type]
my %types;     # type => [values]
my @order;
for my $line (split /\n/, do { my $text = slurp("$top/tests/data/values.txt"); utf8::decode($text); $text })
{
	next if $line =~ /^#/;
	my ($type, $expression) = $line =~ /^(\S.*?)\t+(.+)$/ or die "values.txt: $line";
	push @order, $type unless $types{$type};
	push @{ $types{$type} }, $expression;
}
my %number = map { $order[$_] => $_ + 1 } 0 .. $#order;
my $count = 0;
$count += @{ $types{$_} } for @order;
cmp_ok($count, '>=', 300, "there are $count values of " . @order . ' types');

# ---- all of it written ---------------------------------------------------------------------------

my $sql = <<'SQL';
CREATE EXTENSION walrank;
CREATE EXTENSION hstore; CREATE EXTENSION citext; CREATE EXTENSION ltree; CREATE EXTENSION cube;
CREATE EXTENSION intarray; CREATE EXTENSION isn; CREATE EXTENSION seg;
CREATE FUNCTION noise(n int) RETURNS text LANGUAGE sql IMMUTABLE AS
	$$ SELECT left(string_agg(md5(i::text), ''), n) FROM generate_series(1, n / 32 + 1) i $$;
CREATE TYPE mood AS ENUM ('sad', 'größe', 'it''s "ok"');
CREATE TYPE mood_range AS RANGE (subtype = mood);
CREATE DOMAIN short_text AS varchar(10);
CREATE DOMAIN shorter AS short_text CHECK (length(VALUE) < 5);
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE DOMAIN list_of_int AS int[];
CREATE DOMAIN attributes AS jsonb;
CREATE TYPE pair AS (a int, b text, at timestamptz);
CREATE DOMAIN pair_domain AS pair;
CREATE TYPE nest AS (p pair, ps pair[], j jsonb, n numeric[], ii int[]);
CREATE TYPE wide_row AS (t text, "Größe" varchar, b bytea, bi varbit, x xml, j json, f4 float4, f8 float8, n numeric, bo bool, i8 int8,
	iv interval, ip inet, r int4range, m mood, d shorter, ms mood[]);
CREATE TABLE plain_table (id int, t text);
CREATE TYPE altered AS (a int, gone text, c int);
ALTER TYPE altered DROP ATTRIBUTE gone;
CREATE TYPE empty_row AS ();
SQL
# the server's own view, settings pinned; where to_jsonb and we differ on purpose, what we mean
my %meant = (money => 'to_jsonb(v::numeric)', oid => 'to_jsonb(v::int8)', 'oid[]' => 'to_jsonb(v::int8[])', 'money[]' => 'to_jsonb(v::numeric[])',
	oidvector => 'to_jsonb(v::oid[]::int8[])', hstore => 'to_jsonb(v::text)', xml => 'to_jsonb(v::text)', 'hstore[]' => 'to_jsonb(v::text[])');
for my $type (@order)
{
	for my $identity (@identities)
	{
		my $table = "t$number{$type}_" . lc $identity;
		$sql .= "CREATE TABLE $table (id int PRIMARY KEY, k int NOT NULL UNIQUE, v $type, w int);\n";
		$sql .= "ALTER TABLE $table REPLICA IDENTITY "
		  . ($identity eq 'INDEX' ? "USING INDEX ${table}_k_key" : $identity) . ";\n";
		$sql .= "ALTER TABLE $table ALTER v SET STORAGE EXTERNAL;\n" if $type =~ /^(?:text|jsonb|bytea)$/;
	}
}
$sql .= "SELECT pg_create_logical_replication_slot('s', 'walrank');\nCREATE TABLE frame (n int GENERATED ALWAYS AS IDENTITY, mode text, data jsonb);\nCREATE TABLE raw (n int, data bytea);\nCREATE TABLE encoded (t text, id int, e bytea);\n";
for my $type (@order)
{
	my @list = @{ $types{$type} };
	$sql .= "BEGIN;\n";
	for my $identity (@identities)
	{
		my $table = "t$number{$type}_" . lc $identity;
		for my $i (0 .. $#list)
		{
			my $next = @list > 1 ? $list[ ($i + 1) % @list ] : 'NULL';
			my $id = $i + 1;
			$sql .= "INSERT INTO $table VALUES ($id, $id, ($list[$i])::$type, 0);\n";
			$sql .= "INSERT INTO encoded SELECT '$table', id, walrank.encode(t) FROM $table t WHERE id = $id;\n";
			$sql .= "UPDATE $table SET w = 1 WHERE id = $id;\n" . "UPDATE $table SET v = v WHERE id = $id;\n"
			  . "UPDATE $table SET v = ($next)::$type WHERE id = $id;\n" . "DELETE FROM $table WHERE id = $id;\n";
		}
	}
	$sql .= "COMMIT;\n";
}
my $file = "$ENV{WORK}/values.sql";
spew($file, do { my $bytes = $sql; utf8::encode($bytes); $bytes });
run_ok('the values are written', 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null', '-d', $node->connstr('postgres'), '-f', $file);

# ---- decoded ---------------------------------------------------------------------------------------

$node->safe_psql('postgres', slurp("$top/tests/data/apply.sql"));
my $lsn = $node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()');
# whatever the role says must not show
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE hostile LOGIN REPLICATION;
ALTER ROLE hostile SET DateStyle = 'German, DMY'; ALTER ROLE hostile SET IntervalStyle = 'sql_standard';
ALTER ROLE hostile SET TimeZone = 'Asia/Kolkata'; ALTER ROLE hostile SET extra_float_digits = -15; ALTER ROLE hostile SET bytea_output = 'escape';
ALTER ROLE hostile SET lc_monetary = 'C.UTF-8'; ALTER ROLE hostile SET search_path = 'public'; ALTER ROLE hostile SET quote_all_identifiers = on;
ALTER ROLE hostile SET xmloption = 'document'; ALTER ROLE hostile SET xmlbinary = 'hex'; ALTER ROLE hostile SET client_encoding = 'LATIN1';
SQL
my $streamed = "$ENV{WORK}/streamed";
$node->safe_psql('postgres', "SELECT pg_copy_logical_replication_slot('s', 'h')");
run_ok('a hostile role streams', 'pg_recvlogical', '-d', $node->connstr('postgres') . ' user=hostile', '-S', 'h', '--start', '-f', $streamed,
	'--no-loop', "--endpos=$lsn", '-o', 'format=json', '-o', 'mode=row');
my $quiet = "SET client_min_messages = warning; SET DateStyle = 'SQL'; SET TimeZone = 'America/New_York'; SET IntervalStyle = 'iso_8601';";
my $peeked = $node->safe_psql('postgres', "$quiet SELECT data FROM pg_logical_slot_peek_changes('s', '$lsn', NULL, 'format', 'json', 'mode', 'row')");
my $got = slurp($streamed);
chomp $got;
ok($got eq $peeked, 'and gets the bytes that the SQL function returns under other settings');
cmp_ok(length $got, '>', 100_000, 'which are not few');

$node->safe_psql('postgres', "$quiet INSERT INTO frame (mode, data) SELECT '$_', data::jsonb FROM pg_logical_slot_peek_changes('s', '$lsn', NULL, 'format', 'json', 'mode', '$_') ORDER BY lsn") for @modes;
$node->safe_psql('postgres', "INSERT INTO raw SELECT row_number() OVER (), data FROM pg_logical_slot_peek_binary_changes('s', '$lsn', NULL, 'frame_bytes', '64MB')");
# one relation, one value: what is asked of each change
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE change AS
WITH entry AS (SELECT n, mode, e, o FROM frame, jsonb_array_elements(data -> 'entries') WITH ORDINALITY AS x(e, o)),
	relation AS (SELECT DISTINCT e #>> '{relation,fingerprint}' AS f, e #>> '{relation,table}' AS t FROM entry WHERE e ? 'relation')
SELECT n, o, mode, t, c ->> 'op' AS op, CASE WHEN c ? 'key' THEN (c #>> '{key,0,int}')::int END AS id, (c ->> 'flags')::int AS flags,
	coalesce((SELECT jsonb_agg(a) FROM jsonb_array_elements(c -> 'attributes') AS y(a) WHERE a ->> 'column' = '2'), '[]') AS attributes
FROM entry, LATERAL (SELECT e -> 'change') AS z(c), relation WHERE e ? 'change' AND f = c ->> 'relation' AND t ~ '^t\d+_';
CREATE INDEX ON change (t, mode, op, id);
ANALYZE change;
SQL

# one transaction, and with large frames one frame, per type
is($node->safe_psql('postgres', "SELECT t, id FROM encoded LEFT JOIN raw ON n = substring(t FROM '^t(\\d+)')::int WHERE coalesce(position(e IN data), 0) = 0 LIMIT 3"),
	'', 'encode() gives the bytes of the stream (and of the backfill, which calls it)');
is($node->safe_psql('postgres', 'SELECT count(*) FROM encoded'), $count * @identities, 'for every value and identity');

# ---- what the server says of the same values -------------------------------------------------------

my $judge = "SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; SET IntervalStyle = 'postgres'; SET search_path = pg_catalog, pg_temp; SET lc_monetary = 'C';\n"
  . "CREATE TEMP TABLE meant (t text, id int, v jsonb);\n";
for my $type (@order)
{
	my $meant = $meant{$type} // 'to_jsonb(v)';
	my $i = 0;
	for my $expression (@{ $types{$type} })
	{
		$i++;
		$judge .= "INSERT INTO meant SELECT 't$number{$type}_default', $i, $meant FROM (SELECT public.value_$number{$type}_$i() AS v) s;\n";
	}
}
# the expressions are evaluated where they were before, under the search_path of the owner
my $functions = '';
for my $type (@order)
{
	my $i = 0;
	$functions .= "CREATE FUNCTION value_$number{$type}_" . ++$i . "() RETURNS $type LANGUAGE sql SET search_path = public AS \$f\$ SELECT ($_)::$type \$f\$;\n"
	  for @{ $types{$type} };
}
spew($file, do { my $bytes = "$functions$judge" . <<'SQL'; utf8::encode($bytes); $bytes });
SET search_path = public, pg_catalog;
SELECT m.t, m.id, m.v, public.wire_apply(NULL, c.attributes) FROM meant m LEFT JOIN public.change c ON c.t = m.t AND c.id = m.id AND c.mode = 'row' AND c.op = 'INSERT'
 WHERE coalesce(m.v, 'null')::text IS DISTINCT FROM public.wire_apply(NULL, c.attributes)::text LIMIT 5;
SQL
my ($different) = run_ok('the server is asked', 'psql', '-X', '-q', '-A', '-t', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-f', $file);
is($different, '', 'every value is what the server\'s to_jsonb makes of it');

# ---- golden ----------------------------------------------------------------------------------------

# What a Value looks like: short, and the same on every day.
sub shown
{
	my ($text) = @_;
	return length $text > 200 ? substr($text, 0, 60) . '...' . length($text) . ' characters, md5 ' . md5_hex(do { my $b = $text; utf8::encode($b); $b }) : $text;
}

my %seen;    # table, mode, id => [changes in order]
my $rows = $node->safe_psql('postgres', <<'SQL');
SELECT c.t, c.mode, c.op, coalesce(c.id::text, ''), coalesce(c.flags::text, ''), replace(a.tokens, E'\n', ' ')
FROM change c, LATERAL (SELECT string_agg(concat_ws(E'\x02', coalesce('.' || wire_key(a), ''), coalesce(a ->> 'changed', 'UNKNOWN'), coalesce(a ->> 'state', 'SET'),
	coalesce(a ->> 'size', ''), coalesce(a ->> 'value', '')), E'\x03' ORDER BY i) AS tokens FROM jsonb_array_elements(c.attributes) WITH ORDINALITY AS x(a, i)) a ORDER BY c.mode, c.n, c.o
SQL
utf8::decode($rows);

# psql separates columns by |, which values hold too: only the first five separate
my %last;
for my $line (split /\n/, $rows)
{
	my ($table, $mode, $op, $id, $flags, $tokens) = split /\|/, $line, 6;
	# without a key the change belongs to the row whose turn it is
	$last{"$table $mode"} = $id if $op eq 'INSERT';
	push @{ $seen{"$table $mode $last{\"$table $mode\"}"} }, [ $op, $id, $flags, $tokens ];
}

# One change as text; value i is written #, its successor #+.
sub told
{
	my ($change, $own, $next) = @_;
	my ($op, $id, $flags, $tokens) = @$change;
	my @told;
	for my $token (split /\x03/, $tokens)
	{
		my ($key, $changed, $state, $size, $value) = split /\x02/, $token, -1;
		my $text = $key . { YES => '!', NO => '=', UNKNOWN => '?' }->{$changed};
		$text .= $state eq 'SET' ? ($value eq ($own->{$key} // "\0") ? '#' : $value eq ($next->{$key} // "\0") ? '#+' : shown($value)) : "<$state" . ($size ne '' ? " $size" : '') . '>';
		push @told, $text;
	}
	return join ' ', substr($op, 0, 1) . ($flags ne '' ? "($flags)" : '') . ($id eq '' ? '(no key)' : ''), @told;
}

sub values_of { return { map { my ($key, undef, $state, undef, $value) = split /\x02/, $_, -1; $state eq 'SET' ? ($key => $value) : () } split /\x03/, $_[0] } }

my $golden = '';
my $cases = 0;
for my $type (@order)
{
	my @list = @{ $types{$type} };
	my $n = $number{$type};
	$golden .= "$type\n";
	my @inserted = map { values_of($seen{"t${n}_default row $_"}[0][3]) } 1 .. @list;
	for my $i (1 .. @list)
	{
		my %own = %{ $inserted[ $i - 1 ] };
		my @attributes = map { ($_ ne '' ? "$_ " : '') . shown($own{$_}) } sort keys %own;
		$golden .= "  $i: $list[$i - 1]\n" . join '', map { "     $_\n" } @attributes > 12 ? (@attributes[ 0 .. 1 ], '.. ' . (@attributes - 2) . ' more, md5 ' . md5_hex(do { my $b = "@attributes"; utf8::encode($b); $b })) : @attributes;
	}
	for my $identity (@identities)
	{
		for my $mode (@modes)
		{
			my @folded;    # [text, first, last]
			for my $i (1 .. @list)
			{
				my @changes = @{ $seen{"t${n}_" . lc($identity) . " $mode $i"} // [] };
				my $text = join '; ', map { told($_, $inserted[ $i - 1 ], @list > 1 ? $inserted[ $i % @list ] : {}) } @changes;
				$text = shown($text) if @changes && length $text > 1500;
				$cases++ if @changes >= 4;
				if (@folded && $folded[-1][0] eq $text) { $folded[-1][2] = $i }
				else { push @folded, [ $text, $i, $i ] }
			}
			$golden .= "  $identity $mode" . (@folded == 1 ? '' : " $_->[1]" . ($_->[2] > $_->[1] ? "-$_->[2]" : '')) . ": $_->[0]\n" for @folded;
		}
	}
}
utf8::encode($golden);
is($cases, $count * @identities * @modes, "$count values x 4 identities x 2 modes: insert, update beside, of nothing, of the value, delete");
if ($ENV{WALRANK_ACCEPT})
{
	spew("$ENV{WORK}/values.golden", $golden);
}
else
{
	spew("$ENV{WORK}/values.out", $golden);
	my ($diff) = ('');
	IPC::Run::run([ 'diff', '-U2', "$top/tests/data/values.golden", "$ENV{WORK}/values.out" ], '>', \$diff, '2>&1');
	is($diff, '', 'byte for byte what tests/data/values.golden says');
}
$node->stop;
done_testing();
