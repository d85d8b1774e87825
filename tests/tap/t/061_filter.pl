# Row filters and column lists on the daemon's publication: items enter and leave, backfills read what the stream
# sends, another filter makes the table be read again, and a filter that fails stops nothing.
use strict;
use warnings;
use Walrank;
use PostgreSQL::Test::Utils;
use Test::More;

my $source = source('source', allow => 1);
my $search = source('search');
$source->safe_psql('postgres', q{
	CREATE TABLE listed (region int, id int, v int NOT NULL, secret text, att jsonb, PRIMARY KEY (region, id));
	CREATE TABLE item (id int PRIMARY KEY, v int NOT NULL);
	ALTER TABLE item REPLICA IDENTITY FULL;
	INSERT INTO listed SELECT i % 5, i, i, 'classified', '{}' FROM generate_series(1, 3000) i;
	INSERT INTO item SELECT i, i FROM generate_series(1, 3000) i;
});
my $d = daemon_new($source, postgres => $search, conf => "[backfill]\nchunk_rows = 500\n");
$d->init;
$source->safe_psql('postgres', q{
	ALTER PUBLICATION walrank ADD TABLE ONLY listed (region, id, v, att) WHERE (region < 2), TABLE ONLY item WHERE (v > 2990 AND 100000 / (v - 9999) < 0);
	SELECT walrank.watch('listed', 'att'), walrank.watch('item');
	INSERT INTO walrank.ranking (name, relation, definition) VALUES ('listed', 'public.listed', 'term v weight 1 v'), ('item', 'public.item', 'term v weight 1 v');
});

# ---- what watch and the start refuse -----------------------------------------------------------------
sub refuses
{
	my ($sql, $why, $name) = @_;
	my ($rc, undef, $err) = $source->psql('postgres', "BEGIN; ALTER PUBLICATION walrank DROP TABLE ONLY listed; $sql; SELECT walrank.watch('listed', 'att')");
	like($err, $why, $name);
	return;
}
refuses('ALTER PUBLICATION walrank ADD TABLE ONLY listed (v, att, id)', qr/without some of its primary key.*HINT/s, 'watch: a list without some of the key is refused');
refuses('ALTER PUBLICATION walrank ADD TABLE ONLY listed (id, region)', qr/without its map column "att".*HINT/s, 'watch: a list without the map is refused');
for my $case ([ 'walrank', 'SET (publish_via_partition_root = true)', 'SET (publish_via_partition_root = false)', qr/rule C7.*under their root table/ ],
	[ 'walrank_config', 'SET TABLE ONLY walrank.watched WHERE (map IS NULL), TABLE ONLY walrank.ranking, TABLE ONLY walrank.control',
		'SET TABLE ONLY walrank.watched, TABLE ONLY walrank.ranking, TABLE ONLY walrank.control', qr/rule C7.*table of schema walrank/ ])
{
	$source->safe_psql('postgres', "ALTER PUBLICATION $case->[0] $case->[1]");
	my ($rc, $log) = $d->fails('--create');
	isnt($rc, 0, "a start with $case->[0] $case->[1] is refused");
	like($log, $case->[3], 'and says why');
	$source->safe_psql('postgres', "ALTER PUBLICATION $case->[0] $case->[2]");
}

$d->create;
my %where = (listed => 'region < 2', item => 'v > 2990');
my %key = (listed => 'region, id', item => 'id');
sub agree
{
	my ($what) = @_;
	$d->catch_up;
	for my $t (qw(listed item))
	{
		is( $search->safe_psql('postgres', "SELECT $key{$t}, score FROM walrank_out.score_$t ORDER BY $key{$t}"),
			$source->safe_psql('postgres', "SELECT $key{$t}, v::float8 FROM $t WHERE $where{$t} ORDER BY $key{$t}"), "$what: $t is what its filter lets through");
	}
	return;
}
sub in_doubt { my $s = $d->status or return 'unknown'; return join ',', sort map { $_->{relation} } grep { $_->{lost} || $_->{backfill} ne 'filled' } @{ $s->{tables} } }

agree('backfill');

