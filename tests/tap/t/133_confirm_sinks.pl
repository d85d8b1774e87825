# confirm = sinks: the server keeps what any sink lacks, a sink that is paused or away included, until all have it; a
# server that stops waits a few seconds at most, and nothing is lost or doubled.
use strict;
use warnings;
use Walrank;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $source = source('source');
my $search = source('search');
$source->safe_psql('postgres', q{CREATE TABLE item (id int PRIMARY KEY, v int); INSERT INTO item SELECT i, i FROM generate_series(1, 200) i});
my $d = daemon_new($source, postgres => $search, conf => "confirm = sinks\nstatus_interval = 200ms\n[daemon]\nbeat_interval = 1s\n");
$d->init;
$source->safe_psql('postgres', q{SELECT walrank.watch('item'); INSERT INTO walrank.ranking (name, relation, definition) VALUES ('r', 'public.item', 'term v weight 1 v')});
$d->create;

sub work { $source->safe_psql('postgres', 'UPDATE item SET v = v + 1'); return }
sub confirmed { return $source->safe_psql('postgres', q{SELECT confirmed_flush_lsn - '0/0' FROM pg_replication_slots WHERE slot_name = 'walrank'}) }
sub sinks { my $s = $d->status or return (); return map { $_->{name} => $_ } @{ $s->{sinks} } }
sub end_of { my %s = sinks(); return Walrank::Daemon::lsn_number($s{ $_[0] }{end_lsn}) }

sub same
{
	my ($when) = @_;
	$d->catch_up;
	is($search->safe_psql('postgres', 'SELECT id, score FROM walrank_out.score_item ORDER BY id'), $source->safe_psql('postgres', 'SELECT id, v::float8 FROM item ORDER BY id'), "$when: postgres sink equals SQL");
	my %seen;
	is(scalar(grep { /^\{"pos":"([^"]+)"/ && $seen{$1}++ } $d->lines), 0, "$when: no line twice");
	return;
}

work();
same('at first');
my $wal = $source->safe_psql('postgres', "SELECT pg_current_wal_lsn() - '0/0'");
poll('the slot to follow the sinks', sub { confirmed() >= $wal });
pass('with all sinks streaming the slot follows');

# one sink is held: journal and the other sink go on, the slot does not
my $holder = $search->background_psql('postgres');
$holder->query_safe('BEGIN; LOCK TABLE walrank_out.score_item IN ACCESS EXCLUSIVE MODE');
work() for 1 .. 5;
$wal = $source->safe_psql('postgres', "SELECT pg_current_wal_lsn() - '0/0'");
poll('the other sink to have it', sub { end_of('file') >= $wal });
sleep 1;
cmp_ok(Walrank::Daemon::lsn_number($d->status->{source}{durable}), '>=', $wal, 'the journal has it durably');
cmp_ok(confirmed(), '<=', end_of('table'), 'but the slot waits where the slowest sink is');
cmp_ok(confirmed(), '<', $wal, 'which is behind');
my $held = confirmed();

# killed: streaming begins at what the journal has, and the position neither jumps nor falls
$d->kill9;
work();
$d->start;
poll('streaming', sub { (($d->status // {})->{source}{state} // '') eq 'streaming' });
sleep 1.5;
is(confirmed(), $held, 'a restart of the daemon moves it neither way');

# a server that stops is not held for ever
my $begun = time;
$source->stop('fast', timeout => 60);
note sprintf 'server stopped after %.1f s', time - $begun;
ok(!-e $source->data_dir . '/postmaster.pid', 'the server stopped although a sink lacks something');
$source->start;
$holder->query_safe('ROLLBACK');
$holder->quit;
same('after that');
is($d->status->{source}{dropped}, 0, 'nothing came twice from the server');
$wal = $source->safe_psql('postgres', "SELECT pg_current_wal_lsn() - '0/0'");
poll('the slot to follow again', sub { confirmed() >= $wal });

# a paused sink holds it as well
run_ok('paused', Walrank::Daemon::bin('walrank'), '--config', $d->{conf}, 'sink', 'pause', 'table');
work();
$wal = $source->safe_psql('postgres', "SELECT pg_current_wal_lsn() - '0/0'");
poll('the other sink to have it', sub { end_of('file') >= $wal });
sleep 1;
cmp_ok(confirmed(), '<', $wal, 'the slot waits for a paused sink');
run_ok('resumed', Walrank::Daemon::bin('walrank'), '--config', $d->{conf}, 'sink', 'resume', 'table');
poll('the slot to follow once more', sub { confirmed() >= $wal });
same('in the end');
is($d->stop, 0, 'ended');
done_testing();
