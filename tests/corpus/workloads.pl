# The SQL that test_decoding and wal2json are tested with, our slots in place of theirs: no statement
# meets an error that it does not meet there, and a walsender that streams beside it all has the same
# tables at the end.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Corpus;
use Walrank;
use Walrank::Shadow;
use Walrank::Stream;
use PostgreSQL::Test::Utils;
use Test::More;

my %where = (test_decoding => 'postgresql/contrib/test_decoding', wal2json => 'wal2json');
my @found = grep { -d "$ENV{CORPUS_DIR}/$where{$_}" } sort keys %where if $ENV{CORPUS_DIR};
diag("NOT RUN: the workload of $_, there are no sources of it (tests/corpus/fetch)") for grep { my $w = $_; !grep { $_ eq $w } @found } sort keys %where;
plan(skip_all => 'NOT RUN: no sources (tests/corpus/fetch, make full-corpus)') if !@found;

# The tests in the order of their Makefile.
sub tests_of
{
	my ($dir) = @_;
	(my $makefile = slurp("$dir/Makefile")) =~ s/\\\n/ /g;
	my ($list) = $makefile =~ /^REGRESS\s*=\s*(.*)$/m;
	return grep { -e "$dir/sql/$_.sql" } split ' ', $list // '';
}

# Only slot, range and what makes text of it are passed on: their options are theirs.
sub ours
{
	my ($call, $binary, $arguments) = @_;
	my @arguments = split /,(?![^(]*\))/, $arguments;
	return "$call(" . join(',', @arguments[ 0 .. ($#arguments > 2 ? 2 : $#arguments) ], $binary ? () : (" 'format'", " 'json'")) . ')';
}

sub rewritten
{
	my ($sql, $plugin) = @_;
	$sql =~ s/'\Q$plugin\E'/'walrank'/g;
	$sql =~ s/(pg_logical_slot_(?:get|peek)(_binary)?_changes)\s*\(((?:[^()]|\([^()]*\))*)\)/ours($1, $2, $3)/ge;
	return $sql;
}

# A test that reads the text its own plugin makes, and an error that newer servers put otherwise.
my %not_ours = ('test_decoding time' => 'it reads times out of the text of test_decoding');
my $refused = qr/ERROR:  library "nonexistent" may not be used as an output plugin/;

sub errors_in { return map { /(ERROR:  .*)/ ? $1 : () } split /\n/, $_[0] }

for my $plugin (@found)
{
	my $dir = "$ENV{CORPUS_DIR}/$where{$plugin}";
	my $node = source("workload_$plugin", allow => 1, conf => <<'CONF');
max_prepared_transactions = 20
max_replication_slots = 20
logical_decoding_work_mem = 64kB
CONF
	$node->safe_psql('postgres', 'CREATE DATABASE corpus TEMPLATE template0');
	my $stream = stream_start($node, 'corpus');
	my @tests = grep { !$not_ours{"$plugin $_"} } tests_of($dir);
	diag("NOT RUN: $_: $not_ours{$_}") for grep { /^$plugin / } sort keys %not_ours;
	cmp_ok(scalar @tests, '>', 10, "$plugin has tests");
	my $calls = 0;
	for my $test (@tests)
	{
		my $sql = rewritten(slurp("$dir/sql/$test.sql"), $plugin);
		my $file = "$ENV{WORK}/workload_$test.sql";
		my $said = '';
		$calls += () = $sql =~ /'format', 'json'|_binary_changes/g;
		spew($file, $sql);
		IPC::Run::run([ @{ psql_of($node, 'corpus') }, '-a', '-f', $file ], '<', \undef, '>', \$said, '2>&1', IPC::Run::timeout(300));
		my %known = map { $_ => 1 } map { errors_in(slurp($_)) } glob "$dir/expected/$test*.out";
		is_deeply([ grep { !$known{$_} && !/$refused/ } errors_in($said) ], [], "$plugin, $test: no error that is not expected there");
	}
	diag("$plugin: " . @tests . " files, $calls calls of the SQL functions");
	# what a failed test would leave behind is theirs; the walsender's slot is ours
	ok(stream_end($stream, 120), "$plugin: the stream ends where the log ends") or diag($stream->{said});
	is_deeply([ stream_errors($node) ], [], "$plugin: the walsender met no error");
	my $shadow = Walrank::Shadow->new->read_file($stream->{files}[0]);
	my $counts = $shadow->compare(psql_of($node, 'corpus'));
	is_deeply([ $shadow->problems ], [], "$plugin: every table with a key is the same in the stream");
	report($shadow, $counts);
	$node->stop;
}
done_testing();
