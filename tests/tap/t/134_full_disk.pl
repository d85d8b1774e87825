# A disk that is really full: the state directory on a small tmpfs, filled and freed again and again.  What waits says
# so, keeps its connection, goes on by itself, and nothing is lost or doubled.
use strict;
use warnings;
use Walrank;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

# a mount of our own, without being root: a namespace that ends with the daemon
if (system('unshare -rm sh -c "mount -t tmpfs -o size=1m tmpfs /mnt" >/dev/null 2>&1') != 0)
{
	diag 'NOT TESTED: no file system of a given size can be mounted here (unshare -rm, mount -t tmpfs)';
	plan skip_all => 'no mount namespaces for ordinary users';
}
my $cycles = { check => 3, full => 20, torture => 100 }->{ $ENV{WALRANK_TIER} };

my $source = source('source');
$source->safe_psql('postgres', q{CREATE TABLE item (id int PRIMARY KEY, v int, note text); INSERT INTO item SELECT i, i, '' FROM generate_series(1, 200) i});
my $d = daemon_new($source, conf => "[journal]\nsegment_size = 64kB\n[feed]\nsegment_size = 64kB\nretain = 0\n[store]\nsnapshot_interval = 1s\ncommit_time = 100ms\n");
$d->init;
$source->safe_psql('postgres', q{SELECT walrank.watch('item'); INSERT INTO walrank.ranking (name, relation, definition) VALUES ('r', 'public.item', 'term v weight 1 v')});
{
	my $pid = fork() // die "fork: $!";
	if ($pid == 0)
	{
		open STDOUT, '>>', $d->{log};
		open STDERR, '>>', $d->{log};
		open STDIN, '<', '/dev/null';
		no warnings 'exec';
		exec 'unshare', '-rm', 'sh', '-c', 'mkdir "$1" && mount -t tmpfs -o size=16m,mode=0700 tmpfs "$1" && exec "$2" -c "$3" --create', 'sh', $d->{state}, Walrank::Daemon::bin('walrankd'), $d->{conf};
		POSIX::_exit(127);
	}
	$d->{pid} = $pid;
}
# the tools see the state directory through the daemon's namespace
my $inside = "/proc/$d->{pid}/root$d->{state}";
spew("$d->{conf}.outside", slurp($d->{conf}) =~ s/^directory = .*/directory = $inside/mr);
$d->{conf} .= '.outside';
$d->ready;

sub work { $source->safe_psql('postgres', q{UPDATE item SET v = v + 1, note = (SELECT string_agg(md5(i::text || random()), '') FROM generate_series(1, 8) i)}); return }
sub red { my $s = $d->status or return ''; return join '; ', @{ $s->{red} } }
sub walsender { return $source->safe_psql('postgres', q{SELECT coalesce(max(pid), 0) FROM pg_stat_replication}) }

# All of it, to the last byte.
sub fill
{
	open my $junk, '>>:raw', "$inside/junk" or return;
	for my $bytes (65536, 4096, 1)
	{
		while (defined syswrite $junk, 'x' x $bytes) { }
	}
	close $junk;
	return;
}

my %waited;
for my $cycle (1 .. $cycles)
{
	work();
	poll('the disk to be full', sub {
		fill();
		work();
		my $why = red();
		$waited{journal}++ if $why =~ /the journal takes nothing/;
		$waited{scorer}++ if $why =~ /scoring waits for space/;
		die 'walrankd ended: ' . substr(slurp($d->{log}), -2000) . "\n" if $d->ended;
		return $why =~ /the journal takes nothing, the stream waits for space: .*No space left on device/;
	});
	my $pid = walsender();
	sleep 2;
	fill();
	is(walsender(), $pid, "cycle $cycle: the connection stays");
	unlink "$inside/junk";
	poll('all to be well', sub { ($d->status // {})->{status} eq 'green' });
	$d->catch_up;
}
cmp_ok($waited{journal}, '>=', $cycles, 'the journal waited each time');
note 'the scorer waited ' . ($waited{scorer} // 0) . ' times';
my (%score, %seen);
my $doubled = 0;
for ($d->lines)
{
	$doubled++ if /^\{"pos":"([^"]+)"/ && $seen{$1}++;
	$score{$1} = $2 if /"kind":"score".*"key":\{"id":(\d+)\}.*"score":([\d.]+)/;
}
is($doubled, 0, 'no line twice');
is(join(' ', map { "$_|$score{$_}" } sort { $a <=> $b } keys %score), $source->safe_psql('postgres', q{SELECT string_agg(id || '|' || v, ' ' ORDER BY id) FROM item}), 'the file has the last scores');
is($d->stop, 0, 'ended');
done_testing();
