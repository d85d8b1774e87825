# From an empty directory to rescored items: init, --create, the first backfill, live changes, every kind of key, both sinks.
use strict;
use warnings;
use Walrank;
use JSON::XS;
use PostgreSQL::Test::Utils;
use Test::More;

my $source = source('source');
my $search = source('search');

$source->safe_psql('postgres', q{
	CREATE TABLE by_bigint (id bigint PRIMARY KEY, v int);
	CREATE TABLE by_text (code text PRIMARY KEY, v int);
	CREATE TABLE by_uuid (u uuid PRIMARY KEY, v int);
	CREATE TABLE by_two (v int, shop int, sku text, PRIMARY KEY (shop, sku));
	INSERT INTO by_bigint VALUES (1, 10), (-9223372036854775808, 20), (9223372036854775807, 30);
	INSERT INTO by_text VALUES ('a', 1), ('quote " and \ and ' || chr(10), 2), ('', 3), (repeat('long', 500) || '1', 4), (repeat('long', 500) || '2', 5);
	INSERT INTO by_uuid VALUES ('6c84fb90-12c4-11e1-840d-7b25c5ee775a', 1), ('00000000-0000-0000-0000-000000000000', 2);
	INSERT INTO by_two VALUES (1, 1, 'x'), (2, 1, 'y'), (3, 2, 'x');
});
my $d = daemon_new($source, postgres => $search);
$d->init;
my @keyed = (
	[ 'by_bigint', 'id' ], [ 'by_text', 'code' ], [ 'by_uuid', 'u' ], [ 'by_two', 'shop, sku' ]);
for (@keyed)
{
	$source->safe_psql('postgres', "SELECT walrank.watch('$_->[0]')");
	$source->safe_psql('postgres', "INSERT INTO walrank.ranking (name, relation, definition) VALUES ('$_->[0]', 'public.$_->[0]', 'term v weight 2 v')");
}
$d->create;

