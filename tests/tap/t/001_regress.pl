# The SQL tests: plugin, types, merge, rankings, roles (tests/regress) in one cluster, by pg_regress.
use strict;
use warnings;
use Walrank;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = source('regress', allow => 1, conf => "max_replication_slots = 20\nwal_level = logical\nmax_prepared_transactions = 10\n");
my $top = $ENV{WALRANK_TOP};
my $out = "$ENV{WORK}/regress";
mkdir $out;

my @tests = sort map { m{([^/]+)\.sql$} ? $1 : () } glob "$top/tests/regress/sql/*.sql";
ok(@tests > 5, 'SQL tests are there');
for my $test (@tests)
{
	my ($stdout, $stderr) = ('', '');
	my $ok = IPC::Run::run(
		[ $ENV{PG_REGRESS}, "--inputdir=$top/tests/regress", "--outputdir=$out", "--bindir=$ENV{WALRANK_BINDIR}",
			'--host=' . $node->host, '--port=' . $node->port, '--dbname=regress_' . $test, $test ],
		'<', \undef, '>', \$stdout, '2>', \$stderr);
	ok($ok, $test) or diag(slurp("$out/regression.diffs") // "$stdout$stderr");
}
$node->stop;
done_testing();
