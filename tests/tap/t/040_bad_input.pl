# What users and disks do wrong: each case gives a message a stranger can act on, and loses nothing.
use strict;
use warnings;
use Walrank;
use JSON::XS;
use PostgreSQL::Test::Utils;
use Test::More;

my $source = source('source', allow => 1);
my $search = source('search');

$source->safe_psql('postgres', q{
	CREATE TABLE item (id bigint PRIMARY KEY, price int, name text, att jsonb);
	INSERT INTO item SELECT i, i, 'n' || i, jsonb_build_object('views', jsonb_build_array(i, '2026-01-01T00:00:00.000000Z')) FROM generate_series(1, 50) i;
});
my $d = daemon_new($source, postgres => $search);
$d->init;
$source->safe_psql('postgres', q{SELECT walrank.watch('item', 'att');
	INSERT INTO walrank.ranking (name, relation, definition) VALUES ('home', 'public.item', E'term p weight 1 price missing 0\nterm v weight 1 views missing 0')});
$d->create;
$d->catch_up;

sub sink_equals_sql
{
	my ($when) = @_;
	$d->catch_up;
	is( $search->safe_psql('postgres', "SELECT id, score FROM walrank_out.score_item ORDER BY id"),
		$source->safe_psql('postgres', "SELECT id, (coalesce(price, 0) + CASE WHEN jsonb_typeof(att) = 'object' AND jsonb_typeof(coalesce(att #> '{views,0}', att -> 'views')) = 'number' AND abs((coalesce(att #> '{views,0}', att -> 'views'))::numeric) < 1e300 THEN coalesce(att #> '{views,0}', att -> 'views')::numeric ELSE 0 END)::float8 FROM item ORDER BY id"),
		"$when: nothing lost");
	return;
}
sink_equals_sql('at first');