sub same
{
	my ($when) = @_;
	$d->catch_up;
	for (@keyed)
	{
		my ($table, $key) = @$_;
		is( $search->safe_psql('postgres', "SELECT $key, score FROM walrank_out.score_$table WHERE ranking = '$table' ORDER BY $key"),
			$source->safe_psql('postgres', "SELECT $key, (v * 2)::float8 FROM $table ORDER BY $key"),
			"$when: $table");
	}
	return;
}
same('first backfill');
is($search->safe_psql('postgres', q{SELECT string_agg(format_type(atttypid, atttypmod), ',' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'walrank_out.score_by_two'::regclass AND attnum > 0}),
	'integer,text,text,integer,integer,double precision,boolean,integer,bigint,pg_lsn,timestamp with time zone', 'the score table is typed as the key is');

$source->safe_psql('postgres', q{
	UPDATE by_bigint SET v = v + 1; UPDATE by_text SET v = v + 1; UPDATE by_uuid SET v = v + 1; UPDATE by_two SET v = v + 1;
	INSERT INTO by_bigint VALUES (5, 5); INSERT INTO by_text VALUES ('ü', 5); INSERT INTO by_two VALUES (5, 5, '5');
});
same('updates and inserts');
$source->safe_psql('postgres', q{
	DELETE FROM by_bigint WHERE id < 0; DELETE FROM by_text WHERE code = ''; DELETE FROM by_uuid WHERE v = 2; DELETE FROM by_two WHERE shop = 2;
	UPDATE by_bigint SET id = 6 WHERE id = 5; UPDATE by_text SET code = 'b' WHERE code = 'a'; UPDATE by_two SET sku = 'z' WHERE sku = 'y'; UPDATE by_uuid SET u = '11111111-1111-1111-1111-111111111111';
});
same('deletes and key changes');
$source->safe_psql('postgres', q{ TRUNCATE by_text, by_two; INSERT INTO by_two VALUES (9, 9, '9') });
same('truncate');

# the lines of the file sink are what design promises
my @lines = map { decode_json($_) } $d->lines;
my ($truncate) = grep { $_->{kind} eq 'change' && $_->{op} eq 'truncate' && $_->{relation} eq 'public.by_text' } @lines;
ok($truncate && !defined $truncate->{key}, 'truncate: one line, key null');
my ($score) = grep { $_->{kind} eq 'score' && $_->{ranking} eq 'by_two' } @lines;
is(join(',', sort keys %$score), 'at,blocked,key,kind,lsn,pin,pos,ranking,score,tier,ts,version,xid', 'members of a score line')
  or diag explain $score;
my ($moved) = grep { $_->{kind} eq 'remove' && $_->{ranking} eq 'by_bigint' && $_->{key}{id} == 5 } @lines;
ok($moved, 'a key change removes the old item');

# a table watched while streaming is backfilled by itself; unwatch takes everything away
$source->safe_psql('postgres', q{CREATE TABLE later (id int PRIMARY KEY, v int, m jsonb); INSERT INTO later SELECT i, i, '{"k": [1, "2026-01-01T00:00:00.000000Z"]}' FROM generate_series(1, 3000) i});
$source->safe_psql('postgres', q{SELECT walrank.watch('later', 'm'); INSERT INTO walrank.ranking (name, relation, definition) VALUES ('later', 'public.later', 'term v weight 1 v + k')});
poll('backfill of a table watched later', sub { $search->psql('postgres', 'SELECT 1 FROM walrank_out.score_later HAVING count(*) = 3000') == 0
	&& $search->safe_psql('postgres', "SELECT count(*), sum(score) FROM walrank_out.score_later WHERE ranking = 'later'") eq '3000|4504500' });
pass('a table watched later is backfilled');

# rankings live: edited, disabled, enabled, dropped
$source->safe_psql('postgres', q{UPDATE walrank.ranking SET definition = 'term v weight 1 v * 2' WHERE name = 'later'});
poll('rescoring after an edit', sub { $search->safe_psql('postgres', "SELECT count(*), sum(score), max(version) FROM walrank_out.score_later") eq '3000|9003000|2' });
pass('an edited ranking rescores its items');
$source->safe_psql('postgres', q{UPDATE walrank.ranking SET enabled = false WHERE name = 'later'});
poll('removal after disable', sub { $search->safe_psql('postgres', "SELECT count(*) FROM walrank_out.score_later") == 0 });
$source->safe_psql('postgres', q{UPDATE walrank.ranking SET enabled = true WHERE name = 'later'});
poll('scores after enable', sub { $search->safe_psql('postgres', "SELECT count(*) FROM walrank_out.score_later") == 3000 });
$source->safe_psql('postgres', q{INSERT INTO walrank.ranking (name, relation, definition) VALUES ('second', 'public.later', 'where v > 2990
term v weight 1 v')});
poll('a second ranking', sub { $search->safe_psql('postgres', "SELECT count(*) FROM walrank_out.score_later WHERE ranking = 'second'") == 10 });
$source->safe_psql('postgres', q{DELETE FROM walrank.ranking WHERE name = 'later'});
poll('removal after drop', sub { $search->safe_psql('postgres', "SELECT string_agg(DISTINCT ranking, ',') FROM walrank_out.score_later") eq 'second' });
$source->safe_psql('postgres', q{SELECT walrank.unwatch('later')});
poll('removal after unwatch', sub { $search->safe_psql('postgres', "SELECT count(*) FROM walrank_out.score_later") == 0 });
pass('disable, enable, drop and unwatch do what they say');
same('after all that');

is($d->stop, 0, 'ends with 0 after TERM');
$source->safe_psql('postgres', 'UPDATE by_bigint SET v = v + 100');
$d->start;
$d->ready;
same('changes made while stopped');
is($d->signal('INT'), 0, 'ends with 0 after INT');
done_testing();
