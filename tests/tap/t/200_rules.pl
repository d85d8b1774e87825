# Rankings as files: checked, applied and exported; tested offline; and what a new definition would change, held against SQL
# and against what a ranking of that definition emits.
use strict;
use warnings;
use Walrank;
use Digest::SHA qw(sha256_hex);
use IPC::Run;
use JSON::XS;
use PostgreSQL::Test::Utils;
use Test::More;

my $tool = Walrank::Daemon::bin('walrank');
my $source = source('source');
my @db = ('-h', $source->host, '-p', $source->port, '-d', 'postgres', '-U', scalar getpwuid $<);
my $d = daemon_new($source, conf => "[store]\ncommit_time = 50ms\nsnapshot_interval = 1h\n");
my @conf = ('--config', $d->{conf});
my $dir = PostgreSQL::Test::Utils::tempdir('rules');
$SIG{__DIE__} = sub { diag(@_) unless $^S };

# (exit code, standard output, standard error)
sub tool
{
	my ($out, $err) = ('', '');
	IPC::Run::run([ $tool, @_ ], '<', \undef, '>', \$out, '2>', \$err, IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	return ($? >> 8, $out, $err);
}

# A call that has to end with $code and whose output matches; returns standard output.
sub says
{
	my ($name, $code, $re, @args) = @_;
	my ($rc, $out, $err) = tool(@args);
	ok($rc == $code && "$out$err" =~ $re, $name) or diag("exit code $rc, wanted $code, $re\n$out$err");
	return $out;
}

sub sql { my ($rc, $out, $err) = $source->psql("postgres", $_[0], on_error_stop => 1); die "$_[0]: $err" if $rc; return $out }
sub file { my ($name, $text) = @_; spew("$dir/$name", $text); return "$dir/$name" }
sub rows { return sql(q{SELECT name, relation, enabled, version, md5(definition) FROM walrank.ranking ORDER BY name}) }

sql(q{CREATE TABLE item (id bigint PRIMARY KEY, status text, views int, price int, badges text[], att jsonb);
	CREATE TABLE "Odd ""name" (id int PRIMARY KEY, v int);
	INSERT INTO item SELECT i, CASE WHEN i % 5 = 0 THEN 'sold' ELSE 'on_sale' END, i * 7919 % 1009, i * 104729 % 997, '{}', '{"stock": [1, "2026-01-01T00:00:00.000000Z"]}' FROM generate_series(1, 400) i});
$d->init;
sql(q{SELECT walrank.watch('item', map => 'att'), walrank.watch('"Odd ""name"')});

# ---- apply ---------------------------------------------------------------------------------------------------
my $home = qq{# ranking "home" over public.item\nwhere status = 'on_sale'\nterm views weight 0.01 views\nround 0.1\n};
mkdir "$dir/rules";
file('rules/home.rules', $home);
file('rules/odd.rules', qq{# ranking "odd" over public."Odd ""name" disabled\nterm v weight 1 v\n});
my $before = rows();
my $said = says('apply --dry-run', 0, qr/would insert ranking "home" over public\.item\n/, @db, '--dry-run', 'rules', 'apply', "$dir/rules");
like($said, qr{^--- /dev/null\n\+\+\+ \Q$dir\E/rules/home\.rules\n@@ -0,0 \+1,4 @@\n(?:\+.*\n){4}}m, 'shows the text as a unified diff');
like($said, qr/would insert ranking "odd" over public\."Odd ""name", disabled/, 'and what the text does not say');
is(rows(), $before, 'and changes nothing');
says('apply', 0, qr/^inserted ranking "home" over public\.item\ninserted ranking "odd".*\n0 unchanged\n\z/, @db, 'rules', 'apply', "$dir/rules");
is(sql(q{SELECT name, relation, enabled, version FROM walrank.ranking ORDER BY name}), qq{home|public.item|t|1\nodd|public."Odd ""name"|f|1}, 'the rows are what the files say');
is(sql(q{SELECT definition FROM walrank.ranking WHERE name = 'home'}), $home, 'the text is the whole file');
$before = rows();
says('apply again', 0, qr/\A2 unchanged\n\z/, @db, 'rules', 'apply', "$dir/rules");
is(rows(), $before, 'changes nothing, no version rises');

file('rules/home.rules', $home =~ s/0\.01/0.02/r);
$said = says('apply --dry-run of an edit', 0, qr/would update ranking "home"\n/, @db, '--dry-run', 'rules', 'apply', "$dir/rules/home.rules");
like($said, qr/^-term views weight 0\.01 views\n\+term views weight 0\.02 views\n/m, 'shows what changes');
says('apply of an edit', 0, qr/^updated ranking "home"\n0 unchanged/, @db, 'rules', 'apply', "$dir/rules/home.rules");
is(sql(q{SELECT version FROM walrank.ranking WHERE name = 'home'}), 2, 'the version rises');
file('rules/home.rules', $home);
my $json = decode_json(says('apply --json', 0, qr/^\{/, @db, '--json', 'rules', 'apply', "$dir/rules"));
is_deeply([ map { "$_->{action} $_->{name}" } @{ $json->{actions} } ], [ 'update home', 'keep odd' ], 'tells the actions');

# all or nothing, and errors that an editor can jump to
$before = rows();
my $bad = file('rules/bad.rules', qq{# ranking "bad" over public.item\nterm x weight 1 viewz(2)\n});
file('rules/home.rules', $home =~ s/0\.01/0.03/r);
says('a file that does not compile', 2, qr/\Q$bad\E:2:17: unknown function "viewz"\nHINT/, @db, 'rules', 'apply', "$dir/rules");
is(rows(), $before, 'keeps all of them back');
file('rules/bad.rules', qq{# ranking "bad" over public."Odd ""name"\nterm x weight 1 vv\n});
says('a file the server refuses', 2, qr/bad\.rules: .*"vv".*has no such column.*HINT:  Its columns are: id v/s, @db, 'rules', 'apply', "$dir/rules");
is(rows(), $before, 'keeps all of them back, too');
says('a dry run finds it, with its place', 2, qr/bad\.rules:2:17: .*"vv"/, @db, '--dry-run', 'rules', 'apply', "$dir/rules");
file('rules/bad.rules', qq{# ranking "bad" over public.nosuch\nterm x weight 1 v\n});
says('a table that is not watched', 2, qr/"public\.nosuch" is not watched/, @db, 'rules', 'apply', "$dir/rules");
file('rules/bad.rules', qq{term x weight 1 v\n});
says('a file without a header', 2, qr/bad\.rules:1:1: .*HINT:  Begin it with: # ranking "bad" over/s, @db, 'rules', 'apply', "$dir/rules");
file('rules/bad.rules', qq{# ranking "other" over public.item\nterm x weight 1 views\n});
says('a file of another name', 2, qr/names "other", but the file is "bad"/, @db, 'rules', 'apply', "$dir/rules");
unlink $bad;
says('no server', 4, qr/ERROR/, '-h', "$dir/nowhere", 'rules', 'apply', "$dir/rules");
says('no files', 2, qr/needs files/, @db, 'rules', 'apply');

# ---- deleting --------------------------------------------------------------------------------------------------
sql(q{INSERT INTO walrank.ranking (name, relation, definition) VALUES ('extra', 'public.item', 'term price weight 2 price + stock')});
says('what has no file stays', 0, qr/^updated ranking "home"\n1 unchanged/, @db, 'rules', 'apply', "$dir/rules");
is(sql(q{SELECT count(*) FROM walrank.ranking WHERE name = 'extra'}), 1, 'by default');
says('--delete needs a directory', 2, qr/--delete needs one directory/, @db, 'rules', 'apply', '--delete', "$dir/rules/home.rules");

# ---- export, and back --------------------------------------------------------------------------------------------
$before = rows();
says('export --dry-run', 0, qr{would write \Q$dir\E/out/extra\.rules}, @db, '--dry-run', 'rules', 'export', "$dir/out");
ok(!-e "$dir/out", 'makes nothing');
says('export', 0, qr/3 written, 0 unchanged/, @db, 'rules', 'export', "$dir/out");
is(slurp("$dir/out/extra.rules"), qq{# ranking "extra" over public.item\nterm price weight 2 price + stock\n}, 'a text without a header gets one');
is(slurp("$dir/out/home.rules"), $home =~ s/0\.01/0.03/r, 'a text with one is as it was');
is(slurp("$dir/out/odd.rules"), slurp("$dir/rules/odd.rules"), 'a disabled one says so');
says('apply after export', 0, qr/\A3 unchanged\n\z/, @db, 'rules', 'apply', '--delete', "$dir/out");
is(rows(), $before, 'changes nothing');
says('export again', 0, qr/\A0 written, 3 unchanged\n\z/, @db, 'rules', 'export', "$dir/out");
sql(q{UPDATE walrank.ranking SET enabled = false WHERE name = 'extra'});
$said = says('export of what is disabled now', 0, qr{wrote \Q$dir\E/out/extra\.rules\n1 written}, @db, 'rules', 'export', "$dir/out");
like(slurp("$dir/out/extra.rules"), qr/\A# ranking "extra" over public\.item disabled\n/, 'is in its file');
says('--delete --dry-run', 0, qr/would delete ranking "extra"\n--- walrank\.ranking\/extra\n\+\+\+ \/dev\/null/, @db, '--dry-run', 'rules', 'apply', '--delete', "$dir/rules");
says('--delete', 0, qr/^deleted ranking "extra"\n2 unchanged/, @db, 'rules', 'apply', '--delete', "$dir/rules");
is(sql(q{SELECT string_agg(name, ',' ORDER BY name) FROM walrank.ranking}), 'home,odd', 'what has no file is gone');
says('export names what it left alone', 0, qr/extra\.rules" is not in the database/, @db, 'rules', 'export', "$dir/out");

# ---- libraries -------------------------------------------------------------------------------------------------------
SKIP:
{
	skip 'there is no table walrank.rule_library yet', 1 unless sql(q{SELECT to_regclass('walrank.rule_library') IS NOT NULL}) eq 't';
	mkdir "$dir/lib";
	my $library = "# shared\nconst factor_of_views = 0.5\nmacro damped(x) = log1p(x)\n";
	file('lib/shared.library', $library);
	file('lib/user.rules', qq{# ranking "user" over public.item\nuse shared\nterm v weight 1 factor_of_views * damped(views)\n});
	says('check of a library and of what uses it', 0, qr/shared\.library: ok, a library\n.*user\.rules: ok, reads views\n/, 'rules', 'check', "$dir/lib/shared.library", "$dir/lib/user.rules");
	says('apply of both', 0, qr/^inserted library "shared"\ninserted ranking "user" over public\.item\n0 unchanged/, @db, 'rules', 'apply', "$dir/lib");
	is(sql(q{SELECT definition FROM walrank.rule_library WHERE name = 'shared'}), $library, 'the library is the file');
	says('once more', 0, qr/\A2 unchanged\n\z/, @db, 'rules', 'apply', "$dir/lib");
	says('a ranking alone, its library in the database', 0, qr/\A1 unchanged\n\z/, @db, 'rules', 'apply', "$dir/lib/user.rules");
	file('lib/user.rules', qq{# ranking "user" over public.item\nterm v weight 1 views\n});
	file('lib/shared.library', "const other = 1\n");
	says('a library may lose what its rankings give up with it', 0, qr/updated library "shared"\nupdated ranking "user"/, @db, 'rules', 'apply', "$dir/lib");
	file('lib/shared.library', "const other = \n");
	says('a library that is none', 2, qr/shared\.library:1:\d+: /, @db, 'rules', 'apply', "$dir/lib");
	says('check of it', 2, qr/shared\.library:1:\d+: /, 'rules', 'check', "$dir/lib/shared.library");
	file('lib/user.rules', qq{# ranking "user" over public.item\nuse nosuch\nterm v weight 1 views\n});
	says('a library that is not there', 2, qr/user\.rules:2:\d+: .*nosuch/, 'rules', 'check', "$dir/lib/user.rules");
	file('lib/shared.library', $library);
	file('lib/user.rules', qq{# ranking "user" over public.item\nuse shared\nterm v weight 1 factor_of_views * damped(views)\n});
	says('back again', 0, qr/updated/, @db, 'rules', 'apply', "$dir/lib");
	says('list compiles with libraries', 0, qr/^user\s+public\.item\s+3 yes\s+1  views$/m, @db, 'rules', 'list');
	says('export of both', 0, qr/written/, @db, 'rules', 'export', "$dir/libout");
	is(slurp("$dir/libout/shared.library") . slurp("$dir/libout/user.rules"), slurp("$dir/lib/shared.library") . slurp("$dir/lib/user.rules"), 'gives the files back');
	says('test finds the library beside', 0, qr/1 passed/, 'rules', 'test', file('lib/user.test', qq|{"item":{"views":0},"score":0}\n|));
	says('--delete of both, in an order that goes', 0, qr/deleted ranking "user"\ndeleted library "shared"\n/, @db, 'rules', 'apply', '--delete', "$dir/rules");
}

# ---- list and check ------------------------------------------------------------------------------------------------
says('list', 0, qr/^home\s+public\.item\s+\d+ yes\s+1  status, views$/m, @db, 'rules', 'list');
$json = decode_json(says('list --json', 0, qr/^\{/, @db, '--json', 'rules', 'list'));
is_deeply([ map { [ $_->{name}, $_->{enabled} ? 1 : 0, $_->{terms}[0]{name}, $_->{attributes} ] } @{ $json->{rankings} } ],
	[ [ 'home', 1, 'views', [ 'status', 'views' ] ], [ 'odd', 0, 'v', ['v'] ] ], 'tells what they are made of');
says('check', 0, qr/home\.rules: ok, reads status, views\n/, 'rules', 'check', "$dir/rules/home.rules");
says('check of several, one wrong', 2, qr/home\.rules: ok.*:2:17: unknown function.*HINT/s, 'rules', 'check', "$dir/rules/home.rules", file('wrong.rules', "term a weight 1 v\nterm x weight 1 viewz(2)\n"));
says('check against the table', 0, qr/reads status, views of public\.item/, @db, 'rules', 'check', "$dir/rules/home.rules");
my $typo = file('typo.rules', qq{# views of ghosts: vieuws\nwhere status = 'vieuws'\nterm a weight 1 views\nterm b weight 1 price + "vieuws"\nterm c weight 1 vieuws.x\n});
says('an unknown column is found in its place', 2, qr/typo\.rules:5:17: .*"vieuws"/, @db, 'rules', 'check', '--relation', 'item', $typo);
says('where no map could have it', 2, qr/typo2\.rules:2:9: .*"w".*no such column/, @db, 'rules', 'check', '--relation', 'public."Odd ""name"', file('typo2.rules', "term vw weight 1 v # w\nwhere   w > 1\n"));
says('check needs to know the table', 2, qr/does not say which table/, @db, 'rules', 'check', $typo);

# ---- test ------------------------------------------------------------------------------------------------------------
my $cases = file('rules/home.test', qq|# views count for what is on sale\n{"name":"many","item":{"status":"on_sale","views":1000},"score":30}\n\n{"item":{"status":"sold","views":1000},"outside":true}\n|);
says('test', 0, qr/\A2 passed, 0 failed\n\z/, 'rules', 'test', $cases);
file('rules/home.test', slurp($cases) . qq|{"name":"few","item":{"status":"on_sale","views":1},"score":0.5}\n{"item":{"status":"sold"},"score":1}\n|);
$said = says('a failing case', 3, qr/home\.test:5: few: ranking "home": expected 0\.5, found 0(?:\.0)?\b/, 'rules', 'test', $cases);
like($said, qr/home\.test:6: ranking "home": expected 1, found outside\n    where +does not hold\n.*2 passed, 2 failed\n\z/s, 'all of them are told, and what each statement came to');
says('a case that is none', 2, qr/none\.test:1: .*"scroe".*HINT/s, 'rules', 'test', file('rules/none.test', qq|{"item":{},"scroe":1}\n|));
says('a file without cases', 2, qr/holds no test case/, 'rules', 'test', file('rules/none.test', "# nothing\n"));
# what the tool makes of an item offline is what the server makes of the row
sql(q{INSERT INTO walrank.ranking (name, relation, definition) VALUES ('both', 'public.item', 'term a weight 0.3 log1p(views)
term b weight 2 exp_decay(age(stock), 7d) missing 0.25
boost +0.5 when ''x'' in badges
factor 1.5 when price >= 100 and price <= 500')});
says('export of it', 0, qr/written/, @db, 'rules', 'export', "$dir/out");
my $lines = sql(q{SELECT string_agg(jsonb_build_object('ranking', 'both', 'at', '2026-01-05T00:00:00Z', 'item', to_jsonb(i), 'score', walrank.score('both', i, '2026-01-05T00:00:00Z'))::text, E'\n' ORDER BY id) FROM item i});
says('offline and SQL agree', 0, qr/\A400 passed, 0 failed/, 'rules', 'test', '--rules', "$dir/out", file('sql.test', "$lines\n"));
sql(q{DELETE FROM walrank.ranking WHERE name = 'both'});

# ---- diff: what if ------------------------------------------------------------------------------------------------------
file('rules/home.rules', $home);
says('the definition of the beginning', 0, qr/updated/, @db, 'rules', 'apply', "$dir/rules/home.rules");
my $new = file('new.rules', qq{# ranking "home" over public.item\nwhere price < 900\nterm views weight 0.01 views\nterm price weight 0.004 price\nround 0.1\n});

# A ranking of the new definition that is in force beside the other one: SQL tells its scores, and it emits what the tool
# says would be emitted.
spew("$dir/rules/rival.rules", slurp($new) =~ s/"home"/"rival"/r);
says('a ranking of the new definition', 0, qr/inserted ranking "rival"/, @db, 'rules', 'apply', "$dir/rules/rival.rules");
$d->create;
$d->catch_up;

# Both orders as SQL has them: key, old score, new score; "" = not in it.
sub oracle
{
	my $scores = sql(q{SELECT id, walrank.score('home', i), walrank.score('rival', i) FROM item i});
	my @items = map { [ split /\|/, $_, -1 ] } split /\n/, $scores;
	my %o = (items => scalar @items, entered => 0, left => 0, moved => 0, same => 0, before => 0, after => 0);
	my @both;
	for my $i (@items)
	{
		my ($old, $new) = ($i->[1] ne '', $i->[2] ne '');
		$o{before} += $old;
		$o{after} += $new;
		$o{ $old ? $new ? $i->[1] != $i->[2] ? 'moved' : 'same' : 'left' : 'entered' }++ if $old || $new;
		push @both, $i if $old && $new;
	}
	my ($c, $dis, $x, $y) = (0, 0, 0, 0);
	for my $i (0 .. $#both)
	{
		for my $j ($i + 1 .. $#both)
		{
			my ($p, $q) = ($both[$i][1] <=> $both[$j][1], $both[$i][2] <=> $both[$j][2]);
			$p * $q > 0 ? $c++ : $p * $q < 0 ? $dis++ : $p ? $y++ : $q ? $x++ : 0;
		}
	}
	$o{tau} = ($c - $dis) / sqrt(($c + $dis + $x) * ($c + $dis + $y));
	my @order = map { my $n = $_; [ map { $_->[0] } sort { $b->[$n] <=> $a->[$n] || $a->[0] <=> $b->[0] } grep { $_->[$n] ne '' } @items ] } 1, 2;
	for my $top (10, 100, 1000)
	{
		my @first = map { my @o = @$_; [ @o > $top ? @o[ 0 .. $top - 1 ] : @o ] } @order;
		my %in = map { $_ => 1 } @{ $first[0] };
		$o{"top$top"} = grep { $in{$_} } @{ $first[1] };
	}
	my %place;
	for my $n (0, 1)
	{
		$place{ $order[$n][$_] }[$n] = $_ + 1 for 0 .. $#{ $order[$n] };
	}
	$o{furthest} = 0;
	for my $p (values %place)
	{
		my $places = abs(($p->[0] // @{ $order[0] } + 1) - ($p->[1] // @{ $order[1] } + 1));
		$o{furthest} = $places if $places > $o{furthest};
	}
	$o{place} = \%place;
	return \%o;
}

sub same_as_sql
{
	my ($name, $j) = @_;
	my $o = oracle();
	is_deeply([ $j->{items}, $j->{before}{items}, $j->{after}{items}, @$j{qw(entered left moved same)}, map { $_->{same} } @{ $j->{overlap} } ],
		[ @$o{qw(items before after entered left moved same top10 top100 top1000)} ], "$name: who enters, leaves, moves, and the tops");
	cmp_ok(abs($j->{tau_b} - $o->{tau}), '<', 1e-12, "$name: Kendall's tau");
	my ($n, @wrong) = (0);
	for my $m (@{ $j->{movers} })
	{
		my $p = $o->{place}{ $m->{key}{id} };
		my $moved = abs(($m->{before} ? $m->{before}{place} : $o->{before} + 1) - ($m->{after} ? $m->{after}{place} : $o->{after} + 1));
		push @wrong, $m if ($m->{before} ? $m->{before}{place} : 0) != ($p->[0] // 0) || ($m->{after} ? $m->{after}{place} : 0) != ($p->[1] // 0);
		is($moved, $o->{furthest}, "$name: the first mover moves furthest") if $n++ == 0;
	}
	is_deeply(\@wrong, [], "$name: places of the movers");
	is_deeply([ grep { $_->{because} ne ($_->{before} && $_->{after} ? 'price' : 'where') } @{ $j->{movers} } ], [], "$name: the statement that moves each");
	return;
}

$json = decode_json(says('diff --fresh --json', 0, qr/^\{/, @conf, '--json', 'rules', 'diff', '--fresh', '--movers', '50', $new));
same_as_sql('what if', $json);
cmp_ok($json->{snapshot_seq}, '>', 0, 'as of a unit');
is(scalar @{ $json->{movers} }, 50, 'as many movers as asked for');
is($json->{version}, sql(q{SELECT version FROM walrank.ranking WHERE name = 'home'}), 'beside the version in force');
my $human = says('diff', 0, qr/as of unit $json->{snapshot_seq} \(/, @conf, 'rules', 'diff', $new);
like($human, qr/enter $json->{entered}, leave $json->{left}, change their score $json->{moved}, stay as they are $json->{same}/, 'the same for people');
is(says('diff again', 0, qr/./, @conf, 'rules', 'diff', $new), $human, 'gives the same to the byte');
my $same = decode_json(says('diff with what is in force', 0, qr/^\{/, @conf, '--json', 'rules', 'diff', "$dir/rules/home.rules"));
is_deeply([ @$same{qw(entered left moved)}, $same->{tau_b}, scalar @{ $same->{movers} } ], [ 0, 0, 0, 1, 0 ], 'finds no difference');
my $first = decode_json(says('diff of a new ranking', 0, qr/^\{/, @conf, '--json', 'rules', 'diff', '--ranking', 'newer', $new));
is_deeply([ $first->{version}, $first->{before}{items}, $first->{entered} ], [ undef, 0, $json->{after}{items} ], 'all of it enters');
says('diff with another table\'s ranking', 2, qr/is over public\.item, and .* is over public\.other/, @conf, 'rules', 'diff', '--ranking', 'home', file('other_table.rules', "# ranking \"home\" over public.other\nterm v weight 1 v\n"));
says('diff of what is no ranking', 2, qr/there is no ranking "nosuch".*HINT.*home/s, @conf, 'rules', 'diff', file('nosuch.rules', "term v weight 1 views\n"));
says('diff of what does not compile', 2, qr/wrong\.rules:2:17: unknown function/, @conf, 'rules', 'diff', '--ranking', 'home', "$dir/wrong.rules");
says('diff of what means nothing there', 2, qr/typo3\.rules:3:17: .*nosuch/, @conf, 'rules', 'diff', '--ranking', 'home', file('typo3.rules', "# a\n\nterm v weight 1 nosuch.x\n"));

sql(q{UPDATE item SET views = views * 3 % 997, price = price * 5 % 991 WHERE id % 3 = 0; DELETE FROM item WHERE id % 50 = 1});
$d->catch_up;
is(decode_json(says('without --fresh', 0, qr/^\{/, @conf, '--json', 'rules', 'diff', $new))->{tau_b}, $json->{tau_b}, 'the snapshot of before counts');
$json = decode_json(says('with --fresh', 0, qr/^\{/, @conf, '--json', 'rules', 'diff', '--fresh', $new));
same_as_sql('changed', $json);

# what people decided holds under both
{
	my $plain = decode_json(says('before anybody intervenes', 0, qr/^\{/, @conf, '--json', 'rules', 'diff', '--movers', '0', "$dir/rules/home.rules"));
	my @shown = split /\n/, sql(q{SELECT id FROM item WHERE status = 'on_sale' ORDER BY id LIMIT 3});
	sql("INSERT INTO walrank.intervention (relation, key, action, reason) VALUES ('public.item', '$shown[0]', 'block', 'r');
		INSERT INTO walrank.intervention (relation, key, action, tier, reason) VALUES ('public.item', '$shown[1]', 'tier', 3, 'r')");
	$d->catch_up;
	my $steered = decode_json(says('and after', 0, qr/^\{/, @conf, '--json', 'rules', 'diff', '--fresh', file('reverse.rules', $home =~ s/weight 0\.01/weight -0.01/r)));
	is($steered->{before}{items}, $plain->{before}{items} - 1, 'who is blocked is in neither');
	is($steered->{after}{items}, $plain->{before}{items} - 1, 'and not in the new one');
	my $all = decode_json(says('all movers', 0, qr/^\{/, @conf, '--json', 'rules', 'diff', '--movers', '10000', "$dir/reverse.rules"));
	is_deeply([ grep { $_->{key}{id} == $shown[1] } @{ $all->{movers} } ], [], 'who is in a tier of his own stays at the first place');
	cmp_ok((sort { $a <=> $b } map { $_->{before}{place} } @{ $all->{movers} })[0], '>', 1, 'which nobody else has');
	sql('DELETE FROM walrank.intervention');
	$d->catch_up;
}

# libraries are those the daemon has
sql(q{INSERT INTO walrank.rule_library VALUES ('prices', 'const per_unit = 0.004')});
$d->catch_up;
my $used = decode_json(says('a definition that uses a library', 0, qr/^\{/, @conf, '--json', 'rules', 'diff', '--fresh', file('uses.rules', slurp($new) =~ s/0\.004 price/1 per_unit * price/r =~ s/where/use prices\nwhere/r)));
same_as_sql('with a library', $used);
says('one that is not there', 2, qr/uses2\.rules:2:\d+: .*nosuch/, @conf, 'rules', 'diff', file('uses2.rules', slurp($new) =~ s/where/use nosuch\nwhere/r));

# evaluated at a time of one's own
my $aging = file('aging.rules', qq{# ranking "home" over public.item\nterm age weight 1 linear_decay(age(stock), 100d)\n});
my @at = map { decode_json(says("--at $_", 0, qr/^\{/, @conf, '--json', 'rules', 'diff', '--at', $_, $aging)) } '2026-01-01', '2026-02-20T00:00:00Z';
is_deeply([ map { $_->{at} } @at ], [ '2026-01-01T00:00:00.000000Z', '2026-02-20T00:00:00.000000Z' ], '--at is the time of evaluation');
isnt($at[0]{movers}[0]{after}{score} // 0, $at[1]{movers}[0]{after}{score} // 0, 'and scores move with it');

# ---- diff --from: what would have been emitted --------------------------------------------------------------------------
decode_json(says('a snapshot before the changes', 0, qr/^\{/, @conf, '--json', 'rules', 'diff', '--fresh', $new));
my $from = $d->status->{journal}{durable_seq} + 1;
for my $n (1 .. 60)
{
	sql("UPDATE item SET views = (views + $n * 37) % 1000 WHERE id % 60 = $n - 1; UPDATE item SET price = (price * 3 + $n) % 1000 WHERE id % 7 = $n % 7; UPDATE item SET status = CASE status WHEN 'sold' THEN 'on_sale' ELSE 'sold' END WHERE id % 31 = $n % 31");
}
sql(q{DELETE FROM item WHERE id % 40 = 2; INSERT INTO item SELECT i, 'on_sale', i % 100, i % 1000, '{}', '{}' FROM generate_series(1000, 1100) i; UPDATE item SET id = id + 100000 WHERE id % 90 = 3});
$d->catch_up;
my %emitted;
for (map { decode_json($_) } $d->lines)
{
	next unless (split /\./, $_->{pos})[0] >= $from && defined $_->{ranking};
	$emitted{ $_->{ranking} }{ $_->{kind} }++;
}
my $replay = decode_json(says('diff --from', 0, qr/^\{/, @conf, '--json', 'rules', 'diff', '--from', $from, $new))->{replay};
is_deeply($replay->{before}, { scores => $emitted{home}{score}, removals => $emitted{home}{remove} }, 'as many emissions as there were under the one in force');
is_deeply($replay->{after}, { scores => $emitted{rival}{score}, removals => $emitted{rival}{remove} }, 'and as many as there would have been under the new one');
cmp_ok($emitted{rival}{score}, '>', 50, 'which is not few');
isnt($emitted{rival}{score}, $emitted{home}{score}, 'and not the same');
is($replay->{changed_in}, undef, 'to the end');
my $lsn = sql('SELECT pg_current_wal_insert_lsn()');
says('diff --from for people', 0, qr/^EMITTED.*\nscores\s+$emitted{home}{score}\s+$emitted{rival}{score}\n/m, @conf, 'rules', 'diff', '--from', $from, $new);
says('diff --from before all snapshots', 1, qr/no snapshot|does not hold/, @conf, 'rules', 'diff', '--from', 1, $new) if $d->status->{store}{oldest_snapshot_seq} > 0;
says('diff --from beyond the end', 2, qr/ends before/, @conf, 'rules', 'diff', '--from', 'FFF/0', $new);
is(scalar(grep { -e } glob(($ENV{TMPDIR} // '/tmp') . '/walrank-??????/data.mdb')), 0, 'no copy is left behind');

# the ranking itself is edited on the way: what follows is not counted
file('rules/home.rules', $home =~ s/round 0\.1/round 0.5/r);
says('an edit', 0, qr/updated/, @db, 'rules', 'apply', "$dir/rules/home.rules");
sql('UPDATE item SET views = views + 500 WHERE id < 200');
$d->catch_up;
my $edited = decode_json(says('diff --from across an edit', 0, qr/^\{/, @conf, '--json', 'rules', 'diff', '--from', $from, $new))->{replay};
cmp_ok($edited->{changed_in}, '>', $edited->{to_seq}, 'ends before the unit of the edit');
is_deeply([ $edited->{before}, $edited->{after} ], [ $replay->{before}, $replay->{after} ], 'with what was emitted until then');

# ---- nothing is written -----------------------------------------------------------------------------------------------------
sub fingerprints { return join "\n", map { "$_ " . sha256_hex(slurp($_)) } sort grep { -f } glob "$d->{state}/* $d->{state}/*/*" }
$d->stop;
my $files = fingerprints();
says('diff while the daemon is stopped', 0, qr/^enter \d+, leave/m, @conf, 'rules', 'diff', '--from', $from, $new);
is(fingerprints(), $files, 'writes nothing anywhere in the state');
says('--fresh needs the daemon', 4, qr/could not reach walrankd/, @conf, 'rules', 'diff', '--fresh', $new);
$d->start;
$d->ready;
$d->catch_up;
pass('the daemon goes on');
$d->stop;
done_testing();