# ---- items enter and leave ------------------------------------------------------------------------------
$source->safe_psql('postgres', q{
	UPDATE listed SET region = 4 WHERE region = 0 AND id < 100;
	UPDATE listed SET region = 1 WHERE region = 3 AND id < 200;
	UPDATE listed SET region = 0 WHERE region = 1 AND id < 300;
	UPDATE listed SET v = v + 1;
	UPDATE listed SET secret = 'still classified';
	DELETE FROM listed WHERE id % 7 = 0;
	UPDATE item SET v = 3001 WHERE id < 10;
	UPDATE item SET v = 1 WHERE id > 2995;
	UPDATE item SET id = id + 10000, v = 4000 WHERE id = 100;
	DELETE FROM item WHERE id = 5;
	INSERT INTO item VALUES (20001, 2990), (20002, 2991);
	INSERT INTO listed VALUES (1, 20001, 5, 'classified'), (2, 20002, 5, 'classified')});
agree('changes');
unlike(slurp($d->{ndjson}), qr/classified|secret/, 'what the list leaves out reaches no sink');

# ---- a filter that fails --------------------------------------------------------------------------------
sub quarantined { my $s = $d->status; return $s->{scorer}{quarantined} // 0 }
my $before = quarantined();
my $acknowledged = Walrank::Daemon::lsn_number($d->status->{source}{acknowledged});
$source->safe_psql('postgres', 'INSERT INTO item VALUES (30001, 9999), (30002, 5000); UPDATE item SET v = 9999 WHERE id = 2991');
$d->catch_up;
poll('acknowledging', sub { Walrank::Daemon::lsn_number($d->status->{source}{acknowledged}) > $acknowledged });
is(quarantined(), $before + 2, 'a filter that fails: quarantined, and the slot goes on');
is($search->safe_psql('postgres', 'SELECT id FROM walrank_out.score_item WHERE id IN (30001, 30002)'), '30002', 'the other row arrived');
# the same rows, read: what is known of them stays
run_ok('backfill start', Walrank::Daemon::bin('walrank'), '--config', $d->{conf}, 'backfill', 'start', 'public.item');
poll('the rows that fail are read', sub { quarantined() == $before + 4 });
poll('all is read', sub { in_doubt() eq '' });
$d->catch_up;
is($search->safe_psql('postgres', 'SELECT id, score FROM walrank_out.score_item WHERE id IN (2991, 30001, 30002) ORDER BY id'), "2991|2991\n30002|5000", 'a backfill over rows whose filter fails keeps what is known');
$source->safe_psql('postgres', 'UPDATE item SET v = 1 WHERE v = 9999; UPDATE item SET v = 2 WHERE v = 1');
# the row that failed is known as before, until the table is read again
$where{item} = 'v > 2995';

# ---- another filter, another list -------------------------------------------------------------------------
sub selects
{
	my ($what, @sql) = @_;
	$source->safe_psql('postgres', "BEGIN; ALTER PUBLICATION walrank DROP TABLE ONLY listed, ONLY item; ALTER PUBLICATION walrank ADD TABLE ONLY $_[1], TABLE ONLY $_[2]; COMMIT");
	# the stream says so with the next change that is sent
	$source->safe_psql('postgres', 'UPDATE item SET v = v + 1 WHERE id = 30002; UPDATE listed SET v = v + 1 WHERE id = 20001');
	$d->catch_up;
	poll("$what: read again", sub { in_doubt() eq '' }, 90);
	agree($what);
	is($d->status->{status}, 'green', "$what: green");
	return;
}
$where{listed} = 'region > 0';
selects('another filter', 'listed (region, id, v, att) WHERE (region > 0)', 'item WHERE (v > 2995)');
$where{listed} = $where{item} = 'true';
selects('no filter', 'listed', 'item');
like(slurp($d->{ndjson}), qr/"secret":"still classified"/, 'a column that is listed again is read');
$where{item} = 'id % 2 = 0';
selects('a filter', 'listed', 'item WHERE (id % 2 = 0)');

run_ok('sink verify: no difference', Walrank::Daemon::bin('walrank'), '--config', $d->{conf}, 'sink', 'verify', 'table');
$d->kill9;
$d->start;
$d->ready;
agree('after kill -9');

# ---- a table that no publication has any more ------------------------------------------------------------
$source->safe_psql('postgres', 'ALTER PUBLICATION walrank DROP TABLE ONLY item');
my ($rc, $out, $err) = $source->psql('postgres', q{SELECT walrank.describe('item', '{walrank,walrank_config}')});
like($err, qr/none of the publications has table "item"/, 'describe: a table that is not published is an error');
($rc, $out, $err) = $source->psql('postgres', q{SELECT walrank.encode(i, 1000, '{walrank,absent}') FROM item i});
like($err, qr/none of the publications has table "item"/, 'encode: so is its row');
is($d->stop, 0, 'ended');
done_testing();
