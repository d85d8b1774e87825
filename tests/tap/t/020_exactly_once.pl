# Nothing lost, nothing doubled, nothing reordered: the daemon is killed again and again and the server stopped
# immediately, while writers commit, under REPLICA IDENTITY DEFAULT and FULL, with maps that are TOASTed; while rules are
# edited, and people intervene by key, by condition, and for a moment.
#
# The oracles share no code with walrank: SQL computes the expected scores, a trigger of the test's own watches the
# postgres sink, and a Perl replay of the file sink's lines must end in the source's tables.  Only where two interventions
# meet on an item walrank.standing() has to say what comes of them; where none or one is, it has to agree with the oracle.
use strict;
use warnings;
use Walrank;
use JSON::XS;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $full = $ENV{WALRANK_TIER} ne 'check';
my $kills = $full ? 120 : 20;
my $stops = $full ? 15 : 4;
my $seed = $ENV{WALRANK_SEED} // time ^ $$;
srand $seed;
note "seed $seed (WALRANK_SEED)";

my $source = source('source', conf => "wal_sender_timeout = 10s\n");
my $search = source('search');

$source->safe_psql('postgres', q{
	CREATE SEQUENCE tx;
	CREATE TABLE ledger (n bigint PRIMARY KEY, what text);
	CREATE TABLE item_default (id bigint PRIMARY KEY, price int NOT NULL, status text NOT NULL, att jsonb);
	CREATE TABLE item_full (LIKE item_default INCLUDING ALL);
	ALTER TABLE item_full REPLICA IDENTITY FULL;
	CREATE FUNCTION noise() RETURNS text LANGUAGE sql VOLATILE AS
		$$ SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 80) $$;
	CREATE FUNCTION map(views int) RETURNS jsonb LANGUAGE sql VOLATILE AS
		$$ SELECT jsonb_build_object('views', jsonb_build_array(views, '2026-01-01T00:00:00.000000Z'), 'noise', jsonb_build_array(noise(), '2026-01-01T00:00:00.000000Z'), 'note', 1) $$;
	ALTER TABLE item_default ALTER att SET STORAGE EXTERNAL;
	ALTER TABLE item_full ALTER att SET STORAGE EXTERNAL;
	INSERT INTO item_default SELECT i, i, 'on_sale', map(i) FROM generate_series(1, 200) i;
	INSERT INTO item_full SELECT * FROM item_default;
});

# commits of the store are frequent, so that kills meet them as well
my $d = daemon_new($source, postgres => $search, conf => "[store]\ncommit_time = 150ms\n");
$d->init;
$source->safe_psql('postgres', q{
	SELECT walrank.watch('ledger');
	SELECT walrank.watch('item_default', 'att');
	SELECT walrank.watch('item_full', 'att');
	INSERT INTO walrank.ranking (name, relation, definition)
		SELECT 'r_' || t, 'public.item_' || t, E'where status = ''on_sale''\nterm p weight 1 price\nterm v weight 0.001 views missing 0\nround 0.001'
		FROM unnest(ARRAY['default', 'full']) t;
});
$d->create;
poll('score tables', sub {
	$search->safe_psql('postgres', "SELECT count(*) FROM pg_class WHERE relname IN ('score_item_default', 'score_item_full')") == 2
});
$search->safe_psql('postgres', q{
	CREATE TABLE history (n bigserial, tab text, id bigint, ranking text, seq bigint);
	CREATE FUNCTION witness() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN INSERT INTO public.history (tab, id, ranking, seq) VALUES (TG_TABLE_NAME, NEW.id, NEW.ranking, NEW.seq); RETURN NULL; END $$;
	CREATE TRIGGER witness AFTER INSERT OR UPDATE ON walrank_out.score_item_default FOR EACH ROW EXECUTE FUNCTION witness();
	CREATE TRIGGER witness AFTER INSERT OR UPDATE ON walrank_out.score_item_full FOR EACH ROW EXECUTE FUNCTION witness();
});

