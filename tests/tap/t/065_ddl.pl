# Tables are altered under way, inside transactions as well: rows of both versions arrive as they were, and no sink stops.
use strict;
use warnings;
use Walrank;
use JSON::XS;
use PostgreSQL::Test::Utils;
use Test::More;

my $source = source('source');
my $search = source('search');
my $json = JSON::XS->new->canonical->allow_nonref;

$source->safe_psql('postgres', q{
	CREATE TABLE item (id bigint PRIMARY KEY, price int, note text);
	INSERT INTO item SELECT i, i, 'n' || i FROM generate_series(1, 20) i;
	CREATE TABLE plain (id int PRIMARY KEY, v int);
	INSERT INTO plain SELECT i, i FROM generate_series(1, 20) i;
	CREATE FUNCTION noise() RETURNS text LANGUAGE sql VOLATILE AS
		$$ SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 80) $$;
	CREATE TABLE mapped (id int PRIMARY KEY, v int, att jsonb);
	ALTER TABLE mapped ALTER att SET STORAGE EXTERNAL;
	INSERT INTO mapped SELECT i, i, jsonb_build_object('views', jsonb_build_array(i, '2026-01-01T00:00:00.000000Z'), 'noise', noise()) FROM generate_series(1, 20) i;
	CREATE TABLE typed (id int PRIMARY KEY, v int);
	INSERT INTO typed SELECT i, i FROM generate_series(1, 5) i;
});
my $d = daemon_new($source, postgres => $search);
$d->init;
$source->safe_psql('postgres', q{
	SELECT walrank.watch('item'), walrank.watch('plain'), walrank.watch('mapped', 'att'), walrank.watch('typed');
	INSERT INTO walrank.ranking (name, relation, definition) VALUES
		('item', 'public.item', 'term p weight 1 price'), ('plain', 'public.plain', 'term v weight 1 v'),
		('mapped', 'public.mapped', E'term v weight 1 v\nterm w weight 1 views missing 0'), ('typed', 'public.typed', 'term v weight 1 v');
});
$d->create;
$d->catch_up;

# The file sink replayed: what each table's rows are, and the scores.
sub replayed
{
	my (%item, %score);
	for my $line ($d->lines)
	{
		my $l = $json->decode($line);
		my $key = $l->{key} && $json->encode([ values %{ $l->{key} } ]);
		if ($l->{kind} eq 'change')
		{
			if ($l->{op} eq 'truncate') { delete $item{ $l->{relation} } }
			elsif ($l->{op} eq 'delete') { delete $item{ $l->{relation} }{$key} }
			else { $item{ $l->{relation} }{$key} = $l->{attributes} }
		}
		elsif ($l->{kind} eq 'score') { $score{ $l->{ranking} }{$key} = $l->{score} }
		elsif ($l->{kind} eq 'remove') { defined $key ? delete $score{ $l->{ranking} }{$key} : delete $score{ $l->{ranking} } }
	}
	return (\%item, \%score);
}

sub quarantined { return $d->status->{scorer}{quarantined} }

# What was altered is known, and what has to be read again for it has been.
sub settled { $d->catch_up; $d->ready; return }