# ---- data ---------------------------------------------------------------------------------------------------------
sub quarantined { my $s = $d->status; return $s->{scorer}{quarantined} // 0 }
my $before = quarantined();
$source->safe_psql('postgres', q{UPDATE item SET att = NULL WHERE id = 1});
sink_equals_sql('NULL map');
is(quarantined(), $before, 'a NULL map is a map without attributes, no error');
$source->safe_psql('postgres', q{UPDATE item SET att = '[1, 2]' WHERE id = 2; UPDATE item SET att = '17' WHERE id = 3});
sink_equals_sql('map that is not an object');
is(quarantined(), $before + 2, 'a map that is not an object is quarantined');
$source->safe_psql('postgres', q{UPDATE item SET att = '{"views": 77}' WHERE id = 4});
sink_equals_sql('value without time');
is(quarantined(), $before + 2, 'a value without time is a bare value');
$source->safe_psql('postgres', q{UPDATE item SET att = '{"views": [78, "yesterday evening"]}' WHERE id = 5});
sink_equals_sql('time that does not parse');
is(quarantined(), $before + 3, 'a time that does not parse is quarantined');
$before = quarantined();
$source->safe_psql('postgres', q{UPDATE item SET att = '{"views": [1e131000, "2026-01-01T00:00:00.000000Z"], "deep": {"a": [1e131000]}}' WHERE id = 6});
sink_equals_sql('1e131000');
my ($huge) = grep { /1e\+?131000/ } $d->lines;
ok($huge, '1e131000 keeps its digits in the file sink') and cmp_ok(length $huge, '<', 2000, 'and stays short');
$source->safe_psql('postgres', q{UPDATE item SET att = '{"views": ["many", "2026-01-01T00:00:00.000000Z"]}' WHERE id = 7});
sink_equals_sql('attribute of the wrong type');

# ---- text that is not UTF-8 ------------------------------------------------------------------------------------------
{
	my $ascii = source('ascii', initdb => [ '--encoding=SQL_ASCII', '--locale=C' ], allow => 1);
	$ascii->safe_psql('postgres', q{CREATE TABLE t (id int PRIMARY KEY, name text); INSERT INTO t VALUES (1, E'\\xff\\xfe'), (2, 'fine')});
	my $e = daemon_new($ascii, name => 'ascii');
	$e->init;
	$ascii->safe_psql('postgres', q{SELECT walrank.watch('t'); INSERT INTO walrank.ranking (name, relation, definition) VALUES ('r', 'public.t', 'term i weight 1 id')});
	$e->create;
	$ascii->safe_psql('postgres', q{INSERT INTO t VALUES (3, E'caf\\xe9'), (4, 'also fine')});
	$e->catch_up;
	my %name = map { my $l = decode_json($_); $l->{kind} eq 'change' ? ($l->{key}{id} => $l->{attributes}{name}) : () } $e->lines;
	is_deeply(\%name, { 1 => '\\xfffe', 2 => 'fine', 3 => '\\x636166e9', 4 => 'also fine' }, 'text that is not UTF-8 arrives as bytes, its neighbours as text');
	is($e->stop, 0, 'ended');
}

# ---- rankings -----------------------------------------------------------------------------------------------------------
{
	my ($rc, $out, $err) = $source->psql('postgres', q{INSERT INTO walrank.ranking (name, relation, definition) VALUES ('bad', 'public.item', E'term p weight 1 price\nterm v weight 1 logg1p(views)')});
	isnt($rc, 0, 'unknown ranking function is refused');
	like($err, qr/line 2, column 17/, 'with line and column');
	like($err, qr/log1p/, 'and the nearest name');
	spew("$d->{dir}/bad.rank", "term v weight 1 logg1p(views)\n");
	my $tool = Walrank::Daemon::bin('walrank');
	IPC::Run::run([ $tool, 'rules', 'check', "$d->{dir}/bad.rank" ], '<', \undef, '>', \$out, '2>', \$err);
	is($? >> 8, 2, 'walrank rules check: exit code 2');
	like("$out$err", qr/bad\.rank:1:17: .*logg1p/, 'walrank rules check: file, line and column');
}

# ---- the plugin's options ---------------------------------------------------------------------------------------------------
{
	my ($rc, $out, $err) = $source->psql('postgres', q{SELECT pg_create_logical_replication_slot('peek', 'walrank'); SELECT count(*) FROM pg_logical_slot_peek_changes('peek', NULL, NULL, 'formt', 'json')});
	isnt($rc, 0, 'unknown plugin option is refused');
	like($err, qr/formt.*HINT:.*format/s, 'with a hint naming the right one');
	$source->safe_psql('postgres', q{SELECT pg_drop_replication_slot('peek')});
}

# ---- configuration ----------------------------------------------------------------------------------------------------------------
my $good = slurp($d->{conf});
is($d->stop, 0, 'stopped');
for my $case (
	[ "$good\n[sink x]\ntype = fil\n", qr/walrank\.conf:\d+: .*fil.*file/s, 'unknown sink type' ],
	[ ($good =~ s/slot = /slott = /r), qr/walrank\.conf:\d+: .*slott.*slot/s, 'unknown key' ],
	[ "$good\nthis is no line\n", qr/walrank\.conf:\d+/, 'unreadable line' ],
	[ "$good\n[journal]\nsegment_size = many\n", qr/walrank\.conf:\d+: .*segment_size.*many/s, 'bad value' ])
{
	spew($d->{conf}, $case->[0]);
	my ($rc, $log) = $d->fails;
	is($rc, 2, "$case->[2]: exit code 2");
	like($log, $case->[1], "$case->[2]: file, line and what would be right");
}
spew($d->{conf}, $good);

# ---- two daemons, another database --------------------------------------------------------------------------------------------------------
$d->start;
$d->ready;
{
	my $twin = bless { %$d, pid => undef, log => "$d->{log}.twin" }, 'Walrank::Daemon';
	my ($rc, $log) = $twin->fails;
	is($rc, 1, 'a second daemon on the same state directory stops');
	like($log, qr/state.*(lock|another walrankd|in use)/is, 'and says why');
}
$source->safe_psql('postgres', 'CREATE DATABASE other');
is($d->stop, 0, 'stopped');
spew($d->{conf}, $good =~ s/dbname=postgres user=walrank_daemon/dbname=other user=walrank_daemon/r);
{
	my ($rc, $log) = $d->fails;
	isnt($rc, 0, 'slot of another database is refused');
	like($log, qr/C1/, 'rule C1 is named');
	like($log, qr/HINT/, 'with what to do');
}
spew($d->{conf}, $good);
$d->start;
$d->ready;
sink_equals_sql('after refusals');

# ---- journal --------------------------------------------------------------------------------------------------------------------------------
$d->kill9;
my ($segment) = reverse sort glob "$d->{state}/journal/*.seg";
{
	open my $fh, '>>:raw', $segment or die;
	print $fh "\x57\x4c\x00\x01" . ('torn' x 20);
	close $fh;
}
$source->safe_psql('postgres', 'UPDATE item SET price = price + 1');
$d->start;
$d->ready;
sink_equals_sql('torn tail');
is($d->stop, 0, 'stopped');

my $saved = slurp($segment);
{
	my $broken = $saved;
	my $middle = int(length($broken) / 2);
	substr($broken, $middle, 1) = chr(ord(substr($broken, $middle, 1)) ^ 0x10);
	spew($segment, $broken);
	my ($out, $err) = ('', '');
	IPC::Run::run([ Walrank::Daemon::bin('walrank'), '--config', $d->{conf}, 'journal', 'verify' ], '<', \undef, '>', \$out, '2>', \$err);
	is($? >> 8, 3, 'walrank journal verify: exit code 3 on a flipped bit');
	like("$out$err", qr/segment.*offset/s, 'and says where');
	my ($rc, $log) = $d->fails;
	isnt($rc, 0, 'a flipped bit in the middle of the journal is refused');
	like($log, qr/segment .*offset/s, 'segment and offset are named');
	like($log, qr/HINT/, 'with what to do');
	spew($segment, $saved);
	chmod 0600, $segment;
}
$d->start;
$d->ready;
sink_equals_sql('after the bit was flipped back');

# ---- store removed, and the long way round ---------------------------------------------------------------------------------------------------
is($d->stop, 0, 'stopped');
rename "$d->{state}/store", "$d->{dir}/store-gone" or die;
{
	my ($rc, $log) = $d->fails;
	isnt($rc, 0, 'a removed store is refused, never started empty');
	like($log, qr/HINT.*walrank rebuild/s, 'the message says what works');
}
$source->safe_psql('postgres', 'UPDATE item SET price = price + 1');
{
	my $tool = Walrank::Daemon::bin('walrank');
	my @super = ('-h', $source->host, '-p', $source->port, '-d', 'postgres', '-U', scalar getpwuid $<);
	run_ok('walrank teardown --dry-run', $tool, @super, '--config', $d->{conf}, 'teardown', '--dry-run');
	is($source->safe_psql('postgres', 'SELECT count(*) FROM pg_replication_slots'), 1, 'a dry run removes nothing');
	run_ok('walrank teardown', $tool, @super, '--config', $d->{conf}, 'teardown');
	is($source->safe_psql('postgres', 'SELECT count(*) FROM pg_replication_slots'), 0, 'teardown drops the slot');
	rename $d->{state}, "$d->{dir}/state-gone" or die;
	unlink glob "$d->{ndjson}*";
	$search->safe_psql('postgres', 'DROP SCHEMA walrank_out CASCADE');
	$d->init;
	$source->safe_psql('postgres', q{SELECT walrank.watch('item', 'att');
		INSERT INTO walrank.ranking (name, relation, definition) VALUES ('home', 'public.item', E'term p weight 1 price missing 0\nterm v weight 1 views missing 0')});
	$d->create;
	sink_equals_sql('after teardown, init and --create');
}
is($d->stop, 0, 'ended');
done_testing();
