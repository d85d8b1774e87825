# B2: a policy that hides rows from the daemon is an error of the backfill, not a hole in what is ranked.
use strict;
use warnings;
use Walrank;
use PostgreSQL::Test::Utils;
use Test::More;

my $source = source('source');
$source->safe_psql('postgres', q{CREATE TABLE item (id bigint PRIMARY KEY, v int); INSERT INTO item SELECT i, i FROM generate_series(1, 10) i});
my $d = daemon_new($source);
$d->init;
$source->safe_psql('postgres', q{
	CREATE POLICY half ON item FOR SELECT USING (id <= 5);
	ALTER TABLE item ENABLE ROW LEVEL SECURITY;
	SELECT walrank.watch('item');
	INSERT INTO walrank.ranking (name, relation, definition) VALUES ('r', 'public.item', 'term v weight 1 v')});

sub scores { my %seen; $seen{$_} = 1 for slurp($d->{ndjson}) =~ /"kind":"score".*?"key":\{"id":(\d+)\}/g; return join ' ', sort { $a <=> $b } keys %seen }

$d->start('--create');
poll('the log to name the policy', sub { slurp($d->{log}) =~ /row-level security policy for table "item"/ });
my ($item) = grep { $_->{relation} eq 'public.item' } @{ $d->status->{tables} };
ok($item, 'the table is there');
isnt($item->{backfill}, 'filled', 'and not filled');
is(scores(), '', 'and nothing of it is ranked');
$source->safe_psql('postgres', 'ALTER TABLE item DISABLE ROW LEVEL SECURITY');
$d->ready;
poll('all of it to be ranked', sub { scores() eq join ' ', 1 .. 10 });
is(scores(), join(' ', 1 .. 10), 'without the policy all of it is');
is($d->stop, 0, 'stopped');
done_testing();
