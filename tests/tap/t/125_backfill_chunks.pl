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
$d->ready;
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

# ---- helpers ---------------------------------------------------------------------------------------
sub table { my ($name) = @_; my ($t) = grep { $_->{relation} eq "public.$name" } @{ ($d->status // {})->{tables} // [] }; return $t // {} }
sub tool { my ($out, $err) = run_ok("walrank @_", Walrank::Daemon::bin('walrank'), '--config', $d->{conf}, @_); return $out }
sub configure { my ($from, $to) = @_; spew($d->{conf}, slurp($d->{conf}) =~ s/$from/$to/r); return }
sub filled { my ($name) = @_; $d->catch_up; poll("$name to be filled", sub { table($name)->{backfill} eq 'filled' }); return }

# How many rows its first reading has read, when the log says so: a moment after it is filled.
sub rows_read
{
	my ($name) = @_;
	return poll("the reading of $name", sub { slurp($d->{log}) =~ /backfill of public\.$name: (\d+) rows/ ? $1 : undef });
}

# What readers of the file sink hold of a ranking: "key|score" lines.
sub held
{
	my ($ranking) = @_;
	my %score;
	for my $l (map { decode_json($_) } $d->lines)
	{
		next unless ($l->{ranking} // '') eq $ranking;
		if ($l->{kind} eq 'score') { $score{ $l->{key}{id} } = $l->{score} }
		elsif (defined $l->{key}) { delete $score{ $l->{key}{id} } }
		else { %score = () }
	}
	return join "\n", map { "$_|$score{$_}" } sort { $a <=> $b } keys %score;
}

sub same
{
	my ($name, $what) = @_;
	$d->catch_up;
	is(held($name), $source->safe_psql('postgres', "SELECT id, v FROM $name ORDER BY id"), $what);
	return;
}

sub make_table
{
	my ($name, $rows) = @_;
	$source->safe_psql('postgres', "CREATE TABLE $name (id int PRIMARY KEY, v int); INSERT INTO $name SELECT i, i FROM generate_series(1, $rows) i;
		SELECT walrank.watch('$name'); INSERT INTO walrank.ranking (name, relation, definition) VALUES ('$name', 'public.$name', 'term v weight 1 v')");
	return;
}

# ---- a crash repeats one range ------------------------------------------------------------------------
configure('chunk_rows = 9', "chunk_rows = 10\nrate = 3");
kill 'HUP', $d->{pid};
make_table('slow', 60);
poll('the third range', sub { my $b = $d->status->{backfill}; $b->{relation} eq 'public.slow' && $b->{chunk} >= 2 && $b->{rows_estimated} >= 0 });
$d->kill9;
$source->safe_psql('postgres', 'UPDATE slow SET v = v + 100 WHERE id % 10 = 3; DELETE FROM slow WHERE id IN (5, 25, 55)');
configure('rate = 3', 'rate = 0');
$d->start;
filled('slow');
cmp_ok(rows_read('slow'), '<=', 40, 'after a crash no range that had ended is read again');
same('slow', 'and nothing is missing');

# ---- given up, and asked for -----------------------------------------------------------------------------
configure('rate = 0', 'rate = 3');
kill 'HUP', $d->{pid};
make_table('steered', 60);
poll('the second range', sub { my $b = $d->status->{backfill}; $b->{relation} eq 'public.steered' && $b->{chunk} >= 1 });
like(tool('backfill', 'list'), qr/^reading public\.steered: .*chunk \d+.* rows/m, 'the list says how far a reading is');
is(tool('--dry-run', 'backfill', 'cancel', 'steered'), "public.steered is meant\n", 'tried, nothing is given up');
is(table('steered')->{asked}, '', 'indeed');
tool('backfill', 'cancel', 'public.steered');
poll('the reading to end', sub { !$d->status->{backfill}{running} });
is(table('steered')->{asked}, 'cancel', 'given up');
make_table('next_one', 5);
filled('next_one');
isnt(table('steered')->{backfill}, 'filled', 'it is not taken up again by itself, and others are read');
is($d->stop, 0, 'stopped');
$d->start;
poll('the stream', sub { (($d->status // {})->{source}{state} // '') eq 'streaming' });
make_table('one_more', 5);
filled('one_more');
is(table('steered')->{asked}, 'cancel', 'a restart does not forget that');
isnt(table('steered')->{backfill}, 'filled', 'and does not take it up either');
$source->safe_psql('postgres', 'UPDATE steered SET v = v + 100 WHERE id IN (2, 59); DELETE FROM steered WHERE id IN (3, 58)');
configure('rate = 3', 'rate = 0');
kill 'HUP', $d->{pid};
tool('backfill', 'start', 'steered');
filled('steered');
cmp_ok(rows_read('steered'), '<=', 50, 'started, it goes on where it was');
same('steered', 'and nothing is missing');
is((grep { $_->{relation} eq 'public.steered' } @{ decode_json(tool('--json', 'backfill', 'list'))->{tables} })[0]{asked}, '', 'what was asked for is done');
my ($out, $err) = ('', '');
IPC::Run::run([ Walrank::Daemon::bin('walrank'), '--config', $d->{conf}, 'backfill', 'start', 'nowhere' ], '<', \undef, '>', \$out, '2>', \$err);
like($err, qr/nowhere is not watched/, 'a table that is not watched is refused');

# ---- read again: what went unseen goes, what came unseen comes, and nothing is said of the rest ------------------
my $lines = () = $d->lines;
tool('backfill', 'start', 'slow');
poll('the reading', sub { slurp($d->{log}) =~ /backfill of public\.slow.*backfill of public\.slow/s });
filled('slow');
$d->catch_up;
is(scalar(grep { /"slow"/ } ($d->lines)[ $lines .. $d->lines - 1 ]), 0, 'an unchanged table read again tells nothing');
$source->safe_psql('postgres', q{ALTER PUBLICATION walrank DROP TABLE slow; DELETE FROM slow WHERE id IN (1, 33, 60); INSERT INTO slow VALUES (70, 7), (0, 1); UPDATE slow SET v = 9 WHERE id = 30;
	ALTER PUBLICATION walrank ADD TABLE slow});
$d->catch_up;
isnt(held('slow'), $source->safe_psql('postgres', 'SELECT id, v FROM slow ORDER BY id'), 'changes nobody published are not seen');
my $done = $d->status->{backfill}{done};
tool('backfill', 'start', 'slow');
poll('the reading', sub { $d->status->{backfill}{done} > $done });
filled('slow');
same('slow', 'until the table is read again: then gone items are gone');

# ---- a policy is an error, not a hole ----------------------------------------------------------------------------
$source->safe_psql('postgres', q{CREATE TABLE guarded (id int PRIMARY KEY, v int); INSERT INTO guarded SELECT i, i FROM generate_series(1, 8) i;
	ALTER TABLE guarded ENABLE ROW LEVEL SECURITY; CREATE POLICY part ON guarded USING (id > 5); SELECT walrank.watch('guarded');
	INSERT INTO walrank.ranking (name, relation, definition) VALUES ('guarded', 'public.guarded', 'term v weight 1 v')});
poll('red', sub { join(' ', @{ $d->status->{red} }) =~ /guarded cannot be read: .*row-level security/ });
is(held('guarded'), '', 'a table whose policy hides rows is not read, and red says why');
$source->safe_psql('postgres', 'ALTER TABLE guarded DISABLE ROW LEVEL SECURITY');
tool('backfill', 'start', 'guarded');
filled('guarded');
same('guarded', 'without it all is read');
is($d->stop, 0, 'stopped');
done_testing();
