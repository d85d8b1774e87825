# walrank history: what happened to an item, in order, with what it was before; by any kind of key; as far back as the feed
# reaches, which it says.
use strict;
use warnings;
use Walrank;
use IPC::Run;
use JSON::XS;
use PostgreSQL::Test::Utils;
use Test::More;

my $tool = Walrank::Daemon::bin('walrank');
my $source = source('source');
my $d = daemon_new($source, conf => "[journal]\nsegment_size = 64kB\n[feed]\nsegment_size = 64kB\nretain = 0\n[store]\ncommit_time = 50ms\nsnapshot_interval = 1h\n");
my @conf = ('--config', $d->{conf});
$SIG{__DIE__} = sub { diag(@_) unless $^S };

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

# Lines as JSON, the one about the beginning apart.
sub history
{
	my ($rc, $out, $err) = tool(@conf, '--json', 'history', @_);
	my @lines = map { decode_json($_) } split /\n/, $out;
	is($rc, 0, "history @_") or diag("$out$err");
	my $begin = shift @lines;
	is($begin->{kind}, 'begin', 'begins with where the feed begins');
	return ($begin, @lines);
}

sql(q{CREATE TABLE item (id bigint PRIMARY KEY, title text, price numeric, att jsonb);
	CREATE TABLE pair (shop int, sku text, v int, PRIMARY KEY (shop, sku));
	CREATE TABLE named (code text PRIMARY KEY, v float8);
	INSERT INTO item VALUES (17, 'lamp', 12.50, '{"stock": [3, "2026-01-01T00:00:00.000000Z"]}'), (18, 'desk', 99, '{}');
	INSERT INTO pair VALUES (1, 'x', 1), (1, 'y "z"', 2);
	INSERT INTO named VALUES ('17', 1), ('a"b', 2)});
$d->init;
sql(q{SELECT walrank.watch('item', map => 'att'), walrank.watch('pair'), walrank.watch('named');
	INSERT INTO walrank.ranking (name, relation, definition) VALUES ('cheap', 'public.item', E'where price < 100\nterm p weight -1 price'), ('stocked', 'public.item', 'term s weight 2 stock'), ('pairs', 'public.pair', 'term v weight 1 v')});
$d->create;
$d->catch_up;

# ---- one item's life ----------------------------------------------------------------------------------------
my $first = sql('SELECT pg_current_wal_insert_lsn()');
my $xid = sql(q{WITH w AS (UPDATE item SET price = 20, att = '{"stock": [4, "2026-01-02T00:00:00.000000Z"], "new": 1}' WHERE id = 17 RETURNING 1) SELECT pg_current_xact_id() FROM w});
sql(q{UPDATE item SET title = 'big lamp' WHERE id = 17});
sql(q{UPDATE item SET price = 5 WHERE id = 18});
sql(q{UPDATE item SET price = 200, att = att - 'new' WHERE id = 17});
sql(q{DELETE FROM item WHERE id = 17});
sql(q{INSERT INTO item VALUES (17, 'lamp again', 1, '{}')});
$d->catch_up;

my ($begin, @h) = history('public.item', '17');
ok($begin->{complete}, 'the feed has all of it');
is_deeply([ map { $_->{kind} eq 'change' ? $_->{op} : "$_->{kind} $_->{ranking}" } @h ],
	[ 'insert', 'score cheap', 'score stocked', 'update', 'score cheap', 'score stocked', 'update', 'update', 'remove cheap', 'delete', 'remove stocked', 'insert', 'score cheap', 'score stocked' ],
	'changes, scores and removals of the item in order, and nothing of others')
  or diag explain \@h;
