# One transaction of very many rows: the daemon's memory does not grow with it, the server does not lose patience
# (wal_sender_timeout = 10s), and both sinks have every row once, in order.
#
# Anonymous memory is the daemon's own; pages of the store's map belong to the kernel.
use strict;
use warnings;
use Walrank;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $rows = $ENV{WALRANK_ROWS} // { check => 300_000, full => 10_000_000, torture => 10_000_000 }->{ $ENV{WALRANK_TIER} };
# 2 kB a row: WAL, what is spilled, table, journal, feed, store, both sinks
my ($free_kb) = `df -Pk "$ENV{WORK}"` =~ /\n\S+\s+\d+\s+\d+\s+(\d+)/;
if (defined $free_kb && $free_kb < $rows * 2.5)
{
	diag(sprintf 'NOT RUN with %d rows: %d MB are free, %d are needed; 300,000 rows instead', $rows, $free_kb / 1024, $rows * 2.5 / 1024);
	$rows = 300_000;
}
my $limit_kb = 128 * 1024;
my $patience = 60 + $rows / 4000; # seconds, for everything to arrive

my $source = source('source', conf => "wal_sender_timeout = 10s\nmax_wal_size = 4GB\ncheckpoint_timeout = 1h\nautovacuum = off\n");
my $search = source('search', conf => "max_wal_size = 4GB\ncheckpoint_timeout = 1h\nautovacuum = off\n");
$source->safe_psql('postgres', 'CREATE TABLE item (id bigint PRIMARY KEY, v int NOT NULL, name text NOT NULL)');
my $d = daemon_new($source, postgres => $search);
$d->init;
$source->safe_psql('postgres', q{
	SELECT walrank.watch('item');
	INSERT INTO walrank.ranking (name, relation, definition) VALUES ('r', 'public.item', 'term v weight 1 v')});
$d->create;

# ---- the transaction, and what the daemon's memory does meanwhile ----------------------------------------------

my $max_kb = 0;

sub sample
{
	my ($kb) = (slurp("/proc/$d->{pid}/status") // '') =~ /^RssAnon:\s+(\d+) kB/m or die "walrankd is gone\n";
	$max_kb = $kb if $kb > $max_kb;
	return;
}

sub applied
{
	my $s = $d->status or return 0;
	my ($least) = sort { $a <=> $b } map { $_->{applied} + $_->{filtered} } @{ $s->{sinks} }; # the postgres sink takes scores only
	return $least;
}

my $log_before = -s $source->logfile;
my $began = time;
my $writer = fork() // die "fork: $!";
if ($writer == 0)
{
	open STDOUT, '>', '/dev/null';
	exec 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $source->connstr('postgres'), '-c',
	  "INSERT INTO item SELECT i, i % 1000, 'item ' || i FROM generate_series(1, $rows) i" or POSIX::_exit(127);
}
my $committed;
poll('the transaction to commit', sub { sample(); return waitpid($writer, POSIX::WNOHANG()) == $writer }, $patience);
is($?, 0, "one transaction of $rows rows is committed");
$committed = time;
my $looked = 0;
poll('both sinks to have it', sub {
	die "walrankd ended with $d->{ended}\n" if $d->ended;
	sample();
	return 0 if time - $looked < 0.5;
	$looked = time;
	return applied() >= 2 * $rows;
}, $patience);
my $done = time;
$d->catch_up;

diag sprintf '%d rows in one transaction: %.0f s to write, %.0f s more until both sinks had it; RssAnon at most %.0f MiB', $rows, $committed - $began, $done - $committed, $max_kb / 1024;
cmp_ok($max_kb, '<=', $limit_kb, 'anonymous memory stayed below 128 MiB');
my $log = substr slurp($source->logfile), $log_before;
unlike($log, qr/terminating walsender|replication timeout|unexpected EOF|could not send data/, 'the server did not lose patience');
unlike(slurp($d->{log}), qr/connection lost/, 'the connection was kept');

# ---- both sinks --------------------------------------------------------------------------------------------------

my ($changes, $scores, $bad, $last, $example) = (0, 0, 0, '', undef);
my %xid;
open my $fh, '<:raw', $d->{ndjson} or die "$d->{ndjson}: $!";
while (my $line = <$fh>)
{
	my ($pos, $xid, $kind) = $line =~ /^\{"pos":"([\d.]+)","lsn":"[^"]*","ts":"[^"]*","xid":(\w+),"kind":"(\w+)"/ or die "no line: $line";
	if ($kind eq 'change')
	{
		$changes++;
		$xid{$xid}++;
		my $v = $changes % 1000;
		next if $line =~ /"op":"insert","key":\{"id":$changes\},"attributes":\{"v":$v,"name":"item $changes"\}/;
	}
	elsif ($kind eq 'score')
	{
		$scores++;
		my $v = $scores % 1000;
		next if $line =~ /"key":\{"id":$scores\},"score":$v(?:\.0)?,/;
	}
	$bad++;
	$example //= $line;
}
close $fh;
is("$changes changes, $scores scores", "$rows changes, $rows scores", 'file sink: every row once');
is($bad, 0, 'file sink: each with its values, in the order of the transaction') or diag $example;
is(scalar keys %xid, 1, 'file sink: all of one transaction');
is($search->safe_psql('postgres', q{SELECT count(*), min(id), max(id), count(*) FILTER (WHERE score <> id % 1000) FROM walrank_out.score_item WHERE ranking = 'r'}),
	"$rows|1|$rows|0", 'postgres sink: every row once, with its score');
is($d->stop, 0, 'TERM: the daemon drains and ends with 0');
done_testing();
