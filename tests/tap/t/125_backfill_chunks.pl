# A table is read in ranges of its primary key, of whatever types: no row is passed over or read twice, a stop or a crash repeats one
# range, and what is read under way stays what it was.
use strict;
use warnings;
use Walrank;
use JSON::XS;
use PostgreSQL::Test::Utils;
use Test::More;

my $source = source('source');
my $d = daemon_new($source, conf => "[backfill]\nchunk_rows = 9\n");
$d->init;

# ---- keys of all types --------------------------------------------------------------------------
# name => [column definition of the key(s), expression(s) of the n-th value]
my %keys = (
	small    => ['k smallint', 'n - 25'],
	big      => ['k bigint', 'n * 9007199254740993 / 3 - 4000000000000'],
	plain    => ['k text', q{chr(32 + n * 2) || repeat('y', n % 3)}],
	quoted   => ['k text', q{n || E'\'\\\\"$$%\n' || n}],
	locale   => ['k text COLLATE "de-x-icu"', q{(ARRAY['ä','a','Z','z','Ö','o','ß','ss','é','e'])[1 + n % 10] || n}],
	loose    => ['k text COLLATE loose', q{(ARRAY['ä','B','c'])[1 + n % 3] || n}],
	fixed    => ['k char(6)', q{'x' || n}],
	varied   => ['k varchar(30)', q{'v' || n}],
	named    => ['k name', q{'n' || n}],
	exact    => ['k numeric', q{CASE n WHEN 1 THEN 'NaN' WHEN 2 THEN 'Infinity' WHEN 3 THEN '-Infinity' WHEN 4 THEN 1e300 WHEN 5 THEN -1e-200 ELSE n / 7.1 - 3 END::numeric}],
	scaled   => ['k numeric(12, 4)', 'n / 8.0 - 3'],
	float8   => ['k float8', q{CASE n WHEN 1 THEN 'NaN' WHEN 2 THEN 'Infinity' WHEN 3 THEN '-Infinity' WHEN 4 THEN '-0' WHEN 5 THEN 5e-300 ELSE n / 7.1 - 3 END::float8}],
	float4   => ['k float4', 'n / 7.0 - 3'],
	moment   => ['k timestamptz', q{CASE n WHEN 1 THEN 'infinity' WHEN 2 THEN '-infinity' WHEN 3 THEN '0044-03-15 BC' ELSE '1999-12-31 23:59:59.999999+00'::timestamptz + n * '7 h 1.000001 s'::interval END::timestamptz}],
	local    => ['k timestamp', q{'2026-03-29 01:30'::timestamp + n * '11 min'::interval}],
	day      => ['k date', q{CASE n WHEN 1 THEN 'infinity' WHEN 2 THEN '-infinity' ELSE '1999-12-20'::date + n END::date}],
	span     => ['k interval', q{n * '1 day 3 h'::interval - '1 mon'::interval}],
	bytes    => ['k bytea', q{decode(lpad(to_hex(n * 5), 2, '0'), 'hex') || '\x00ff'}],
	id       => ['k uuid', q{md5(n::text)::uuid}],
	enum     => ['k mood', q{('m' || n % 20)::mood}],
	yes      => ['k bool, l int', 'n % 2 = 0, n'],
	swapped  => ['l int, k int', 'n / 10, n % 10', 'k, l'],
	included => ['k int', 'n', 'k) INCLUDE (v'],
	word     => ['k ext.citext', q{(ARRAY['b','A','c','D'])[1 + n % 4] || n}],
	mixed    => ['k ext.citext, l int', q{(ARRAY['b','A'])[1 + n % 2], n}],
	domained => ['k positive', 'n + 1'],
	document => ['k jsonb', q{CASE n % 3 WHEN 0 THEN to_jsonb(n) WHEN 1 THEN to_jsonb('t' || n) ELSE jsonb_build_object('n', n) END}],
	array    => ['k int[]', 'ARRAY[n % 5, n]'],
	range    => ['k int4range', 'int4range(n, n + 3)'],
	address  => ['k inet', q{'10.0.0.0'::inet + n * 300}],
	char     => ['k "char"', 'chr(60 + n)::"char"'],
	'odd "t' => ['t int, "a b" int', 'n / 10, n % 10'],
);
my @quick = ('quoted', 'locale', 'exact', 'float8', 'moment', 'bytes', 'swapped', 'word', 'mixed', 'array', 'odd "t');
%keys = map { $_ => $keys{$_} } @quick if ($ENV{WALRANK_TIER} // 'check') eq 'check';
my $n = 20;
$source->safe_psql('postgres', q{
	CREATE SCHEMA ext; CREATE EXTENSION citext SCHEMA ext; GRANT USAGE ON SCHEMA ext TO PUBLIC;
	CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level1', deterministic = false);
	CREATE DOMAIN positive AS int CHECK (VALUE > 0);
	CREATE TYPE mood AS ENUM (} . join(', ', map { "'m" . ($_ * 7 % 20) . "'" } 0 .. 19) . q{);});
for my $name (sort keys %keys)
{
	my ($columns, $values, $order) = @{ $keys{$name} };
	(my $q = $name) =~ s/"/""/g;
	my @names = map { /^\s*("[^"]+"|\w+)/; $1 } split /,(?![^(]*\))/, $columns;
	$order //= join ', ', @names;
	$source->safe_psql('postgres', qq{CREATE TABLE "$q" ($columns, v int, PRIMARY KEY ($order));
		INSERT INTO "$q" SELECT $values, n FROM generate_series(0, $n - 1) n;
		SELECT walrank.watch('"$q"'); INSERT INTO walrank.ranking (name, relation, definition) VALUES ('} . sprintf('r%s', $name =~ s/\W/_/gr) . qq{', 'public.' || quote_ident('$name'), 'term v weight 1 v')});
}
$d->start('--create');
$d->ready(150);
$d->catch_up;
my (%scores, %sum);
for my $l (grep { $_->{kind} eq 'score' } map { decode_json($_) } $d->lines)
{
	$scores{ $l->{ranking} }{ JSON::XS->new->canonical->encode($l->{key}) }++;
	$sum{ $l->{ranking} } += $l->{score};
}
for my $name (sort keys %keys)
{
	my $ranking = 'r' . $name =~ s/\W/_/gr;
	is(scalar(keys %{ $scores{$ranking} }) . " $sum{$ranking}", "$n " . $n * ($n - 1) / 2, "each row once of a table with the key ($keys{$name}[0])");
}
my $log = slurp($d->{log});
unlike($log, qr/set aside/, 'and no chunk failed');
is($d->status->{scorer}{quarantined}, 0, 'and nothing is in quarantine');
is($d->stop, 0, 'stopped');
done_testing();
