# The daemon and SQL agree on where items stand: random interventions, changes of items and of a ranking, kills; the score
# table is held against walrank.standing() row by row. And the search that walrank.search_function() makes reads that table.
use strict;
use warnings;
use Walrank;
use PostgreSQL::Test::Utils;
use Test::More;

my $rounds = ($ENV{WALRANK_TIER} // 'check') eq 'check' ? 6 : 40;
my $source = source('source');
my $seed = $ENV{SEED} // 20261201;
srand $seed;
note "SEED=$seed";

sub sql { return $source->safe_psql('postgres', $_[0]) }

sql(q{
	CREATE TABLE item (id bigint, shop text, att jsonb, title text, PRIMARY KEY (shop, id));
	INSERT INTO item SELECT i, 's' || i % 3, jsonb_build_object('views', jsonb_build_array(i * 7 % 50, '2026-01-01'), 'brand', jsonb_build_array('b' || i % 5, '2026-01-01')), CASE i % 2 WHEN 0 THEN 'red shoe' ELSE 'blue shoe' END
		FROM generate_series(1, 60) i;
});
my $d = daemon_new($source, postgres => $source);
$d->init;
sql(q{
	SELECT walrank.watch('item', 'att');
	INSERT INTO walrank.ranking (name, relation, definition) VALUES
		('home', 'public.item', E'where views > 8\nterm t weight 0.5 views\nterm u sqrt(views)\nround 0.001'),
		('all', 'public.item', E'term t log1p(views) missing 0\nround 0.01');
});

my @brands = map { "b$_" } 0 .. 5;
sub pick { return $_[ int rand @_ ] }

sub random_key { my $i = 1 + int rand 66; return sprintf '{"shop": "s%d", "id": %d}', $i % 3, $i }

sub random_condition
{
	return pick('views > ' . int(rand 50), sprintf("brand = '%s'", pick(@brands)), sprintf("views < %d and brand in ('%s', '%s')", int(rand 40), pick(@brands), pick(@brands)), "title = 'red shoe'", 'not exists(brand)');
}

# One row: (columns, values) of an action.
my @actions = (
	sub { ('action, position', "'pin', " . (1 + int rand 12)) },
	sub { ('action, tier', "'tier', " . (int(rand 9) - 4)) },
	sub { ('action', "'top'") },
	sub { ('action', "'bottom'") },
	sub { ('action, factor, addend', "'boost', " . pick(1.5, 2, 0.7, 'NULL') . ', ' . pick(0.25, -3, 10)) },
	sub { ('action, factor', "'bury', " . pick(0.5, 0.1)) },
	sub { ('action', "'bury'") },
	sub { ('action', "'block'") },
	sub { ('action', "'allow'") },
	sub { ('action, score', "'freeze', " . pick(1, -5, 100.1239)) },
);

sub random_intervention
{
	my $which = int rand @actions;
	my ($columns, $values) = $actions[$which]->();
	my $whom = $which == 0 || rand() < 0.7 ? "'" . random_key() . "', NULL" : 'NULL, $c$' . random_condition() . '$c$';
	my $times = pick(("now(), NULL") x 4, "now() - interval '1 hour', now() - interval '1 min'", "now() + interval '1 hour', NULL", "now(), now() + interval '300 ms'", "now() + interval '300 ms', NULL");
	my $ranking = pick('NULL', "'home'", "'all'");
	return "INSERT INTO walrank.intervention (relation, ranking, key, condition, $columns, valid_from, valid_until, priority, reason) VALUES ('public.item', $ranking, $whom, $values, $times, " . (int(rand 5) - 2) . ", 'random');";
}

sub random_change
{
	my $i = 1 + int rand 66;
	my $shop = 's' . $i % 3;
	my $att = sprintf q{jsonb_build_object('views', jsonb_build_array(%d, '2026-01-02'), 'brand', jsonb_build_array('%s', '2026-01-02'))}, int(rand 50), pick(@brands);
	return pick(
		"UPDATE item SET att = $att WHERE shop = '$shop' AND id = $i;",
		"UPDATE item SET title = 'red shoe', att = att - 'brand' WHERE shop = '$shop' AND id = $i;",
		"INSERT INTO item VALUES ($i, '$shop', $att, 'blue shoe') ON CONFLICT (shop, id) DO UPDATE SET att = excluded.att;",
		"DELETE FROM item WHERE shop = '$shop' AND id = $i;",
		"UPDATE item SET id = id + 3 WHERE shop = '$shop' AND id = $i AND NOT EXISTS (SELECT FROM item o WHERE o.shop = '$shop' AND o.id = $i + 3);");
}

# What differs, as lines; standing() knows nothing of the daemon but the tables.
my $differences = q{
	SELECT coalesce(w.shop, h.shop) || ' ' || coalesce(w.id, h.id) || ' in ' || coalesce(w.ranking, h.ranking) || ': SQL ' || coalesce(concat_ws('/', w.score, w.tier, coalesce(w.pin::text, '-')), 'none')
		|| ', daemon ' || coalesce(concat_ws('/', h.score, h.tier, coalesce(h.pin::text, '-')), 'none')
	FROM (SELECT i.shop, i.id, r.name AS ranking, s.score, s.tier, s.pin FROM item i, walrank.ranking r, LATERAL walrank.standing(r.name, i, clock_timestamp()) s WHERE r.enabled AND s.shown) w
	FULL JOIN walrank_out.score_item h ON h.shop = w.shop AND h.id = w.id AND h.ranking = w.ranking
	WHERE w.shop IS NULL OR h.shop IS NULL OR h.blocked OR w.score <> h.score OR w.tier <> h.tier OR w.pin IS DISTINCT FROM h.pin ORDER BY 1};

sub agrees
{
	my ($name) = @_;
	my $said = 'not asked';
	$d->catch_up;
	my $ok = eval { poll($name, sub { $said = sql($differences); $said eq '' }, 60) };
	ok($ok, $name) or diag($said);
	return;
}

sql(join '', map { random_intervention() } 1 .. 10); # there before the daemon is
$d->create;
agrees('what was there before the daemon');
cmp_ok(sql('SELECT count(*) FROM walrank_out.score_item'), '>', 30, 'there are scores');
for my $round (1 .. $rounds)
{
	for (1 .. 4)
	{
		sql('BEGIN;' . join('', map { rand() < 0.4 ? random_intervention() : random_change() } 1 .. 8) . 'COMMIT');
		sql('UPDATE walrank.intervention SET valid_until = clock_timestamp() WHERE valid_from < now() AND coalesce(valid_until > now(), true) AND id % 7 = ' . int rand 7) if rand() < 0.5;
		sql('DELETE FROM walrank.intervention WHERE id % 11 = ' . int rand 11) if rand() < 0.3;
	}
	$d->kill9, $d->start if $round % 3 == 2;
	sql(sprintf q{UPDATE walrank.ranking SET definition = E'where views > %d\nterm t weight %d views\nround 0.001' WHERE name = 'home'}, rand 20, 1 + rand 3) if $round % 3 == 0;
	agrees("round $round");
}
cmp_ok(sql('SELECT count(DISTINCT action) FROM walrank.intervention_log, LATERAL (SELECT after ->> \'action\' AS action) a'), '==', 9, 'all actions were among them');
sql(q{DELETE FROM walrank.intervention WHERE action IN ('block', 'freeze');
	INSERT INTO walrank.intervention (relation, key, action, position, tier, priority, reason) SELECT 'public.item', jsonb_build_object('shop', shop, 'id', id), CASE WHEN n < 4 THEN 'pin' ELSE 'tier' END, CASE WHEN n < 4 THEN 2 END, CASE WHEN n >= 4 THEN 7 END, 100, 'at last'
	FROM (SELECT *, row_number() OVER () AS n FROM (SELECT shop, id FROM item i, LATERAL walrank.standing('home', i) s WHERE s.shown LIMIT 6) i) i});
agrees('pins and tiers at last');
ok(sql('SELECT count(*) FROM walrank_out.score_item WHERE pin IS NOT NULL') > 0 && sql('SELECT count(*) FROM walrank_out.score_item WHERE tier <> 0') > 0, 'pins and tiers are in the table');

# ---- the search over that table --------------------------------------------------------------------------
sql($_) for split /\x01/, sql(q{SELECT string_agg(s, E'\x01') FROM walrank.search_function('home', 'item', 'to_tsvector(''simple'', title)') s});
is(sql(q{SELECT string_agg((item).shop || (item).id, ' ' ORDER BY "position") FROM search_home('red', 1000) WHERE pin IS NULL}),
	sql(q{SELECT string_agg(shop || id, ' ' ORDER BY tier DESC, score DESC, id, shop) FROM item JOIN walrank_out.score_item USING (shop, id) WHERE ranking = 'home' AND pin IS NULL AND title LIKE '%red%'}), 'the search finds what matches, in order');
is(sql(q{SELECT count(*) FROM search_home('red', 1000) s WHERE pin <> "position" AND "position" <= (SELECT count(*) FROM search_home('red', 1000) WHERE pin IS NULL)}), 0, 'and pins in their places');
is(sql(q{SELECT count(*) FROM search_home('red', 1000)}), sql(q{SELECT count(*) FROM item i, LATERAL walrank.standing('home', i) s WHERE s.shown AND title LIKE '%red%'}), 'all of it');

is($d->stop, 0, 'the daemon stops');
$source->stop;
done_testing();
