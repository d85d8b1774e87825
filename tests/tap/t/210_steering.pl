# walrank boost, bury, pin .. end: a row each, what it moves, what is refused; with --dry-run nothing stays.
use strict;
use warnings;
use Walrank;
use IPC::Run;
use JSON::XS;
use PostgreSQL::Test::Utils;
use Test::More;

my $tool = Walrank::Daemon::bin('walrank');
my $source = source('source');
my @db = ('-h', $source->host, '-p', $source->port, '-d', 'postgres');

sub tool
{
	my ($out, $err) = ('', '');
	IPC::Run::run([ $tool, @_ ], '<', \'', '>', \$out, '2>', \$err, IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	return ($? >> 8, $out, $err);
}

sub says
{
	my ($name, $code, $re, @args) = @_;
	my ($rc, $out, $err) = tool(@db, @args);
	ok($rc == $code && "$out$err" =~ $re, $name) or diag("exit code $rc, wanted $code, $re\n$out$err");
	return $out;
}

sub sql { return $source->safe_psql('postgres', $_[0]) }

sub count { return sql('SELECT count(*) FROM walrank.intervention') }

sql(q{
	CREATE EXTENSION walrank;
	SELECT walrank.setup();
	CREATE SCHEMA "Shop";
	CREATE TABLE item (id bigint PRIMARY KEY, views int);
	CREATE TABLE "Shop"."Offer" (shop text, nr int, price numeric, PRIMARY KEY (shop, nr));
	CREATE TABLE "Shop".item (id text PRIMARY KEY);
	INSERT INTO item SELECT i, i * 10 FROM generate_series(1, 20) i;
	INSERT INTO "Shop"."Offer" VALUES ('a', 1, 5), ('b', 1, 7);
	SELECT walrank.watch('item'), walrank.watch('"Shop"."Offer"');
	INSERT INTO walrank.ranking (name, relation, definition) VALUES ('home', 'public.item', E'where views > 10\nterm t views'),
		('double', 'public.item', 'term t views * 2'), ('offers', '"Shop"."Offer"', 'term t price');
});

# ---- one of each ----------------------------------------------------------------------------------------
says('a boost says what it moves', 0, qr/^intervention 1: boost public\.item 5 in ranking home, from \S+ \S+\n  home: score 50 -> score 76\n$/,
	qw(boost item 5 --ranking home --factor 1.5 --add 1), '--reason', 'spring sale');
says('in every ranking', 0, qr/in every ranking.*  home: score 76 -> tier -1, score 76\n  double: score 100 -> tier -1, score 100\n$/s, qw(bury item 5 --reason r));
says('bury by factor', 0, qr/home: .*score 60 -> score 15\n/, qw(bury public.item 6 --factor 0.25 --reason r));
says('bury to a tier', 0, qr/home: score 70 -> tier -9, score 70\n/, qw(bury item 7 --tier=-9 --reason r));
says('pin', 0, qr/home: score 80 -> position 2, score 80\n/, qw(pin item 8 --position 2 --reason r));
says('promote is pin; the place is taken', 0, qr/home: score 90 -> position 2, score 90\n/, qw(promote item 9 --position 2 --reason r));
is(sql(q{SELECT s.pin FROM item i, LATERAL walrank.standing('home', i) s WHERE id = 8}), 3, 'the earlier one goes to the next position');
says('tier', 0, qr/home: score 100 -> tier 3, score 100\n/, qw(tier item 10 --tier 3 --reason r));
says('top', 0, qr/home: score 110 -> tier 4095, score 110\n/, qw(top item 11 --reason r));
says('bottom', 0, qr/home: score 120 -> tier -4095, score 120\n/, qw(bottom item 12 --reason r));
says('block', 0, qr/home: score 130 -> blocked\n/, qw(block item 13 --reason r));
says('hide is block', 0, qr/: block .*home: score 140 -> blocked\n/s, qw(hide item 14 --reason r));
says('allow', 0, qr/home: not in the ranking -> score 10\n/, qw(allow item 1 --reason r));
says('freeze', 0, qr/home: score 150 -> score 2\.5\n/, qw(freeze item 15 --score 2.5 --reason r));
says('by condition', 0, qr/boost public\.item where views > 150 in ranking home, from .*\n  the condition holds for 5 items now\n$/, qw(boost item --ranking home --factor 2 --reason r --where), 'views > 150');
is(sql(q{SELECT string_agg(action, ' ' ORDER BY id) FROM walrank.intervention}), 'boost bury bury bury pin pin tier top bottom block block allow freeze boost', 'a row each');
is(sql(q{SELECT author || ' ' || reason || ' ' || ranking FROM walrank.intervention WHERE id = 1}), getpwuid($<) . ' spring sale home', 'the author is the user');

# ---- keys and tables -------------------------------------------------------------------------------------
says('a key of several columns', 0, qr/block "Shop"\."Offer" \{"nr": 1, "shop": "a"\}/, 'block', 'Offer', '{"shop": "a", "nr": 1}', qw(--reason r --dry-run));
says('a table by its whole name', 0, qr/would block "Shop"\."Offer"/, 'block', '"Shop"."Offer"', '{"shop": "b", "nr": 1}', qw(--reason r --dry-run));
says('an item that is not there', 0, qr/no item has that key now/, qw(block item 4711 --reason r --dry-run));
says('a word is a text', 2, qr/invalid input syntax for type bigint: "foo".*HINT:  The key is the value of column "id"/s, qw(block item foo --reason r));
says('a table nobody watches', 2, qr/no watched table is called "itm".*HINT:  Watched are: "Shop"\."Offer", public\.item\./s, qw(block itm 1 --reason r));
sql(q{SELECT walrank.watch('"Shop".item')});
says('two tables of that name', 2, qr/several watched tables are called "item".*HINT:  Name one with its schema: "Shop"\.item or public\.item/s, qw(block item 1 --reason r));
says('a key of words', 0, qr/would block "Shop"\.item "it's \\"new\\""/, 'block', '"Shop".item', q{it's "new"}, qw(--reason r --dry-run));
sql(q{SELECT walrank.unwatch('"Shop".item')});

# ---- what is refused, and leaves nothing ------------------------------------------------------------------
my $before = count();
says('no table', 2, qr/top needs a table/, qw(top --reason r));
says('no key', 2, qr/top needs the key of an item, or --where/, qw(top item --reason r));
says('key and condition', 2, qr/either a key or --where/, 'top', 'item', 1, '--where', 'views > 1', '--reason', 'r');
says('two keys', 2, qr/unexpected argument "2"; a key of several columns is one JSON object/, qw(top item 1 2 --reason r));
says('no reason', 2, qr/top needs --reason/, qw(top item 1));
says('a blank reason', 2, qr/the reason is blank.*HINT/s, 'top', 'item', 1, '--reason', ' ');
says('an option of another action', 2, qr/unknown option "--factor"/, qw(top item 1 --factor 2 --reason r));
says('no value', 2, qr/action boost lacks a value.*HINT:  A boost has a factor, an addend, or both/s, qw(boost item 1 --reason r));
says('a value out of range', 2, qr/position 0 is outside the range.*HINT:  A position is from 1 to 10000/s, qw(pin item 1 --position 0 --reason r));
says('no number', 2, qr/invalid input syntax for type double precision: "much"/, qw(boost item 1 --factor much --reason r));
says('a condition with a mistake', 2, qr/line 1, column 9: .*/, qw(block item --reason r --where), 'views > > 1');
says('no ranking', 2, qr/has no ranking "hme".*HINT/s, qw(block item 1 --ranking hme --reason r));
says('no time', 2, qr/invalid input syntax for type timestamp with time zone: "soon"/, qw(block item 1 --until soon --reason r));
says('an end before the beginning', 2, qr/valid_until is not later than valid_from/, qw(block item 1 --from 2030-01-01 --until 2029-01-01 --reason r));
is(count(), $before, 'nothing stayed of any of it');
says('server away', 4, qr/could not connect/, '-p', 1, qw(top item 1 --reason r));

# ---- dry run ------------------------------------------------------------------------------------------------
says('--dry-run says it', 0, qr/^would top public\.item 2 in every ranking, from [^\n]*\n  home: score 20 -> tier 4095, score 20\n  double: [^\n]*\n$/, qw(--dry-run top item 2 --reason r));
my $json = decode_json(says('--json', 0, qr/^\{.*\}\n$/, qw(--json --dry-run boost item 2 --add -7 --priority 3 --author me --reason), 'because "so"'));
is_deeply([ @$json{qw(id key action addend priority author reason relation ranking)} ], [ undef, 2, 'boost', -7, 3, 'me', 'because "so"', 'public.item', undef ], 'says all of it');
is($json->{moved}{home}{with}{score}, 13, 'and what it moves');
$json = decode_json(says('--json by condition', 0, qr/^\{.*\}\n$/, qw(--json --dry-run bottom item --reason r --where), 'views in (10, 20, 30)'));
is($json->{items}, 3, 'says for how many it holds');
is(count(), $before, '--dry-run leaves nothing');
is(sql(q{SELECT count(*) FROM walrank.intervention_log}), $before, 'in the log neither');

# ---- times -----------------------------------------------------------------------------------------------------
says('durations', 0, qr/from /, qw(top item 16 --from 2h --until 30min --reason r));
is(sql(q{SELECT valid_from - created_at, valid_until - valid_from FROM walrank.intervention WHERE key = '16'}), '02:00:00|00:30:00', 'from now, and from the beginning');
says('times are UTC', 0, qr/from 2030-06-01 12:00:00\+00 until 2030-06-01 14:00:00\+00\n/, 'top', 'item', 17, '--from', '2030-06-01 12:00', '--until', '2030-06-01 16:00+02', '--reason', 'r');

# ---- list, end ---------------------------------------------------------------------------------------------------
like(says('interventions', 0, qr/^STATE +ID +TABLE +RANKING +ITEMS +ACTION +FROM +UNTIL +PRIORITY +AUTHOR +REASON\n/, 'interventions'),
	qr/in force +1 +public\.item +home +5 +boost \*1\.5 \+1 +.* spring sale\n.*upcoming +\d+ +public\.item +\* +16 +top /s, 'in force, then upcoming');
says('end', 0, qr/^intervention 1 would be ended\n$/, qw(end 1 --reason over --dry-run));
says('end', 0, qr/^intervention 1 ended\n$/, qw(end 1 --reason over));
is(sql(q{SELECT s.score FROM item i, LATERAL walrank.standing('home', i) s WHERE id = 5}), 50, 'and it has');
says('once', 3, qr/^intervention 1 had ended at /, qw(end 1 --reason over));
says('in JSON', 3, qr/^\{"id":1,"done":"nothing"\}\n$/, qw(--json end 1 --reason over));
my $upcoming = sql(q{SELECT id FROM walrank.intervention WHERE key = '16'});
says('one that has not begun goes', 0, qr/^intervention $upcoming removed: it has not begun\n$/, 'end', $upcoming, '--reason', 'mistake');
is(sql(qq{SELECT string_agg(op || ' ' || coalesce(after ->> 'reason', '-'), ', ' ORDER BY id) FROM walrank.intervention_log WHERE intervention = $upcoming}), 'insert r, update mistake, delete -', 'the log has it, with the reason');
says('one that is not there', 2, qr/there is no intervention 4711.*HINT/s, qw(end 4711 --reason r));
says('no number', 2, qr/end needs the number of one intervention/, qw(end one --reason r));
says('no reason', 2, qr/end needs --reason/, qw(end 2));
unlike(says('what ended is not listed', 0, qr/STATE/, 'interventions'), qr/spring sale|\bover\b/, 'any more');
like(says('but with --all', 0, qr/STATE/, 'interventions', '--all'), qr/\nended +1 .* over\n/, 'it is');
my $list = decode_json(says('of a ranking, in JSON', 0, qr/^\{"interventions":\[/, qw(--json interventions --all --ranking double)))->{interventions};
is(scalar(grep { ($_->{ranking} // 'double') ne 'double' } @$list), 0, 'those alone that count in it');
cmp_ok(scalar(@$list), '>', 5, 'all of them');
is($list->[0]{state}, 'in force', 'with their state');
is_deeply(decode_json(says('of a table', 0, qr/^\{"interventions":\[\]\}/, qw(--json interventions --table Offer)))->{interventions}, [], 'none');

# ---- explain ------------------------------------------------------------------------------------------------------
says('explain', 0, qr/^public\.item 10 in ranking home \(version 1\) as of \S+: tier 3, score 100\n  holds +where views > 10  \[views = 100\]\n  1 \* 100 = 100 +term t views  \[views = 100\]\n.*  \(100 \+ 0\) \* 1 = 100, rounded 100\nintervention \d+, tier by key: tier 3  -- \S+: r\nSQL says so, of the row as it is now: walrankd is not asked without --config\n$/s, qw(explain item 10 --ranking home));
says('in all rankings of the table', 0, qr/^public\.item 10 in ranking double .*\npublic\.item 10 in ranking home /s, qw(explain public.item 10));
says('of a time', 0, qr/as of 2020-01-01T00:00:00\+00:00: tier 0, score 100\n(?!.*intervention).*that time is asked for\n/s, qw(explain item 10 --ranking home --at 2020-01-01));
says('an item outside', 0, qr/: not in the ranking\n.*the condition is false\n.*-- not computed\n.*outside/s, qw(explain item 1 --ranking home --at 2020-01-01));
says('one that is blocked', 0, qr/: blocked\n.*intervention \d+, block by key: blocked/s, qw(explain item 13 --ranking home));
says('one that is not there', 3, qr/: no item has that key\n/, qw(explain item 4711 --ranking home));
says('a key of several columns', 0, qr/^"Shop"\."Offer" \{"nr":1,"shop":"a"\} in ranking offers.*: tier 0, score 5\n/, 'explain', 'Offer', '{"shop": "a", "nr": 1}');
my $why = decode_json(says('in JSON', 0, qr/^\{.*\}\n\z/, qw(--json explain item 10)));
is_deeply([ $why->{source}, $why->{key}, map { $_->{ranking}, $_->{score} } @{ $why->{rankings} } ], [ 'sql', 10, 'double', 200, 'home', 100 ], 'a document for each');
says('no such ranking', 2, qr/public\.item has no ranking "hme".*HINT:  There is: double, home\./s, qw(explain item 1 --ranking hme));
says('no such table', 2, qr/no watched table is called "itm".*HINT/s, qw(explain itm 1));
says('no key', 2, qr/explain needs a table and the key of an item/, qw(explain item));

# ---- who may ------------------------------------------------------------------------------------------------------
sql(q{CREATE ROLE looker LOGIN; GRANT walrank_reader TO looker; CREATE ROLE steerer LOGIN; GRANT walrank_admin TO steerer});
says('a reader lists', 0, qr/STATE/, '-U', 'looker', 'interventions');
says('and does not intervene', 2, qr/permission denied for table intervention/, '-U', 'looker', qw(block item 1 --reason r));
says('an admin does, and does not need to see the item', 0, qr/^intervention \d+: block public\.item 20 in every ranking, from [^\n]*\n$/, '-U', 'steerer', qw(block item 20 --reason r));
is(sql(q{SELECT who || ' ' || op FROM walrank.intervention_log ORDER BY id DESC LIMIT 1}), 'steerer insert', 'the log names the role');

# ---- a dump keeps them ---------------------------------------------------------------------------------------------
my $dump = "$ENV{WORK}/steering.sql";
run_ok('pg_dump', 'pg_dump', @db, '-f', $dump);
run_ok('createdb', 'createdb', '-h', $source->host, '-p', $source->port, 'restored');
run_ok('psql', 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-h', $source->host, '-p', $source->port, '-d', 'restored', '-f', $dump);
my $kept = q{SELECT (SELECT md5(string_agg(i::text, ',' ORDER BY id)) FROM walrank.intervention i), (SELECT md5(string_agg(l::text, ',' ORDER BY id)) FROM walrank.intervention_log l)};
is($source->safe_psql('restored', $kept), sql($kept), 'rows and log are as they were, and restoring them is not in the log');
is($source->safe_psql('restored', q{INSERT INTO walrank.intervention (relation, key, action, reason) VALUES ('public.item', '3', 'top', 'r') RETURNING id > (SELECT max(id) FROM walrank.intervention)}), 't', 'numbers go on');
is($source->safe_psql('restored', q{SELECT s.tier FROM item i, LATERAL walrank.standing('home', i) s WHERE id = 10}), 3, 'and they are in force');

$source->stop;
done_testing();