# ---- four writers ---------------------------------------------------------------------------------
# Every transaction leaves one row in the ledger; it then does a few of: price only (the map stays TOASTed and untouched),
# map, status, delete, insert, key change, a no-op, a rolled back savepoint.
my $script = "$d->{dir}/writer.sql";
spew($script, join "\n", map {
	my $t = $_;
	(   "\\set a random(1, 300)", "\\set b random(1, 300)", "\\set c random(1000, 1300)", "\\set v random(1, 100000)", "\\set p random(1, 10000)", "\\set what random(1, 12)", "\\set steer random(1, 600)", "\\set w random(1, 5)",
		'BEGIN;',
		"INSERT INTO ledger VALUES (nextval('tx'), '$t');",
		"\\if :steer < 7", "INSERT INTO walrank.intervention (relation, ranking, key, action, factor, addend, reason) VALUES ('public.item_$t', 'r_$t', to_jsonb(:a), 'boost', 1 + :w, :w, 'more');",
		"\\elif :steer < 10", "INSERT INTO walrank.intervention (relation, key, action, tier, reason) VALUES ('public.item_$t', to_jsonb(:a), 'tier', :w - 2, 'up or down');",
		"\\elif :steer < 13", "INSERT INTO walrank.intervention (relation, ranking, key, action, position, reason) VALUES ('public.item_$t', 'r_$t', to_jsonb(:a), 'pin', :w, 'here');",
		"\\elif :steer < 16", "INSERT INTO walrank.intervention (relation, key, action, reason) VALUES ('public.item_$t', jsonb_build_object('id', :a), 'block', 'away');",
		"\\elif :steer < 17", "INSERT INTO walrank.intervention (relation, condition, action, valid_until, reason) VALUES ('public.item_$t', 'price % 10 = ' || :w, 'block', now() + :w * interval '300 ms', 'the odd ones');",
		"\\elif :steer < 24", "INSERT INTO walrank.intervention (relation, key, action, factor, valid_from, valid_until, reason) VALUES ('public.item_$t', to_jsonb(:b), 'boost', 5, now() + :w * interval '200 ms', now() + :w * interval '500 ms', 'soon and for a moment');",
		"\\elif :steer < 30", "DELETE FROM walrank.intervention WHERE id = (SELECT id FROM walrank.intervention WHERE relation = 'public.item_$t' ORDER BY random() LIMIT 1);",
		"\\elif :steer < 34", "UPDATE walrank.intervention SET valid_until = now() + interval '400 ms' WHERE id = (SELECT id FROM walrank.intervention WHERE relation = 'public.item_$t' AND action <> 'block' AND coalesce(valid_until, 'infinity') > now() + interval '1 s' AND valid_from < now() ORDER BY random() LIMIT 1);",
		"\\elif :steer < 37", "UPDATE walrank.ranking SET definition = regexp_replace(definition, 'weight [0-9]+ price', 'weight ' || :w || ' price') WHERE name = 'r_$t';",
		"\\endif",
		"\\if :what < 5", "UPDATE item_$t SET price = :p WHERE id = :a;", "UPDATE item_$t SET price = :v WHERE id = :b;",
		"\\elif :what < 7", "UPDATE item_$t SET att = jsonb_set(att, '{views}', jsonb_build_array(:v, '2026-02-01T00:00:00.000000Z')) WHERE id = :a;",
		"\\elif :what < 8", "UPDATE item_$t SET status = CASE status WHEN 'on_sale' THEN 'sold' ELSE 'on_sale' END WHERE id = :a;",
		"\\elif :what < 9", "DELETE FROM item_$t WHERE id = :a;", "INSERT INTO item_$t VALUES (:a, :p, 'on_sale', map(:v));", "DELETE FROM item_$t WHERE id = :b;",
		"\\elif :what < 10", "INSERT INTO item_$t VALUES (:b, :p, 'on_sale', map(:v)) ON CONFLICT (id) DO UPDATE SET price = :p;",
		"\\elif :what < 11", "UPDATE item_$t SET id = :c WHERE id = :a AND NOT EXISTS (SELECT FROM item_$t WHERE id = :c);",
		"\\elif :what < 12", "UPDATE item_$t SET price = price WHERE id = :a;", "SAVEPOINT s;", "UPDATE item_$t SET price = -1 WHERE id = :b;", 'ROLLBACK TO s;', "UPDATE item_$t SET att = att - 'note' WHERE id = :b;",
		"\\else", "UPDATE item_$t SET att = NULL, price = :p WHERE id = :a;", "UPDATE item_$t SET att = map(:v) WHERE id = :a;",
		"\\endif",
		'COMMIT;')
} qw(default full));

