# The same score everywhere: SQL, both sinks, the feed derived again, the file written again.
use strict;
use warnings;
use Walrank;
use JSON::XS;
use PostgreSQL::Test::Utils;
use Test::More;

my $source = source('source');
my $search = source('search');
$source->safe_psql('postgres', q{
	CREATE TABLE item (id bigint PRIMARY KEY, price numeric, listed timestamptz, badges text[], att jsonb);
	INSERT INTO item SELECT i, i / 7.0, timestamptz '2026-01-01 00:00Z' + i * interval '1 hour', CASE i % 3 WHEN 0 THEN '{verified,new}' WHEN 1 THEN '{}' END::text[],
		jsonb_build_object('views', jsonb_build_array(i * 13 % 997, '2026-05-01T00:00:00.000000Z'), 'level', i % 5, 'odd "name"', jsonb_build_array(i % 10, '2026-05-01T00:00:00.000000Z'))
		FROM generate_series(1, 500) i;
});
my $d = daemon_new($source, postgres => $search);
$d->init;
$source->safe_psql('postgres', q{
	SELECT walrank.watch('item', 'att');
	INSERT INTO walrank.ranking (name, relation, definition) VALUES
	('ageless', 'public.item', $$
where    not level = 4
term     popularity  weight 0.6  log1p(views)                                  missing 0
term     price       weight 0.1  steps(price, [(0, 1.0), (10, 0.8), (50, 0.3)], below = 0)
term     root        weight 0.2  sqrt(price) missing 0.25
boost    +0.05  when 'verified' in badges
factor   1.2    when level >= 3
clamp    0 .. 10
round    0.0001 $$),
	('aging', 'public.item', $$
term     fresh       weight 1  exp_decay(age(listed), 7d)   missing skip
term     seen        weight 1  half_life(age(views), 1d)    missing skip
round    0.000001 $$);
});
$d->create;
$source->safe_psql('postgres', q{
	-- every image is kept, so that each line can be checked against the image it was made from
	CREATE TABLE image (n bigserial, txid bigint DEFAULT txid_current(), item item);
	CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO image (item) VALUES (NEW); RETURN NULL; END $$;
	CREATE TRIGGER keep AFTER INSERT OR UPDATE ON item FOR EACH ROW EXECUTE FUNCTION keep();
});
for my $i (1 .. 300)
{
	$source->safe_psql('postgres', "UPDATE item SET price = price + 1, att = jsonb_set(att, '{views}', jsonb_build_array($i, to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'))) WHERE id % 300 = $i % 300") if $i % 3 == 0;
}
$d->catch_up;

is( $source->safe_psql('postgres', "SELECT id, walrank.score('ageless', i, now()) FROM item i WHERE walrank.score('ageless', i, now()) IS NOT NULL ORDER BY id"),
	$search->safe_psql('postgres', "SELECT id, score FROM walrank_out.score_item WHERE ranking = 'ageless' ORDER BY id"),
	'walrank.score() over the table equals the postgres sink');
{
	my $at = $search->safe_psql('postgres', "SELECT string_agg(format('(%s,%L,%s)', id, evaluated_at, score), ',') FROM walrank_out.score_item WHERE ranking = 'ageless'");
	is($source->safe_psql('postgres', "SELECT count(*) FROM (VALUES $at) v(id, at, score) JOIN item i USING (id) WHERE walrank.score('ageless', i, v.at::timestamptz) IS DISTINCT FROM v.score"), 0,
		'at = evaluated_at: equal for every item');
}

# rankings with age: every live score line against score(ranking, image at that line, at)
my (@checks, %image);
for my $line ($d->lines)
{
	my $l = decode_json($line);
	next unless $l->{kind} eq 'score' && $l->{ranking} eq 'aging' && $l->{xid};
	push @checks, "($l->{xid},$l->{key}{id},'$l->{at}'," . ($line =~ /"score":([^,}]+)/)[0] . ')';
}
cmp_ok(scalar(@checks), '>', 100, 'there are live score lines with age');
is($source->safe_psql('postgres', 'SELECT count(*) FROM (VALUES ' . join(',', @checks) . ") v(xid, id, at, score) JOIN image m ON m.txid = v.xid AND (m.item).id = v.id WHERE walrank.score('aging', m.item, v.at::timestamptz) IS DISTINCT FROM v.score::float8"), 0,
	'rankings with age: every score line equals score(ranking, image at that line, at)');
is($source->safe_psql('postgres', 'SELECT count(*) FROM (VALUES ' . join(',', @checks) . ") v(xid, id, at, score) JOIN image m ON m.txid = v.xid AND (m.item).id = v.id"), scalar(@checks), 'each of them found its image');

# the file written again from a saved LSN is the same file
is($d->stop, 0, 'stopped');
my $whole = slurp($d->{ndjson});
my @live = grep { decode_json($_)->{xid} } split /\n/, $whole;
my $lsn = decode_json($live[ @live / 2 ])->{lsn};
run_ok('walrank replay', Walrank::Daemon::bin('walrank'), '--config', $d->{conf}, 'replay', '--sink', 'file', '--from', $lsn);
cmp_ok(-s $d->{ndjson}, '<', length $whole, 'replay cut the file');
$d->start;
$d->ready;
$d->catch_up;
my $again = slurp($d->{ndjson});
is(substr($again, 0, length $whole) eq $whole, 1, 'replay from a saved LSN gives a byte-identical file');

# another time zone and locale: the same lines
$d->stop;
run_ok('walrank replay from the beginning', Walrank::Daemon::bin('walrank'), '--config', $d->{conf}, 'replay', '--sink', 'file', '--from', '1');
$whole = $again;
$d->{env} = { TZ => 'Pacific/Auckland', LC_ALL => 'C' };
$d->start;
$d->ready;
$d->catch_up;
is(substr(slurp($d->{ndjson}), 0, length $whole) eq $whole, 1, 'under another time zone too');
$d->stop;
done_testing();
