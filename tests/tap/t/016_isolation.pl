# Interleavings of DDL and open transactions, by PostgreSQL's isolation tester (tests/isolation).
use strict;
use warnings;
use Walrank;
use PostgreSQL::Test::Utils;
use Test::More;

my $top = $ENV{WALRANK_TOP};
(my $tester = $ENV{PG_REGRESS}) =~ s{regress/pg_regress$}{isolation/pg_isolation_regress};
die "NOT RUN: there is no $tester" if !-x $tester;

my $node = source('isolation', allow => 1, conf => "autovacuum = off\n");
$node->safe_psql('postgres', 'CREATE DATABASE isolation');
$node->safe_psql('isolation', slurp("$top/tests/data/decode.sql"));
my $out = "$ENV{WORK}/isolation";
mkdir $out;

my @specs = sort map { m{([^/]+)\.spec$} ? $1 : () } glob "$top/tests/isolation/specs/*.spec";
ok(@specs > 2, 'specs are there');
for my $spec (@specs)
{
	my ($stdout, $stderr) = ('', '');
	my $ok = IPC::Run::run(
		[ $tester, '--use-existing', "--inputdir=$top/tests/isolation", "--outputdir=$out", "--bindir=$ENV{WALRANK_BINDIR}",
			'--host=' . $node->host, '--port=' . $node->port, '--dbname=isolation', $spec ],
		'<', \undef, '>', \$stdout, '2>', \$stderr);
	ok($ok, $spec) or diag(slurp("$out/regression.diffs") // "$stdout$stderr");
}
$node->stop;
done_testing();
