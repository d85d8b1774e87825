# Rules are edited, jobs replaced, cancelled and begun again, while the daemon is killed at any moment of it: every item whose
# score moves is told once with each of the newest rules, and in the end all stand where SQL puts them.
use strict;
use warnings;
use Cwd;
use IO::Socket::UNIX;
use Walrank;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $kills = $ENV{WALRANK_TIER} ne 'check' ? 40 : 6;
my $seed = $ENV{WALRANK_SEED} // time ^ $$;
srand $seed;
note "seed $seed (WALRANK_SEED)";
my $items = 4000;

my $source = source('source');
$source->safe_psql('postgres', "CREATE TABLE item (id bigint PRIMARY KEY, v int); INSERT INTO item SELECT i, i FROM generate_series(1, $items) i");
# some commits of the store are frequent, some kills fall between two of them
my $d = daemon_new($source, postgres => $source, conf => "part_changes = 100\n[daemon]\nbeat_interval = 1s\n[store]\nrescore_rate = 4000\ncommit_time = 200ms\n");
$d->init;
$source->safe_psql('postgres', q{SELECT walrank.watch('item'); INSERT INTO walrank.ranking (name, relation, definition) VALUES ('r', 'public.item', 'term v weight 1 v')});
$d->create;
$d->catch_up;

# One line to the daemon; from its directory, for a socket's path may not be long.
sub control
{
	my ($command) = @_;
	my $here = getcwd();
	chdir $d->{state} or die;
	my $socket = IO::Socket::UNIX->new(Peer => 'walrankd.sock') or die "walrankd.sock: $!";
	chdir $here;
	print $socket "$command\n";
	$socket->flush;
	local $/;
	return scalar <$socket>;
}

sub edit
{
	my ($weight) = @_;
	$source->safe_psql('postgres', "UPDATE walrank.ranking SET definition = 'term v weight $weight v' WHERE name = 'r'");
	return;
}

# How often each item was told with a version: "items times", of those that are there.
sub told
{
	my ($version) = @_;
	my %times;
	for ($d->lines) { $times{$1}++ if /"kind":"score","ranking":"r","key":\{"id":(\d+)\}.*"version":$version[,}]/ }
	my %counts;
	$counts{$_}++ for values %times;
	return join ', ', map { "$counts{$_} $_ time(s)" } sort keys %counts;
}

sub done { return poll('the rescoring to end', sub { my $s = $d->status; $s && $s->{source}{state} eq 'streaming' && !$s->{scorer}{rescoring_job} && $s->{scorer}{seq} == $s->{journal}{appended_seq} && !grep { $_->{seq} < $s->{scorer}{seq} } @{ $s->{sinks} } }) }

sub verify_ok
{
	my ($name) = @_;
	for my $sink (qw(file table))
	{
		my ($out, $err) = ('', '');
		IPC::Run::run([ Walrank::Daemon::bin('walrank'), '--config', $d->{conf}, 'verify', '--sink', $sink ], '<', \undef, '>', \$out, '2>', \$err);
		is($? >> 8, 0, "$name: the $sink equals SQL") or diag($out, $err);
	}
	return;
}

# ---- one job, killed again and again: its items are told once ----
my $version = 1;
for my $round (1 .. 2)
{
	edit(++$version);
	for (1 .. $kills / 2)
	{
		sleep rand 0.25;
		$d->kill9;
		$d->start;
	}
	$d->ready;
	done();
	is(told($version), "$items 1 time(s)", "version $version: each item was told once ($kills kills)");
}
verify_ok('after the kills');

# ---- replaced while it runs, with kills ----
for (1 .. 4)
{
	edit(++$version);
	sleep 0.1 + rand 0.3;
	$d->kill9;
	$d->start;
}
$d->ready;
done();
is(told($version), "$items 1 time(s)", 'jobs replaced by newer ones: the newest rules were told once');
verify_ok('after edits of edits');

# ---- cancelled, killed, begun again ----
edit(++$version);
poll('it to begin', sub { my $s = $d->status; $s && $s->{scorer}{rescoring_job} });
control('rescore cancel public.item');
poll('no job', sub { my $s = $d->status; $s && !$s->{scorer}{rescoring_job} });
$d->kill9;
$d->start;
$d->ready;
my $s = $d->status;
is($s->{scorer}{rescoring_job}, 0, 'a job that was cancelled does not come back');
like("@{ $s->{red} }", qr/a rescoring was cancelled/, 'and the status still says so');
my ($out, $err) = ('', '');
IPC::Run::run([ Walrank::Daemon::bin('walrank'), '--config', $d->{conf}, 'verify', '--sink', 'table' ], '<', \undef, '>', \$out, '2>', \$err);
is($? >> 8, 3, 'until then items stand by older rules: verify says which') or diag($out, $err);
control('rescore start public.item');
sleep 0.2;
$d->kill9;
$d->start;
$d->ready;
done();
is(told($version), "$items 1 time(s)", 'begun again: told once');
verify_ok('after a cancelled job was begun again');
unlike("@{ $d->status->{red} }", qr/cancelled/, 'and nothing is said of it any more');

# ---- a definition that walrank of this version cannot use ----
$source->safe_psql('postgres', q{ALTER TABLE walrank.ranking DISABLE TRIGGER ranking_check; UPDATE walrank.ranking SET definition = 'term of a later version', version = version + 1; ALTER TABLE walrank.ranking ENABLE TRIGGER ranking_check});
$d->catch_up;
poll('red', sub { "@{ $d->status->{red} }" =~ /the newest definition cannot be used.*: r/ });
$d->kill9;
$d->start;
$d->ready;
like("@{ $d->status->{red} }", qr/the newest definition cannot be used.*: r/, 'also after a kill');
$source->safe_psql('postgres', 'UPDATE item SET v = -1 WHERE id = 1');
poll('the one before to be in force', sub { grep { /"key":\{"id":1\}.*"score":-$version,/ } $d->lines });
($out, $err) = ('', '');
IPC::Run::run([ Walrank::Daemon::bin('walrank'), '--config', $d->{conf}, 'verify', '--sink', 'table' ], '<', \undef, '>', \$out, '2>', \$err);
like($out, qr/^r +not compared: the daemon cannot use its newest definition/m, 'verify names it');
$version++; # that of the unusable one
edit(++$version);
done();
poll('told', sub { told($version) eq "$items 1 time(s)" });
is($d->status->{status}, 'green', 'mended');
verify_ok('mended');
is($d->stop, 0, 'stopped');
done_testing();
