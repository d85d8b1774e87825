# C1: options of the stream may change. A CONFIG unit with the new ones stands in the journal before the server is asked
# to stream with them, and only where they did change.
use strict;
use warnings;
use Walrank;
use PostgreSQL::Test::Utils;
use Test::More;

my $source = source('source');
$source->safe_psql('postgres', 'CREATE TABLE item (id bigint PRIMARY KEY, v int); INSERT INTO item SELECT i, i FROM generate_series(1, 100) i');
my $d = daemon_new($source, conf => "max_value_bytes = 2MB\n");
$d->init;
$source->safe_psql('postgres', q{SELECT walrank.watch('item')});
$d->create;

# How often the journal names these options.
sub named
{
	my ($bytes) = @_;
	my $n = 0;
	$n += () = slurp($_) =~ /max_value_bytes=$bytes\n/g for glob "$d->{state}/journal/*.seg";
	return $n;
}

# What the server streams with.
sub streamed
{
	return $source->safe_psql('postgres', q{SELECT query FROM pg_stat_activity WHERE backend_type = 'walsender' AND query LIKE 'START_REPLICATION%'});
}

my ($old, $new) = (2 << 20, 3 << 20);
is(named($old), 1, 'one CONFIG for the first options');
like(streamed(), qr/$old/, 'the stream has them');
is($d->stop, 0, 'stopped');
$d->start;
$d->ready;
is(named($old), 1, 'none more for a start with the same');
is($d->stop, 0, 'stopped again');

# The control row is held: the daemon waits where it takes its epoch, just before CONNECT and START_REPLICATION.
spew($d->{conf}, slurp($d->{conf}) =~ s/max_value_bytes = 2MB/max_value_bytes = 3MB/r);
my $holder = $source->background_psql('postgres');
$holder->query_safe('BEGIN; SELECT FROM walrank.control FOR UPDATE');
$d->start;
poll('the daemon to wait for the control row', sub {
	$source->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%walrank.control%'}) > 0 });
is(named($new), 1, 'the CONFIG with the new options is in the journal');
is($source->safe_psql('postgres', 'SELECT active FROM pg_replication_slots'), 'f', 'and nothing is streamed yet');
$holder->query_safe('COMMIT');
$holder->quit;
$d->ready;
like(streamed(), qr/$new/, 'then the stream has the new options');
is(named($new), 1, 'of which the journal speaks once');
is($d->stop, 0, 'stopped at last');
done_testing();
