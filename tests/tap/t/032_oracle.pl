# walrank.score() on rows of a table gives what the oracle of tests/rules does, to the bit: random definitions, random
# rows, times, and the rows before them.
use strict;
use warnings;
use Walrank;
use Test::More;

my $definitions = { check => 100, full => 1000, torture => 10_000 }->{ $ENV{WALRANK_TIER} // 'check' };
my $items = 20;
my $source = source('oracle');
$source->safe_psql('postgres', 'CREATE EXTENSION walrank; SELECT walrank.setup()');

my $sql = `$ENV{WALRANK_TOP}/build/rules/oracle sql $definitions $items 1`;
is($?, 0, 'the oracle has spoken');
my ($rc, $out, $err) = $source->psql('postgres', $sql, on_error_die => 0, on_error_stop => 1);
is($rc, 0, "$definitions rankings, $items rows each") or diag($err);
my ($asked, $scores, $different) = $out =~ /^(\d+)\|(\d+)\|(\d+)$/m;
is($asked, $definitions * $items, 'a score was asked for of each');
cmp_ok($scores, '>', $asked / 4, 'many have one');
is($different, 0, 'all of them are as the oracle says, to the bit')
	or diag($source->safe_psql('postgres', 'SET client_min_messages = error; SELECT e.*, walrank.score(e.ranking, i, e.at, w), r.definition FROM oracle.expected e JOIN walrank.ranking r ON r.name = e.ranking JOIN oracle.item i USING (id) LEFT JOIN oracle.item w ON e.remembers AND w.id = e.id + 1 WHERE e.score IS DISTINCT FROM walrank.score(e.ranking, i, e.at, w) ORDER BY length(r.definition) LIMIT 2'));
$source->stop;
done_testing();