is($h[0]{unit}, 'backfill', 'its first row was read from the table');
is($h[3]{xid}, $xid, 'a change names its transaction');
my %of = map { $_->{name} => $_ } @{ $h[3]{changes} };
is_deeply([ map { "$_ " . encode_json($of{$_}{old} // []) . ' ' . encode_json($of{$_}{new} // []) } sort keys %of ],
	[ 'new [] 1', 'price 12.5 20', 'stock [3,"2026-01-01T00:00:00.000000Z"] [4,"2026-01-02T00:00:00.000000Z"]' ], 'attributes with what they were and what they are');
is_deeply([ map { [ $_->{name}, $_->{old}, $_->{new} ] } @{ $h[6]{changes} } ], [ [ 'title', 'lamp', 'big lamp' ] ], 'what was left alone is not told');
is_deeply([ map { [ $_->{name}, exists $_->{new} ? 1 : 0 ] } sort { $a->{name} cmp $b->{name} } @{ $h[7]{changes} } ], [ [ 'new', 0 ], [ 'price', 1 ] ], 'a removed key of the map has no new value');
is_deeply([ map { $_->{old} } grep { $_->{kind} eq 'score' && $_->{ranking} eq 'cheap' } @h ], [ undef, -12.5, undef ], 'scores with what they were');
# positions and times are those of the feed's own lines
my %line = map { my $l = decode_json($_); ($l->{pos} => $l) } $d->lines;
is_deeply([ map { [ @$_{qw(pos lsn ts)} ] } @h ], [ map { [ @{ $line{ $_->{pos} } }{qw(pos lsn ts)} ] } @h ], 'position, LSN and time are those of the feed');

my $human = says('for people', 0, qr/xid $xid  update\n    price: 12\.50? -> 20\n    new: - -> 1\n    stock: \[3, ?\".*\"\] -> \[4,/, @conf, 'history', 'item', '17');
like($human, qr/cheap: score -12\.5(?:0)? -> -20(?:\.0)?, version 1\n/, 'scores');
like($human, qr/cheap: left the ranking\n/, 'removals');
like($human, qr/read from the table: insert\n/, 'and why');
unlike($human, qr/desk/, 'of this item alone');

# ---- which lines ------------------------------------------------------------------------------------------------
(undef, @h) = history('item', '17', '--ranking', 'stocked');
ok(!(grep { defined $_->{ranking} && $_->{ranking} ne 'stocked' } @h) && (grep { $_->{kind} eq 'score' } @h), '--ranking: scores of that one alone');
(undef, @h) = history('item', '17', '--since', $first);
is($h[0]{op}, 'update', '--since LSN: what ended later');
ok(exists $h[0]{changes}[0]{old}, 'with what it was before');
my ($seq) = split /\./, $h[2]{pos};
(undef, @h) = history('item', '17', '--since', $seq);
is((split /\./, $h[0]{pos})[0], $seq, '--since SEQ: from that unit on');
(undef, @h) = history('item', '17', '--since', '2999-01-01');
is(scalar @h, 0, '--since a time to come: nothing');
(undef, my @last) = history('item', '17', '--limit', '3');
(undef, @h) = history('item', '17');
is_deeply(\@last, [ @h[ -3 .. -1 ] ], '--limit: the last ones, in order');
says('--limit for people', 0, qr/^\d+ earlier ones are not shown\n/m, @conf, 'history', 'item', '17', '--limit', '2');

# ---- keys -----------------------------------------------------------------------------------------------------------
sub one { my ($name, @args) = @_; my (undef, @lines) = history(@args); my @c = grep { $_->{kind} eq 'change' } @lines; is(scalar @c, 1, $name); return }
one('a key of two columns', 'pair', '{"shop":1,"sku":"x"}');
one('in any order, with quotes', 'public.pair', '{"sku":"y \"z\"", "shop": 1}');
one('a text that looks like a number', 'named', '17');
one('a text with a quote', 'named', 'a"b');
says('an item that is not there', 3, qr/tells nothing of this item/, @conf, 'history', 'item', '4711');
says('a table that is not there', 2, qr/knows no table "nosuch"/, @conf, 'history', 'nosuch', '1');
says('no key', 2, qr/needs a table and a key/, @conf, 'history', 'item');
says('--since nonsense', 2, qr/--since needs/, @conf, 'history', 'item', '17', '--since', 'yesterday');

# ---- a column that changes its type, a key that moves, an emptied table ----------------------------------------------
sql(q{ALTER TABLE item ALTER COLUMN title TYPE varchar(1000), ADD COLUMN extra int; UPDATE item SET extra = 7 WHERE id = 18; UPDATE item SET id = 19 WHERE id = 18});
$d->catch_up;
(undef, @h) = history('item', '{"id":18}');
my @changes = grep { $_->{kind} eq 'change' } @h;
is_deeply([ map { $_->{op} } @changes ], [ 'insert', 'update', 'update', 'delete' ], 'a moved key is a delete of the old one');
is_deeply([ map { [ $_->{name}, $_->{new} ] } @{ $changes[2]{changes} } ], [ [ 'extra', 7 ] ], 'after the table was altered a change is still the change alone');
sql(q{TRUNCATE pair; INSERT INTO pair VALUES (1, 'x', 5)});
$d->catch_up;
(undef, @h) = history('pair', '{"shop":1,"sku":"x"}');
is_deeply([ map { $_->{op} // $_->{kind} } @h ], [ 'insert', 'score', 'truncate', 'remove', 'insert', 'score' ], 'an emptied table') or diag explain \@h;

# ---- a feed that does not reach back ------------------------------------------------------------------------------------
for (1 .. 30)
{
	sql("UPDATE item SET price = price + 1, title = md5('$_') || repeat('x', 50) WHERE id IN (17, 19); INSERT INTO item SELECT 1000 + i + $_ * 100, repeat(md5(i::text), 20), 1, '{}' FROM generate_series(1, 20) i");
}
$d->catch_up;
poll('the feed to be trimmed', sub {
	sql('UPDATE item SET price = price + 1 WHERE id = 19');
	IPC::Run::run([ $tool, @conf, 'rules', 'diff', '--fresh', '--ranking', 'cheap', '-' ], '<', \'term p weight 1 price', '>', \my $out, '2>', \my $err);
	return ($d->status->{feed}{first_seq} // 0) > 20;
});
sql('UPDATE item SET price = 77 WHERE id = 19');
$d->catch_up;
($begin, @h) = history('item', '19');
ok(!$begin->{complete} && $begin->{first_seq} > 20, 'says where the feed begins');
my ($unknown) = grep { $_->{kind} eq 'change' } @h;
is_deeply([ map { $_->{old_known} ? 1 : 0 } @{ $unknown->{changes} } ], [ map { 0 } @{ $unknown->{changes} } ], 'and does not make up what was before');
is_deeply([ map { [ $_->{name}, $_->{new} ] } @{ $h[-2]{changes} } ], [ [ 'price', 77 ] ], 'what came later is known');
says('for people', 0, qr/\Athe feed begins at unit \d+ \(.*\): what came before is not known\n/, @conf, 'history', 'item', '19');
$d->stop;
says('the daemon stopped', 0, qr/\Athe feed begins at unit \d+ .*price: [\d.]+ -> 77\n/s, @conf, 'history', 'item', '19');
done_testing();
