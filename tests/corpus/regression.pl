# PostgreSQL's own regression suite while a walsender streams all of it: the suite's output is what it
# is without us, the walsender meets no error, and a consumer of the stream ends up with the same tables.
#
# The suite comes from Debian's source package (tests/corpus/fetch).  It is not made for a publication
# of all tables (an UPDATE of a table without key would be refused), so the stream is of all tables
# because no publication is named: nothing in the database knows that it is watched.
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

my $suite = corpus_source('postgresql') . '/src/test/regress';
my $schedule = $ENV{CORPUS_SCHEDULE} // 'parallel_schedule';
my $libraries = "$ENV{WORK}/corpus_lib";

# What the suite loads: its own library, built against the server's headers, and two of contrib's.
mkdir $libraries;
build_library("$suite/regress.c", "$libraries/regress.so");
my $pkglib = pg_config('--pkglibdir');
Walrank::run_quiet('cp', "$pkglib/refint.so", "$pkglib/autoinc.so", $libraries);

# Why a table's rows may differ from the stream's, by name.
my %excused = ('public.test_tbl3' => 'a composite type that loses one attribute and gains another changes what its stored values print');

sub run_suite
{
	my ($name, $beside) = @_;
	my $node = source($name, allow => 1, conf => <<'CONF');
max_connections = 60
shared_buffers = 64MB
max_prepared_transactions = 10
max_replication_slots = 20
max_wal_senders = 10
autovacuum = on
CONF
	my $out = "$ENV{WORK}/corpus_$name";
	mkdir $out;
	# as pg_regress makes it; it is here before the suite because the slot is
	$node->safe_psql('postgres', q{CREATE DATABASE regression TEMPLATE template0});
	$node->safe_psql('postgres', "ALTER DATABASE regression SET $_") for (map { "lc_$_ TO 'C'" } qw(messages monetary numeric time)),
	  'bytea_output TO hex', q{timezone_abbreviations TO 'Default'};
	$beside->{start}->($node) if $beside;
	my $start = time;
	my $said = '';
	IPC::Run::run(
		[ $ENV{PG_REGRESS}, "--inputdir=$suite", "--outputdir=$out", "--bindir=$ENV{WALRANK_BINDIR}", "--dlpath=$libraries",
			"--schedule=$suite/$schedule", '--use-existing', '--dbname=regression', '--host=' . $node->host, '--port=' . $node->port ],
		'<', \undef, '>', \$said, '2>&1', IPC::Run::timeout(1800));
	diag("$name: the suite took " . (time - $start) . ' s');
	my %failed = map { /^(?:test|not ok)?\s*(?:\d+\s+-\s+|\+\s+)?(\S+)\s+\.\.\. FAILED/ ? ($1 => 1) : () } split /\n/, $said;
	my ($summary) = $said =~ /^ *((?:\d+ of \d+ tests|All \d+ tests).*?)\.? *$/m;
	diag("$name: " . ($summary // substr $said, -2000));
	$beside->{end}->($node) if $beside;
	return { node => $node, out => $out, failed => \%failed, ran => defined $summary };
}

my ($stream, $shadow);
my $with = run_suite('streamed', {
	start => sub { $stream = stream_start($_[0], 'regression') },
	end => sub { ok(stream_end($stream, 600), 'the stream ends where the log ends') or diag($stream->{said}) },
});
ok($with->{ran}, 'the suite ran to its end') or BAIL_OUT('no suite');

my @errors = stream_errors($with->{node});
is_deeply(\@errors, [], 'the walsender met no error');
$shadow = Walrank::Shadow->new->read_file($stream->{files}[0]);
my $psql = psql_of($with->{node}, 'regression');
my $counts = $shadow->compare($psql, excused => \%excused);
is_deeply([ $shadow->problems ], [], 'every table with a key is the same in the stream');
report($shadow, $counts);
cmp_ok($counts->{not_empty}, '>', 20, 'tables with rows were compared') if $schedule eq 'parallel_schedule';
cmp_ok($counts->{keyless}, '>', 300, 'and those that were only inserted into') if $schedule eq 'parallel_schedule';

# a comparison that cannot fail would say the same: one row less, one digit more
my @full = grep { keys %{ $_->{rows} } > 10 } @{ $counts->{compared} };
my ($short, $wrong) = @full[ 0, -1 ];
my @keys = sort keys %{ $short->{rows} };
delete $short->{rows}{ $keys[0] };
my ($row) = map { $wrong->{rows}{$_} } reverse sort keys %{ $wrong->{rows} };
my ($column) = grep { ref $row->[$_] eq 'HASH' && defined $row->[$_]{int} } reverse 0 .. $#$row;
$row->[$column] = { int => "$row->[$column]{int}1" };
$shadow->compare($psql, excused => \%excused);
is(scalar(grep { /was not sent|column|does not exist/ } $shadow->problems), 2 + (grep { $column == $_ } @{ $wrong->{keys} }), 'a missing row and a wrong value are noticed')
  or diag(join "\n", $shadow->problems);
$with->{node}->stop;

my $without = run_suite('alone');
$without->{node}->stop;
is_deeply([ sort keys %{ $with->{failed} } ], [ sort keys %{ $without->{failed} } ], 'the same tests fail, if any, as without us');
for my $test (sort keys %{ $with->{failed} })
{
	is(slurp("$with->{out}/results/$test.out"), slurp("$without->{out}/results/$test.out"), "$test fails in the same way");
}
done_testing();
