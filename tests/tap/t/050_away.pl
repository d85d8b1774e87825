# The source, the sink's database and the network go away and come back; the daemon stays and catches up.
use strict;
use warnings;
use Walrank;
use IO::Socket::INET;
use IO::Select;
use PostgreSQL::Test::Utils;
use Test::More;

my $source = source('source', conf => "listen_addresses = '127.0.0.1'\n");
my $search = source('search');
$source->safe_psql('postgres', 'CREATE TABLE item (id bigint PRIMARY KEY, v int); INSERT INTO item SELECT i, i FROM generate_series(1, 100) i');

# a TCP proxy in front of the source: a file says whether it is cut
my $port = PostgreSQL::Test::Cluster::get_free_port();
my $cut = "$PostgreSQL::Test::Utils::tmp_check/cut";
my $proxy = fork() // die;
if ($proxy == 0)
{
	my $listen = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $port, Listen => 10, ReuseAddr => 1) or POSIX::_exit(1);
	my (%peer, $select);
	$select = IO::Select->new($listen);
	my $end = time + 300;
	while (time < $end)
	{
		if (-e $cut) { $_->close for grep { $_ != $listen } $select->handles; $select = IO::Select->new($listen); %peer = () }
		for my $s ($select->can_read(0.05))
		{
			if ($s == $listen)
			{
				my $client = $listen->accept or next;
				if (-e $cut) { $client->close; next }
				my $server = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $source->port) or do { $client->close; next };
				($peer{$client}, $peer{$server}) = ($server, $client);
				$select->add($client, $server);
				next;
			}
			my $n = sysread $s, my $buffer, 65536;
			my $other = $peer{$s} or next;
			my ($off, $ok) = (0, $n);
			while ($ok && $off < $n) { my $w = syswrite $other, $buffer, $n - $off, $off; if (!$w) { $ok = 0 } else { $off += $w } }
			if (!$ok) { $select->remove($s, $other); delete $peer{$s}; delete $peer{$other}; $s->close; $other->close }
		}
	}
	require POSIX;
	POSIX::_exit(0);
}

my $d = daemon_new($source, postgres => $search, conninfo => "host=127.0.0.1 port=$port dbname=postgres user=walrank_daemon");
$d->init;
$source->safe_psql('postgres', q{SELECT walrank.watch('item'); INSERT INTO walrank.ranking (name, relation, definition) VALUES ('r', 'public.item', 'term v weight 1 v')});
$d->create;
my $pid = $d->{pid};

sub same
{
	my ($when) = @_;
	$d->catch_up;
	is($search->safe_psql('postgres', 'SELECT id, score FROM walrank_out.score_item ORDER BY id'), $source->safe_psql('postgres', 'SELECT id, v::float8 FROM item ORDER BY id'), $when);
	my %seen;
	is(scalar(grep { /^\{"pos":"([^"]+)"/ && $seen{$1}++ } $d->lines), 0, "$when: no line twice");
	return;
}
same('at first');

for my $mode (qw(fast immediate))
{
	$source->stop($mode);
	$source->start;
	$source->safe_psql('postgres', 'UPDATE item SET v = v + 1');
	same("source restarted ($mode)");
}

$search->stop('fast');
$source->safe_psql('postgres', 'UPDATE item SET v = v + 1') for 1 .. 20;
poll('the sink to say it retries', sub { my $s = $d->status or return 0; grep { $_->{name} eq 'table' && $_->{state} eq 'retrying' } @{ $s->{sinks} } });
pass('status says that the sink is away');
$search->start;
same('sink database away and back');
$search->restart('immediate') for 1 .. 3;
$source->safe_psql('postgres', 'UPDATE item SET v = v + 1');
same('sink database restarted');

for (1 .. 3)
{
	spew($cut, '');
	$source->safe_psql('postgres', 'UPDATE item SET v = v + 1') for 1 .. 5;
	sleep 1;
	unlink $cut;
	$source->safe_psql('postgres', 'UPDATE item SET v = v + 1') for 1 .. 5;
	same("network cut $_");
}
poll('the first status of the new connection', sub { $source->safe_psql('postgres', "SELECT count(*) FROM pg_stat_replication WHERE application_name = 'walrank' AND write_lsn IS NOT NULL") });
is($source->safe_psql('postgres', "SELECT count(*) FROM pg_stat_replication WHERE application_name = 'walrank' AND write_lsn = flush_lsn AND flush_lsn = replay_lsn"), 1, 'write = flush = apply');
ok(!$d->ended && $d->{pid} == $pid, 'it was the same process all along');

# a fast shutdown of the server does not wait for us
my $t = time;
$source->stop('fast');
cmp_ok(time - $t, '<', 50, 'the server shuts down with the daemon attached, and not because wal_sender_timeout is over');
$source->start;
same('after that');
is($d->stop, 0, 'ended');
kill 'TERM', $proxy;
waitpid $proxy, 0;
done_testing();
