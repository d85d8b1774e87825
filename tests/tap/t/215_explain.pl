# walrank explain beside a running daemon: what readers hold, recombined to the bit; which unit brought each attribute, as
# history has it; who intervened; and what SQL says of the row as it is now.
use strict;
use warnings;
use Walrank;
use IPC::Run;
use JSON::PP; # whose numbers are those of the text, to the bit
use PostgreSQL::Test::Utils;
use Test::More;

my $tool = Walrank::Daemon::bin('walrank');
my $source = source('source');
my $d = daemon_new($source, conf => "[journal]\nsegment_size = 64kB\n[feed]\nsegment_size = 64kB\nretain = 0\n[store]\ncommit_time = 50ms\nsnapshot_interval = 1h\n");
my @conf = ('--config', $d->{conf});
my @db = ('-h', $source->host, '-p', $source->port, '-d', 'postgres');
srand(20261201);

sub tool
{
	my ($out, $err) = ('', '');
	IPC::Run::run([ $tool, @_ ], '<', \undef, '>', \$out, '2>', \$err, IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	return ($? >> 8, $out, $err);
}

sub says
{
	my ($name, $code, $re, @args) = @_;
	my ($rc, $out, $err) = tool(@args);
	ok($rc == $code && "$out$err" =~ $re, $name) or diag("exit code $rc, wanted $code, $re\n$out$err");
	return $out;
}

sub sql { return $source->safe_psql('postgres', $_[0]) }

sub why
{
	my ($rc, $out, $err) = tool(@conf, @db, '--json', 'explain', @_);
	is($rc, 0, "explain @_") or diag("$out$err");
	return decode_json($out);
}

sub bits { return unpack('Q<', pack('d<', $_[0] + 0)) }

# ranking -> the last score line of an item; undef: it left
sub emitted
{
	my ($id) = @_;
	my %last;
	for ($d->lines)
	{
		next unless /"kind":"(score|remove)","ranking":"([a-z]+)","key":\{"id":$id\}/;
		$last{$2} = $1 eq 'score' ? $_ : undef;
	}
	return { map { ($_ => defined $last{$_} ? decode_json($last{$_}) : undef) } keys %last };
}

sql(q{CREATE TABLE item (id bigint PRIMARY KEY, price numeric, title text, att jsonb);
	CREATE TABLE named (code text PRIMARY KEY, v float8);
	CREATE TABLE pair (shop int, sku text, v int, PRIMARY KEY (shop, sku));
	INSERT INTO item SELECT i, i * 1.7, 't' || i, jsonb_build_object('stock', jsonb_build_array(i, '2026-11-0' || (1 + i % 9) || 'T00:00:00Z')) FROM generate_series(1, 30) i;
	INSERT INTO named SELECT substr(string_agg(md5(i::text), ''), 1, 2000), 5 FROM generate_series(1, 70) i;
	INSERT INTO named VALUES ('17', 7);
	INSERT INTO pair VALUES (1, 'x y', 3)});
my $long = sql('SELECT code FROM named WHERE v = 5');
$d->init;
sql(q{SELECT walrank.watch('item', map => 'att'), walrank.watch('named'), walrank.watch('pair');
	INSERT INTO walrank.ranking (name, relation, definition) VALUES
		('home', 'public.item', E'where price < 60\nterm price weight 0.37 log1p(price) missing skip\nterm stock weight 0.1 saturation(stock, 7.3) missing 0.2\nboost 0.05 when stock > 10\nfactor 1.2 when price > 20\nround 0.0000001'),
		('fresh', 'public.item', E'term age weight 3.3 half_life(age(stock), 3d)\nterm p weight 0.01 price\nmin_change 0.001'),
		('names', 'public.named', 'term v v'), ('pairs', 'public.pair', 'term v v')});
$d->create;
$d->catch_up;

# ---- scores, recombined ----------------------------------------------------------------------------------
# By the server, which reads and adds doubles as the daemon does.
my @documents;
sub recombined
{
	my $values = join ",\n", map { "(\$doc\$$_\$doc\$::jsonb)" } @documents;
	return sql(qq{WITH ranking AS (SELECT r FROM (VALUES $values) v (doc), jsonb_array_elements(doc -> 'rankings') r WHERE r -> 'totals' ->> 'outcome' = 'score'),
		made AS (SELECT (r -> 'totals' ->> 'before_clamp')::float8 AS told, (r -> 'totals' ->> 'rounded')::float8 AS rounded, (r -> 'computed' ->> 'score')::float8 AS score, r -> 'interventions' AS interventions,
			(SELECT (coalesce(sum(c) FILTER (WHERE k = 'term'), 0) + coalesce(sum(c) FILTER (WHERE k = 'boost'), 0)) * coalesce(max(c) FILTER (WHERE k = 'factor'), 1)
				FROM (SELECT (l ->> 'contribution')::float8 AS c, l ->> 'kind' AS k FROM jsonb_array_elements(r -> 'statements') WITH ORDINALITY s (l, n) WHERE (l -> 'counts')::bool ORDER BY n) lines) AS again
			FROM ranking)
		SELECT count(*) FILTER (WHERE float8send(told) IS DISTINCT FROM float8send(again)) || ' ' || count(*) FILTER (WHERE interventions = '[]' AND score <> rounded) || ' ' || (count(*) > 80) FROM made});
}

my ($wrong, $checked, $kept) = (0, 0, 0);
sub check_all
{
	my ($ids) = @_;
	$d->catch_up;
	for my $id (@$ids)
	{
		my ($rc, $out, $err) = tool(@conf, @db, '--json', 'explain', 'public.item', $id);
		my $last = emitted($id);
		push @documents, $out;
		my $doc = eval { decode_json($out) };
		if ($rc != 0 || !$doc || @{ $doc->{rankings} } != 2)
		{
			$wrong++;
			diag("item $id: exit code $rc\n$out$err");
			next;
		}
		for my $r (@{ $doc->{rankings} })
		{
			my $line = $last->{ $r->{ranking} };
			my $good = !!$r->{shown} eq !!$line;
			if ($line)
			{
				$good &&= bits($r->{score}) == bits($line->{score}) && $r->{tier} == $line->{tier} && ($r->{pin} // 0) == ($line->{pin} // 0)
				  && $r->{version} >= $line->{version} && $r->{told}{pos} eq $line->{pos} && $r->{told}{lsn} eq $line->{lsn};
				my $c = $r->{computed};
				$kept++ if defined $c->{kept_by_min_change};
				$good &&= bits($c->{score}) == bits($line->{score}) || (defined $c->{kept_by_min_change} && abs($c->{score} - $line->{score}) < 0.001);
			}
			$checked++;
			$wrong++, diag(substr("item $id: " . encode_json($line // {}) . " " . encode_json({ %$r, statements => 0, attributes => 0 }), 0, 1500)) unless $good;
		}
	}
	return;
}

for my $round (1 .. 5)
{
	for (1 .. 25)
	{
		my $id = 1 + int(rand(30));
		my $set = (sprintf('price = %.3f', rand(80)), "title = title || 'x'", sprintf(q{att = walrank.merge(att, '{"stock": [%d, "2026-12-01T00:00:%02dZ"]}')}, rand(20), rand(60)))[ rand(3) ];
		sql("UPDATE item SET $set WHERE id = $id");
	}
	sql(sprintf(q{INSERT INTO walrank.intervention (relation, key, action, factor, addend, priority, author, reason) VALUES ('public.item', '%d', 'boost', %.2f, 0.3, %d, 'anna', 'round %d')}, 1 + rand(30), 0.5 + rand(2), rand(3), $round)) for 1 .. 4;
	sql(sprintf(q{INSERT INTO walrank.intervention (relation, key, action, author, reason) VALUES ('public.item', '%d', '%s', 'bert', 'because')}, 1 + rand(30), (qw(block top allow))[ rand(3) ])) for 1 .. 2;
	sql(sprintf(q{INSERT INTO walrank.intervention (relation, key, action, score, author, reason) VALUES ('public.item', '%d', 'freeze', %.3f, 'bert', 'held')}, 1 + rand(30), rand(9)));
	sql(q{UPDATE walrank.ranking SET definition = regexp_replace(definition, 'weight 0\.[0-9]+ log', 'weight 0.4} . $round . q{ log') WHERE name = 'home'}) if $round == 2 || $round == 4;
	poll('all to be evaluated under the newest rules', sub { !grep { $_->{stale} } map { @{ decode_json((tool(@conf, '--json', 'explain', 'public.item', $_))[1])->{rankings} } } (1, 15, 30) });
	check_all([ 1 .. 30 ]) if $round == 5;
	check_all([ map { 1 + int(rand(30)) } 1 .. 5 ]) if $round < 5;
}
is($wrong, 0, "$checked explanations: the emitted score to the bit ($kept kept by min_change)");
is(recombined(), '0 0 true', 'and what is told of the statements makes it, to the bit');
cmp_ok($checked, '>=', 100, 'of many items');

# ---- origins are those of history ----------------------------------------------------------------------------
sql(q{UPDATE item SET price = 12.5, title = 'quiet' WHERE id = 3});
sql(q{UPDATE item SET att = walrank.merge(att, '{"stock": [19, "2026-12-02T00:00:00Z"]}') WHERE id = 3});
sql(q{UPDATE item SET title = 'unread' WHERE id = 3});
$d->catch_up;
my %last_change;
for (split /\n/, (tool(@conf, '--json', 'history', 'public.item', '3'))[1])
{
	my $line = decode_json($_);
	$last_change{ $_->{name} } = $line for @{ $line->{changes} // [] };
}
my ($home) = grep { $_->{ranking} eq 'home' } @{ why('public.item', '3')->{rankings} };
for my $attribute (@{ $home->{attributes} })
{
	my $line = $last_change{ $attribute->{name} };
	is_deeply([ @$attribute{qw(pos lsn committed xid source)} ], [ @$line{qw(pos lsn ts xid)}, 'stream' ], "unit, LSN, time and transaction of $attribute->{name} are those of its last change");
}
is_deeply([ map { $_->{name} } @{ $home->{attributes} } ], [ 'price', 'stock' ], 'of all it reads');
isnt($home->{attributes}[0]{lsn}, $home->{attributes}[1]{lsn}, 'each its own');
is($home->{attributes}[1]{time}, '2026-12-02T00:00:00.000000Z', 'with its own time');
my ($pair) = @{ why('pair', '{"shop": 1, "sku": "x y"}')->{rankings} };
is($pair->{attributes}[0]{source}, 'read from the table', 'one that a backfill brought');

# ---- people -----------------------------------------------------------------------------------------------------
sql(q{DELETE FROM walrank.intervention; INSERT INTO walrank.intervention (relation, ranking, key, action, factor, author, reason) VALUES ('public.item', 'home', '3', 'boost', 2, 'clara', 'spring "sale"')});
poll('the boost', sub { (tool(@conf, @db, 'explain', 'item', '3', '--ranking', 'home'))[1] =~ /clara: spring "sale"/ });
says('for people', 0, qr/\Apublic\.item 3 in ranking home \(version 3\) as of \S+: readers hold tier 0, score [\d.]+\n  told: [^\n]*, LSN \S+, position \S+\n  holds +where price < 60  \[price = 12\.5\]\n.*\n  price = 12\.5: stream at 20\S+Z, LSN \S+, position \S+\n  stock = 19 \(its own time 2026-12-02T00:00:00\.000000Z\): stream at .*\nintervention \d+, boost by key: score \* 2 \+0  -- clara: spring "sale"\n/s,
	@conf, @db, 'explain', 'item', '3', '--ranking', 'home');
sql(q{INSERT INTO walrank.intervention (relation, key, action, author, reason) VALUES ('public.item', '4', 'block', 'clara', 'gone')});
poll('the block', sub { (tool(@conf, @db, 'explain', 'item', '4', '--ranking', 'home'))[1] =~ /readers hold nothing, it is blocked\n/ });

# ---- keys ----------------------------------------------------------------------------------------------------------
my $names = why('named', $long);
ok($names->{found} && $names->{rankings}[0]{score} == 5, 'a key of 2,000 bytes');
is(why('public.named', '17')->{rankings}[0]{score}, 7, 'a text that looks like a number');
says('no such item', 3, qr/public\.item 4711: no item has that key\n/, @conf, @db, 'explain', 'item', '4711');
says('no such item in JSON', 3, qr/"found":false/, @conf, @db, '--json', 'explain', 'item', '4711');
says('no key of that table', 2, qr/invalid input syntax for type bigint/, @conf, @db, 'explain', 'item', 'abc');
says('no such table', 2, qr/no watched table is called "itm"/, @conf, @db, 'explain', 'itm', '1');
says('no such ranking', 2, qr/the table has no ranking "hme" in force.*HINT:  In force are fresh, home\./s, @conf, @db, 'explain', 'item', '1', '--ranking', 'hme');
says('no name of a ranking', 2, qr/"a b" is no name of a ranking/, @conf, @db, 'explain', 'item', '1', '--ranking', 'a b');
# without the source: the feed knows the key
my @nowhere = (@conf, '-h', $source->host, '-p', '1');
my $alone = says('the source away: what readers hold is known all the same', 0, qr/in ranking home .*readers hold tier 0, score/s, @nowhere, 'explain', 'item', '3');
unlike($alone, qr/clara/, 'but not who intervened');
says('no such table', 2, qr/the feed knows no table "itm"/, @nowhere, 'explain', 'itm', '1');
says('an item nobody has told of', 4, qr/its key cannot be asked for.*could not connect/s, @nowhere, 'explain', 'item', '4711');

# ---- both, where they differ -----------------------------------------------------------------------------------------
is_deeply([ map { $_->{sql}{differs} ? 1 : 0 } grep { $_->{ranking} eq 'home' } @{ why('item', '5')->{rankings} } ], [0], 'SQL says the same');
my $walsender = sql(q{SELECT active_pid FROM pg_replication_slots WHERE slot_name = 'walrank'});
is(kill('STOP', $walsender), 1, 'the stream stands still');
sql(q{UPDATE item SET price = 59 WHERE id = 5});
my ($behind) = grep { $_->{ranking} eq 'home' } @{ why('item', '5')->{rankings} };
ok($behind->{sql}{differs} && $behind->{attributes}[0]{value} != 59, 'SQL is ahead of what readers hold');
is($behind->{sql}{score}, sql(q{SELECT s.score FROM item i, LATERAL walrank.standing('home', i) s WHERE id = 5}), 'and says what they will');
says('for people', 0, qr/\n  SQL says tier \S+, score \S+ now\n/, @conf, @db, 'explain', 'item', '5', '--ranking', 'home');
is(kill('CONT', $walsender), 1, 'it goes on');
$d->catch_up;
ok(!(grep { $_->{ranking} eq 'home' && $_->{sql}{differs} } @{ why('item', '5')->{rankings} }), 'and they agree');
says('--at is asked of SQL', 0, qr/SQL says so, of the row as it is now: that time is asked for/, @conf, @db, 'explain', 'item', '3', '--at', '2026-12-01');
says('without --config', 0, qr/: walrankd is not asked without --config\n\z/, @db, 'explain', 'item', '3');

# ---- a feed that does not reach back ---------------------------------------------------------------------------------
for (1 .. 30)
{
	sql("UPDATE item SET price = price + 1, title = md5('$_') WHERE id = 3; INSERT INTO item SELECT 1000 + i + $_ * 100, i, repeat(md5(i::text), 20), '{}' FROM generate_series(1, 20) i");
}
$d->catch_up;
poll('the feed to be trimmed', sub {
	IPC::Run::run([ $tool, @conf, 'rules', 'diff', '--fresh', '--ranking', 'home', '-' ], '<', \'term p weight 1 price', '>', \my $out, '2>', \my $err);
	sql('UPDATE item SET price = price + 0.25 WHERE id = 3');
	return ($d->status->{feed}{first_seq} // 0) > 20;
});
sql('UPDATE item SET price = 33 WHERE id = 3');
$d->catch_up;
my %by = map { $_->{name} => $_ } @{ (grep { $_->{ranking} eq 'home' } @{ why('item', '3')->{rankings} })[0]{attributes} };
is($by{price}{source}, 'stream', 'what changed since is known');
is($by{stock}{source}, 'before what the feed holds', 'what did not is said to be older');
my $old = why('item', '7');
is($old->{rankings}[0]{attributes}[0]{source}, 'before what the feed holds', 'an item the feed tells nothing of is found by its key from SQL');
$d->stop;
says('the daemon stopped', 0, qr/SQL says so, of the row as it is now: walrankd is not running\n\z/, @conf, @db, 'explain', 'item', '3');
$source->stop;
done_testing();