# Both sinks against SQL. $expr: the score as SQL has it. Rows of the file sink are compared as a whole.
sub same
{
	my ($when, $table, $expr, $id) = @_;
	$id //= 'id';
	$d->catch_up;
	my $expected = $source->safe_psql('postgres', "SELECT $id, ($expr)::float8 FROM $table ORDER BY 1");
	is($search->safe_psql('postgres', "SELECT id, score FROM walrank_out.score_$table ORDER BY 1"), $expected, "$when: postgres sink equals SQL");
	my ($items, $scores) = replayed();
	my %want = map { my ($k, $v) = split /\|/; ("[$k]" => $v + 0) } split /\n/, $expected;
	is_deeply({ map { $_ => $scores->{$table}{$_} + 0 } keys %{ $scores->{$table} } }, \%want, "$when: scores of the file sink equal SQL");
	my %rows = map { my $r = $json->decode($_); my $k = delete $r->{$id}; my $att = delete $r->{att};
		($json->encode([$k]) => { %$r, map { $_ => ref $att->{$_} ? $att->{$_}[0] : $att->{$_} } keys %{ $att // {} } }) }
		split /\n/, $source->safe_psql('postgres', "SELECT to_jsonb(t) FROM $table t");
	my %have = %{ $items->{"public.$table"} };
	is(join("\n", map { "$_ " . $json->encode($have{$_}) } sort keys %have), join("\n", map { "$_ " . $json->encode($rows{$_}) } sort keys %rows), "$when: rows of the file sink equal SQL");
	is(join(',', map { "$_->{name} $_->{state}" } grep { $_->{state} ne 'streaming' } @{ $d->status->{sinks} }), '', "$when: no sink stopped");
	return;
}
same('at first', 'item', 'price');
my $quarantined = quarantined();
is($quarantined, 0, 'nothing is in quarantine');

# ---- one transaction, many versions -----------------------------------------------------------------
my $before = () = $d->lines;
$source->safe_psql('postgres', q{
	BEGIN;
	UPDATE item SET price = price + 100 WHERE id <= 4;
	ALTER TABLE item ADD COLUMN stock int;
	UPDATE item SET stock = 7, price = price + 1000 WHERE id BETWEEN 3 AND 6;
	INSERT INTO item VALUES (100, 1, 'new', 8);
	ALTER TABLE item DROP COLUMN note;
	UPDATE item SET price = price + 10000 WHERE id BETWEEN 5 AND 8;
	DELETE FROM item WHERE id = 20;
	INSERT INTO item VALUES (101, 2, 9);
	ALTER TABLE item ALTER price TYPE numeric(12, 2);
	UPDATE item SET price = price + 0.5 WHERE id BETWEEN 7 AND 10;
	INSERT INTO item VALUES (102, 2.25, NULL);
	COMMIT;
});
# rows nobody has touched since are as the last change left them: touch all, then compare
$d->catch_up;
{
	my @change = grep { $_->{kind} eq 'change' && $_->{relation} eq 'public.item' } map { $json->decode($_) } ($d->lines)[ $before .. $d->lines - 1 ];
	my ($first) = grep { $_->{op} eq 'update' && $_->{key}{id} == 1 } @change;
	is_deeply($first && $first->{attributes}, { price => 101, note => 'n1' }, 'a row from before the ALTER has the columns of then');
	my ($third) = grep { $_->{op} eq 'update' && $_->{key}{id} == 6 } @change;
	is_deeply($third && $third->{attributes}, { price => 1006, note => 'n6', stock => 7 }, 'a row after ADD COLUMN has the new column');
	my ($new) = grep { $_->{op} eq 'insert' && $_->{key}{id} == 101 } @change;
	is_deeply($new && $new->{attributes}, { price => 2, stock => 9 }, 'a row after DROP COLUMN lacks the old one');
	my ($typed) = grep { $_->{op} eq 'insert' && $_->{key}{id} == 102 } @change;
	is($typed && $typed->{attributes}{price}, 2.25, 'a row after ALTER TYPE has the new type');
}
$source->safe_psql('postgres', 'UPDATE item SET price = price + 1');
same('ADD, DROP and ALTER TYPE in one transaction', 'item', 'price');

# ---- more versions than a reader keeps -----------------------------------------------------------------
$source->safe_psql('postgres', join ";\n", 'BEGIN', (map { ("ALTER TABLE item ADD COLUMN c$_ int", "UPDATE item SET c$_ = $_, price = price + $_ WHERE id % 3 = $_ % 3") } 1 .. 12), 'COMMIT');
$source->safe_psql('postgres', 'UPDATE item SET price = price + 1');
same('twelve ALTERs in one transaction', 'item', 'price');

# ---- a default that no row carries ------------------------------------------------------------------------
$source->safe_psql('postgres', q{ALTER TABLE plain ADD COLUMN bonus int DEFAULT 5});
$source->safe_psql('postgres', q{UPDATE plain SET v = v + 1 WHERE id <= 10; INSERT INTO plain VALUES (21, 21)});
settled();
same('a column with a default, updated under identity default', 'plain', 'v');
is(quarantined(), $quarantined, 'and nothing is in quarantine');
$source->safe_psql('postgres', q{UPDATE walrank.ranking SET definition = E'term v weight 1 v\nterm b weight 10 bonus' WHERE name = 'plain'});
poll('scores with the new column', sub { $search->safe_psql('postgres', "SELECT sum(score) FROM walrank_out.score_plain") eq $source->safe_psql('postgres', 'SELECT sum(v + 10 * bonus) FROM plain') });
same('a ranking that reads the new column', 'plain', 'v + 10 * bonus');

# ---- renames ------------------------------------------------------------------------------------------------
$source->safe_psql('postgres', q{
	BEGIN; UPDATE plain SET v = v + 1 WHERE id <= 5; ALTER TABLE plain RENAME bonus TO extra; UPDATE plain SET extra = extra + 1 WHERE id > 15;
	UPDATE walrank.ranking SET definition = E'term v weight 1 v\nterm b weight 10 extra' WHERE name = 'plain'; COMMIT});
settled();
poll('scores after the rename', sub { $search->safe_psql('postgres', "SELECT sum(score) FROM walrank_out.score_plain") eq $source->safe_psql('postgres', 'SELECT sum(v + 10 * extra) FROM plain') });
same('a column renamed inside a transaction', 'plain', 'v + 10 * extra');
is(quarantined(), ++$quarantined, 'the definition that read the old name is in quarantine, once, and no row');

# ---- maps that stay where they are -------------------------------------------------------------------------------
$source->safe_psql('postgres', q{
	BEGIN; UPDATE mapped SET v = v + 1; ALTER TABLE mapped ADD COLUMN w int; UPDATE mapped SET v = v + 1, w = 3; COMMIT;
	ALTER TABLE mapped ADD COLUMN x int DEFAULT 4; UPDATE mapped SET v = v + 1 WHERE id > 5;
	BEGIN; ALTER TABLE mapped DROP COLUMN w; UPDATE mapped SET v = v + 1 WHERE id > 10; COMMIT;
	UPDATE mapped SET x = x + 1;
});
settled();
same('a map in TOAST across ALTERs', 'mapped', "v + (att -> 'views' ->> 0)::int");
is(quarantined(), $quarantined, 'still nothing in quarantine');

# ---- the key's type ------------------------------------------------------------------------------------------------
is($d->stop, 0, 'stopped');
$source->safe_psql('postgres', q{
	UPDATE typed SET v = v + 1;
	BEGIN; UPDATE typed SET v = v + 1 WHERE id < 3; ALTER TABLE typed ALTER id TYPE bigint; UPDATE typed SET v = v + 1 WHERE id > 2; INSERT INTO typed VALUES (3000000000, 1); COMMIT});
$source->safe_psql('postgres', q{UPDATE item SET price = price + 1});
$d->start;
my $sink;
poll('the refusal', sub { my $s = $d->status or return 0; ($sink) = grep { $_->{name} eq 'table' && $_->{state} eq 'stopped' } @{ $s->{sinks} } });
my $log = slurp($d->{log});
like($log, qr/table walrank_out\.score_typed has another key than public\.typed has now/, 'a key of another type is refused by the postgres sink');
my ($cure) = $log =~ /Alter its key columns to "id" (\w+) and restart/;
is($cure, 'int8', 'and the hint says to what') or BAIL_OUT(substr $log, -2000);
ok(!$d->ended, 'the daemon runs on');
is($d->stop, 0, 'stopped');
$search->safe_psql('postgres', "ALTER TABLE walrank_out.score_typed ALTER id TYPE $cure");
$d->start;
$d->ready;
same('after the cure, rows from before included', 'typed', 'v');
same('and the others', 'item', 'price');
is(quarantined(), 0, 'nothing in quarantine since the restart');
is($d->stop, 0, 'ended');
done_testing();
