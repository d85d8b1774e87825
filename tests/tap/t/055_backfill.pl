# A table that cannot be read holds up no other, is named by a red status as long as that lasts, and is filled when it can be;
# a value too large for the stream is as large for the backfill.
use strict;
use warnings;
use Walrank;
use PostgreSQL::Test::Utils;
use Test::More;

my $source = source('source');
my $search = source('search');
my @tables = qw(aaa mmm zzz);
$source->safe_psql('postgres', join '', map { "CREATE TABLE $_ (id int PRIMARY KEY, v int, t text); INSERT INTO $_ SELECT i, i FROM generate_series(1, 100) i;" } @tables);
my $d = daemon_new($source, postgres => $search, conf => "max_value_bytes = 1kB\n");
$d->init;
for my $t (@tables)
{
	$source->safe_psql('postgres', "SELECT walrank.watch('$t'); INSERT INTO walrank.ranking (name, relation, definition) VALUES ('$t', 'public.$t', 'term v weight 1 v')");
}

sub state_of
{
	my ($table) = @_;
	my $s = $d->status or return '';
	my ($t) = grep { $_->{relation} eq "public.$table" } @{ $s->{tables} // [] };
	return $t ? $t->{backfill} : '';
}
sub red { my $s = $d->status // {}; return join "\n", @{ $s->{red} // [] } }

# ---- the first of them may not be read -----------------------------------------------------------
$source->safe_psql('postgres', 'REVOKE SELECT ON aaa FROM walrank_reader');
$d->start('--create');
poll('the tables after it', sub { state_of('mmm') eq 'filled' && state_of('zzz') eq 'filled' });
pass('one table that cannot be read holds up no other');
isnt(state_of('aaa'), 'filled', 'it is not filled itself');
like(red(), qr/^table public\.aaa cannot be read: .*permission denied/m, 'red names the table and why');
is($d->status->{status}, 'red', 'the status is red');
unlike(red(), qr/public\.(mmm|zzz)/, 'and names no other');
$source->safe_psql('postgres', q{CREATE TABLE bbb (id int PRIMARY KEY, v int); INSERT INTO bbb VALUES (1, 1); SELECT walrank.watch('bbb')});
poll('a table watched later', sub { state_of('bbb') eq 'filled' });
pass('a table watched later is not held up either');
poll('attempts to go on', sub { $d->status->{backfill}{failed} >= 2 });
my $said = () = slurp($d->{log}) =~ /permission denied for table aaa/g;
is($said, 1, 'the log says it once');

$source->safe_psql('postgres', 'GRANT SELECT ON aaa TO walrank_reader');
$d->ready;
eval { poll('green', sub { red() eq '' }) };
is(red(), '', 'readable again: filled, and green');
$d->catch_up;
is($search->safe_psql('postgres', 'SELECT count(*), sum(score) FROM walrank_out.score_aaa'), '100|5050', 'all of it is ranked');

# ---- one that is not watched any more has not failed -------------------------------------------------
$source->safe_psql('postgres', q{CREATE TABLE gone (id int PRIMARY KEY, v int); BEGIN; SELECT walrank.watch('gone'); REVOKE SELECT ON gone FROM walrank_reader; COMMIT});
$source->safe_psql('postgres', q{INSERT INTO gone VALUES (1, 1)});
poll('red', sub { red() =~ /public\.gone cannot be read/ });
$source->safe_psql('postgres', q{SELECT walrank.unwatch('gone')});
poll('green', sub { red() eq '' });
pass('a table that is unwatched is no longer named');

# ---- the limit of values ---------------------------------------------------------------------------------
$source->safe_psql('postgres', q{
	CREATE TABLE large (id int PRIMARY KEY, v int, t text);
	INSERT INTO large VALUES (1, 1, repeat('x', 2000)), (2, 2, repeat('x', 900));
	SELECT walrank.watch('large');
	INSERT INTO walrank.ranking (name, relation, definition) VALUES ('large', 'public.large', 'term v weight 1 v * 0
boost 100 when t != ''''')});
poll('backfill', sub { state_of('large') eq 'filled' });
$source->safe_psql('postgres', q{INSERT INTO large VALUES (3, 3, repeat('x', 2000)), (4, 4, repeat('x', 900))});
$d->catch_up;
is($search->safe_psql('postgres', 'SELECT id, score FROM walrank_out.score_large ORDER BY id'), "1|0\n2|100\n3|0\n4|100",
	'a value above max_value_bytes is none to compare, backfilled or streamed; a smaller one is');
$d->stop;
done_testing();
