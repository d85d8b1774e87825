# What takes long is seen in walrank.progress and in walrank status, as long as it takes.
use strict;
use warnings;
use Cwd;
use IO::Socket::UNIX;
use Walrank;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $source = source('source');
$source->safe_psql('postgres', 'CREATE TABLE item (id bigint PRIMARY KEY, v int); INSERT INTO item SELECT i, i FROM generate_series(1, 4000) i');
my $d = daemon_new($source, conf => "part_changes = 100\n[daemon]\nbeat_interval = 1s\n[store]\nrescore_rate = 500\n");
$d->init;
$source->safe_psql('postgres', q{SELECT walrank.watch('item'); INSERT INTO walrank.ranking (name, relation, definition) VALUES ('r', 'public.item', 'term v weight 1 v')});
$d->create;
$d->catch_up;

sub progress { my ($columns) = @_; return $source->safe_psql('postgres', "SELECT $columns FROM walrank.progress") }

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
sub status_text { my ($out) = run_ok('status', Walrank::Daemon::bin('walrank'), '--config', $d->{conf}, 'status'); return $out }

poll('the first backfill to be over in the table as well', sub { progress('count(*)') == 0 });
unlike(status_text(), qr/^(rescore|backfill) /m, 'nothing is under way');

# ---- a rescoring ----
$source->safe_psql('postgres', q{UPDATE walrank.ranking SET definition = 'term v weight 2 v'});
poll('a row', sub { progress('count(*)') == 1 });
is(progress('relation, kind, items_all, stream_id = (SELECT stream_id FROM walrank.control), started_at <= updated_at'), 'public.item|rescore|4000|t|t', 'what is under way');
my $first = progress('items');
my $started = progress('started_at');
like(status_text(), qr/^rescore  public\.item: \d+ of 4000 items evaluated anew \(\d+ %\)$/m, 'walrank status says it');
poll('more items', sub { progress('coalesce(max(items), 4000)') > $first });
cmp_ok(progress('coalesce(max(items), 0)'), '<=', 4000, 'never more than there are');

# a restart goes on, and so does the row
$d->kill9;
is(progress('count(*)'), 1, 'the row of one that was killed stays, and has an old time');
$d->start;
$d->ready;
poll('the row to be renewed', sub { progress('count(*) FILTER (WHERE updated_at > now() - interval \'1500 ms\')') == 1 });
is(progress('started_at'), $started, 'the job is the same');

# an edit while it runs: another job
$source->safe_psql('postgres', q{UPDATE walrank.ranking SET definition = 'term v weight 3 v'});
poll('a job that began later', sub { my $now = progress('started_at'); $now ne '' && $now ne $started });
poll('its end', sub { progress('count(*)') == 0 });
is(scalar(grep { /"kind":"score".*"version":3[,}]/ } $d->lines), 4000, 'every item was told with the newest rules');

# one that is cancelled leaves as well
$source->safe_psql('postgres', q{UPDATE walrank.ranking SET definition = 'term v weight 4 v'});
poll('a row', sub { progress('count(*)') == 1 });
my $asked = control('rescore cancel public.item');
unlike($asked, qr/error/i, 'cancelled');
poll('no row', sub { progress('count(*)') == 0 });
like(join("\n", @{ $d->status->{red} }), qr/a rescoring was cancelled.*public\.item/, 'and the status says what that means');
control('rescore start public.item');
poll('all of it again', sub { 4000 == grep { /"kind":"score".*"version":4[,}]/ } $d->lines });
poll('no row', sub { progress('count(*)') == 0 });
poll('green', sub { $d->status->{status} eq 'green' });

# ---- whose it is ----
is($source->safe_psql('postgres', q{SELECT count(*) FROM pg_publication_rel WHERE prrelid = 'walrank.progress'::regclass}), 0, 'it is not captured');
is($source->safe_psql('postgres', q{SELECT string_agg(p, ' ' ORDER BY p) FROM unnest('{SELECT,INSERT,UPDATE,DELETE}'::text[]) p WHERE has_table_privilege('walrank_daemon', 'walrank.progress', p)}), 'DELETE INSERT SELECT UPDATE', 'the daemon writes it');
is($source->safe_psql('postgres', q{SELECT string_agg(p, ' ' ORDER BY p) FROM unnest('{SELECT,INSERT,UPDATE,DELETE}'::text[]) p WHERE has_table_privilege('walrank_admin', 'walrank.progress', p)}), 'SELECT', 'an administrator reads it');
unlike($source->safe_psql('postgres', q{SELECT extconfig::regclass[]::text FROM pg_extension WHERE extname = 'walrank'}), qr/progress/, 'and it is in no dump');

# ---- a daemon that may not write it does without ----
$source->safe_psql('postgres', 'REVOKE INSERT, UPDATE, DELETE ON walrank.progress FROM walrank_daemon; UPDATE walrank.ranking SET definition = \'term v weight 5 v\'');
my $beat = $source->safe_psql('postgres', 'SELECT beat FROM walrank.control');
poll('two beats', sub { $source->safe_psql('postgres', 'SELECT beat FROM walrank.control') >= $beat + 3 });
is(scalar(() = slurp($d->{log}) =~ /progress: .*permission denied/g), 1, 'it says so once');
is($d->stop, 0, 'stopped');
done_testing();