my $stop = "$d->{dir}/stop";
my $writer = fork() // die "fork: $!";
if ($writer == 0)
{
	open STDOUT, '>', '/dev/null';
	open STDERR, '>', '/dev/null';
	my $end = time + ($full ? 900 : 240);
	while (!-e $stop && time < $end && getppid != 1)
	{
		system('pgbench', '-n', '-c', 4, '-j', 2, '-T', 2, '-R', 120, '-h', $source->host, '-p', $source->port, '-f', $script, 'postgres');
		sleep 0.05;
	}
	require POSIX;
	POSIX::_exit(0);
}

END { if ($writer) { local $?; kill 'TERM', $writer } }

# ---- kills ------------------------------------------------------------------------------------------
my %stop_at = map { int($kills * ($_ + 0.5) / $stops) => 1 } 0 .. $stops - 1;
my ($prefix_checks, $prefix_bad) = (0, 0);
for my $n (0 .. $kills - 1)
{
	sleep 0.1 + rand 0.9;
	$d->kill9;
	my %feed = map { $_ => slurp($_) } glob "$d->{state}/feed/*.seg";
	if ($stop_at{$n})
	{
		$source->stop('immediate');
		$source->start;
	}
	$d->start;

	# what had been derived before the kill must be derived again, byte for byte
	if ($n % 10 == 9)
	{
		$d->ready;
		$d->catch_up;
		for my $file (keys %feed)
		{
			my $now = slurp($file) // '';
			$prefix_checks++;
			my $whole = substr($feed{$file}, 0, length $now);
			$prefix_bad++ if $whole ne substr($now, 0, length $whole) || length($now) < length($feed{$file}) - 65536;
		}
	}
}
spew($stop, '');
waitpid $writer, 0;
$d->ready;
$d->catch_up;
cmp_ok($prefix_checks, '>', 0, 'feed segments were compared');
is($prefix_bad, 0, 'the feed derived again after a kill is byte-identical');

# what has a bound passes it, and what that and the last edits of rules have begun comes to its end
my $end = $source->safe_psql('postgres', q{SELECT coalesce(max(extract(epoch FROM greatest(valid_from, valid_until) - now())), 0) FROM walrank.intervention WHERE coalesce(valid_until, 'infinity') < 'infinity'});
sleep $end + 0.2 if $end > 0;
$d->catch_up;
poll('rescoring and timers to be done', sub {
	my $s = $d->status or return 0;
	return !$s->{scorer}{rescoring_job} && $s->{scorer}{seq} == $s->{journal}{appended_seq} && !grep { $_->{seq} < $s->{scorer}{seq} } @{ $s->{sinks} };
});

# ---- the postgres sink against SQL ---------------------------------------------------------------------
my $transactions = $source->safe_psql('postgres', 'SELECT count(*) FROM ledger');
cmp_ok($transactions, '>', 500, "the writers committed ($transactions transactions)");
my $edits = $source->safe_psql('postgres', 'SELECT sum(version - 1) FROM walrank.ranking');
my %ops = map { split /\|/ } split /\n/, $source->safe_psql('postgres', 'SELECT lower(op), count(*) FROM walrank.intervention_log GROUP BY 1');
cmp_ok($edits, '>', 0, "rules were edited ($edits times)");
cmp_ok($ops{$_} // 0, '>', 0, "interventions: $_ (" . ($ops{$_} // 0) . ')') for qw(insert update delete);

# The oracle, in SQL of its own: what no intervention or one is about.  "several": their precedence is not for it to say, nor
# which of the pins that want a place gives way.
my $oracle = q{
	SELECT i.id, n.several OR n.action = 'pin' AND (SELECT count(*) FROM walrank.intervention p WHERE p.relation = 'public.item_T' AND p.action = 'pin' AND p."position" <= n."position") > 1 AS several, n.action IS DISTINCT FROM 'block' AND i.status = 'on_sale' AS shown,
		CASE WHEN n.action = 'boost' THEN round(s.score * coalesce(n.factor, 1)::numeric + coalesce(n.addend, 0)::numeric, 3) ELSE s.score END::float8 AS score,
		CASE WHEN n.action = 'tier' THEN n.tier ELSE 0 END AS tier, CASE WHEN n.action = 'pin' THEN n.position END AS pin
	FROM item_T i
		CROSS JOIN (SELECT substring(definition FROM 'weight ([0-9]+) price')::int AS w FROM walrank.ranking WHERE name = 'r_T') r
		CROSS JOIN LATERAL (SELECT round(r.w * i.price + 0.001 * coalesce((i.att -> 'views' ->> 0)::numeric, 0), 3) AS score) s
		CROSS JOIN LATERAL (SELECT count(*) > 1 AS several, min(v.action) AS action, min(v.factor) AS factor, min(v.addend) AS addend, min(v.tier) AS tier, min(v."position") AS "position"
			FROM walrank.intervention v WHERE v.relation = 'public.item_T' AND coalesce(v.key ->> 'id', v.key #>> '{}') = i.id::text
				AND v.valid_from <= now() AND coalesce(v.valid_until, 'infinity') > now()) n};
for my $t (qw(default full))
{
	(my $known = $oracle) =~ s/_T/_$t/g;
	my $standing = $source->safe_psql('postgres', "SELECT i.id, s.score, s.tier, s.pin FROM item_$t i, LATERAL walrank.standing('r_$t', i) s WHERE s.shown ORDER BY 1");
	my $told = $source->safe_psql('postgres', "SELECT string_agg(id::text, ', '), count(*) FILTER (WHERE several) FROM ($known) o WHERE several");
	my ($several) = split /\|/, $told;
	my $but = $several ? "AND id NOT IN ($several)" : '';
	my $expected = $source->safe_psql('postgres', "SELECT id, score, tier, pin FROM ($known) o WHERE shown $but ORDER BY 1");
	my $got = $search->safe_psql('postgres', "SELECT id, score, tier, pin FROM walrank_out.score_item_$t WHERE ranking = 'r_$t' ORDER BY 1");
	is($got, $standing, "postgres sink, $t: every place is where SQL puts the row");
	is($search->safe_psql('postgres', "SELECT id, score, tier, pin FROM walrank_out.score_item_$t WHERE ranking = 'r_$t' $but ORDER BY 1"), $expected, "postgres sink, $t: the oracle agrees");
	is($search->safe_psql('postgres', "SELECT count(*) FROM walrank_out.score_item_$t WHERE ranking <> 'r_$t'"), 0, "postgres sink, $t: nothing else");
}
is($search->safe_psql('postgres', 'SELECT count(*) FROM (SELECT seq, lag(seq) OVER (PARTITION BY tab, id, ranking ORDER BY n) AS before FROM history) h WHERE seq <= before'),
	0, 'postgres sink: seq strictly rises per key and ranking (doubled = reordered = 0)');
cmp_ok($search->safe_psql('postgres', 'SELECT count(*) FROM history'), '>', 1000, 'the witness saw the writes');

# ---- the file sink replayed -------------------------------------------------------------------------------
my (%item, %score, %ledger);
my ($last, $disorder, $changed_bad, $changed_null, $lines, $bad_update) = ('', 0, 0, 0, 0, 0);
my $json = JSON::XS->new->canonical->allow_nonref;
for my $line ($d->lines)
{
	my $l = $json->decode($line);
	my $pos = sprintf '%020d.%010d.%010d', split /\./, $l->{pos};
	$disorder++ if $pos le $last;
	$last = $pos;
	$lines++;
	my $rel = $l->{relation};
	my $key = $l->{key} && $json->encode($l->{key});
	if ($l->{kind} eq 'change')
	{
		if ($rel eq 'public.ledger')
		{
			$ledger{ $l->{key}{n} }++;
			next;
		}
		if ($l->{op} eq 'delete')
		{
			$bad_update++ unless delete $item{$rel}{$key};
			next;
		}
		my %new = (%{ $l->{attributes} }, map { ("time $_" => $l->{times}{$_}) } keys %{ $l->{times} // {} });
		my $old = $item{$rel}{$key};
		if ($l->{op} eq 'update' && !defined $l->{changed}) { $changed_null++ }
		elsif ($l->{op} eq 'update' && $old)
		{
			my %expect;
			for my $a (keys %new)
			{
				my $name = $a =~ /^time (.*)/ ? $1 : $a;
				$expect{$name} = 1 if !exists $old->{$a} || $json->encode([ $old->{$a} ]) ne $json->encode([ $new{$a} ]);
			}
			my $want = join ',', sort keys %expect;
			my $have = join ',', sort @{ $l->{changed} };
			if ($want ne $have && !$changed_bad++) { diag "changed is [$have], should be [$want]: " . substr($line, 0, 300) }
			my $gone = join ',', sort grep { !exists $new{$_} && !/^time / } keys %$old;
			my $removed = join ',', sort @{ $l->{removed} // [] };
			if ($gone ne $removed && !$changed_bad++) { diag "removed is [$removed], should be [$gone]: " . substr($line, 0, 300) }
		}
		$item{$rel}{$key} = \%new;
	}
	elsif ($l->{kind} eq 'score') { $score{ $l->{ranking} }{$key} = "$l->{score} $l->{tier} " . ($l->{pin} // '-') }
	elsif ($l->{kind} eq 'remove') { defined $key ? delete $score{ $l->{ranking} }{$key} : delete $score{ $l->{ranking} } }
}
is($disorder, 0, "file sink: positions strictly rise over $lines lines (doubled = reordered = 0)");
is($changed_bad, 0, 'file sink: changed and removed are right');
is($changed_null, 0, 'file sink: changed is known for every update');
is($bad_update, 0, 'file sink: every deleted item had been there');
is(scalar(grep { $_ != 1 } values %ledger), 0, 'file sink: no transaction twice');
is(join(',', sort { $a <=> $b } keys %ledger), $source->safe_psql('postgres', "SELECT string_agg(n::text, ',' ORDER BY n) FROM ledger"), 'file sink: no transaction lost');
for my $t (qw(default full))
{
	my (%table, %expected);
	for my $row (split /\n/, $source->safe_psql('postgres', "SELECT jsonb_build_object('id', id)::text || E'\\t' || to_jsonb(i)::text || E'\\t' || s.shown::int || E'\\t' || concat_ws(' ', s.score, s.tier, coalesce(s.pin::text, '-')) FROM item_$t i, LATERAL walrank.standing('r_$t', i) s"))
	{
		my ($key, $image, $in, $score) = split /\t/, $row;
		my $r = $json->decode($image);
		my $att = delete $r->{att};
		delete $r->{id};
		my %flat = %$r;
		if ($att) { for my $k (keys %$att) { if (ref $att->{$k} eq 'ARRAY') { $flat{$k} = $att->{$k}[0]; $flat{"time $k"} = $att->{$k}[1] } else { $flat{$k} = $att->{$k} } } }
		else { $flat{att} = undef }
		my $k = $json->encode($json->decode($key));
		$table{$k} = $json->encode(\%flat);
		$expected{$k} = $score if $in;
	}
	my %have = map { $_ => $json->encode($item{"public.item_$t"}{$_}) } keys %{ $item{"public.item_$t"} };
	is(scalar(grep { ($have{$_} // '') ne $table{$_} } keys %table), 0, "file sink, $t: every row is there as it stands in the table");
	is(scalar(grep { !exists $table{$_} } keys %have), 0, "file sink, $t: no other row");
	my $s = $score{"r_$t"} // {};
	is(scalar(grep { !exists $s->{$_} || $s->{$_} ne $expected{$_} } keys %expected), 0, "file sink, $t: places equal SQL");
	is(scalar(grep { !exists $expected{$_} } keys %$s), 0, "file sink, $t: no other score");
}

is($d->stop, 0, 'TERM: the daemon drains and ends with 0');
done_testing();
