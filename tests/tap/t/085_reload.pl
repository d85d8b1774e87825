# HUP: a configuration is taken as a whole or not at all, and what needs a restart is named. TERM: what was received arrives.
use strict;
use warnings;
use Walrank;
use PostgreSQL::Test::Utils;
use Test::More;

my $source = source('source');
my $search = source('search');
$source->safe_psql('postgres', 'CREATE TABLE item (id bigint PRIMARY KEY, v int); INSERT INTO item SELECT i, i FROM generate_series(1, 100) i');
my $d = daemon_new($source, postgres => $search, conf => "[daemon]\nbeat_interval = 30s\n[log]\nlevel = info\n");
$d->init;
$source->safe_psql('postgres', q{SELECT walrank.watch('item'); INSERT INTO walrank.ranking (name, relation, definition) VALUES ('r', 'public.item', 'term v weight 1 v')});
$d->create;
$d->catch_up;
my $good = slurp($d->{conf});
my $pid = $d->{pid};

# Writes the file, sends HUP, and gives what the log says of it.
sub hup
{
	my ($conf, $wanted) = @_;
	my $at = length slurp($d->{log});
	spew($d->{conf}, $conf);
	kill 'HUP', $pid;
	my $log = '';
	eval { poll("the log to say $wanted", sub { $log = substr slurp($d->{log}), $at; $log =~ $wanted }) };
	return $log;
}

sub beats { return $source->safe_psql('postgres', 'SELECT beat FROM walrank.control') }

# ---- all or nothing -----------------------------------------------------------------------------------
for my $case (
	[ 'an unknown key', qr/walrank\.conf:(\d+): .*beet_interval.*beat_interval/s, $good =~ s/beat_interval = 30s/beet_interval = 1s/r, qr/^beet_interval/ ],
	[ 'a bad value', qr/walrank\.conf:(\d+): .*beat_interval.*soon/s, $good =~ s/beat_interval = 30s/beat_interval = soon/r, qr/^beat_interval/ ],
	[ 'a line that is none', qr/walrank\.conf:(\d+)/, $good =~ s/beat_interval = 30s/beat_interval = 1s\nwhat is this/r, qr/^what is this/ ],
	[ 'an unknown section', qr/walrank\.conf:(\d+): .*nothing/s, "$good\n[nothing]\nkey = 1\n", qr/^(\[nothing\]|key = 1)/ ],
	[ 'a bad value after good ones', qr/walrank\.conf:(\d+): .*flush_rows/s, ($good =~ s/beat_interval = 30s/beat_interval = 1s/r) . "\nflush_rows = many\n", qr/^flush_rows/ ])
{
	my ($what, $wanted, $conf, $line) = @$case;
	my $log = hup($conf, qr/not reloaded/);
	like($log, qr/ERROR: .*configuration not reloaded, nothing changed/, "$what: the old configuration stays");
	my ($number) = $log =~ $wanted;
	ok(defined $number, "$what: the log says file, line and why") or diag($log);
	like((split /\n/, $conf)[ ($number // 1) - 1 ], $line, "$what: it is that line");
}
unlink $d->{conf};
kill 'HUP', $pid;
poll('a missing file to be said', sub { slurp($d->{log}) =~ /could not open configuration file/ });
pass('a file that is gone changes nothing');
{
	my $before = beats();
	sleep 3;
	cmp_ok(beats() - $before, '<=', 1, 'no part of a broken file was taken: the beat is as slow as before');
}

# ---- what may change ------------------------------------------------------------------------------------
{
	my $log = hup($good =~ s/beat_interval = 30s/beat_interval = 1s/r, qr/configuration reloaded/);
	like($log, qr/LOG: +configuration reloaded/, 'a good file is taken');
	unlike($log, qr/takes effect after a restart/, 'and nothing of it waits for a restart');
	my $before = beats();
	poll('a faster beat', sub { beats() >= $before + 2 });
	pass('a changed beat_interval is in force');
}
{
	spew($d->{conf}, $good =~ s/level = info/level = info\nformat = json/r);
	my $at = length slurp($d->{log});
	kill 'HUP', $pid;
	poll('lines in JSON', sub { substr(slurp($d->{log}), $at) =~ /^\{.*configuration reloaded.*\}$/m });
	pass('a changed log format is in force at once');
	hup($good, qr/configuration reloaded/);
}

# ---- what needs a restart -------------------------------------------------------------------------------------
{
	my $changed = $good =~ s/flush_interval = 10ms/flush_interval = 20ms/r;
	$changed =~ s/slot = walrank/slot = walrank\nstatus_interval = 5s/;
	$changed =~ s/beat_interval = 30s/beat_interval = 29s/;
	my $log = hup($changed, qr/sink file changed/);
	like($log, qr/WARNING: +"source\.status_interval" changed in the configuration file: takes effect after a restart/, 'a key that needs a restart is named');
	unlike($log, qr/"daemon\.beat_interval" changed/, 'and nothing else');
	like($log, qr/LOG: +sink file changed/, 'a sink whose settings changed has them at once');
	unlike($log, qr/sink table changed/, 'and no other is touched');
	hup($good, qr/sink file changed/);
}
ok(!$d->ended && $d->{pid} == $pid, 'it was the same process all along');

# ---- TERM drains ---------------------------------------------------------------------------------------------------
$d->catch_up;
is($d->stop, 0, 'stopped');
spew($d->{conf}, $good =~ s/flush_interval = 10ms/flush_interval = 60s/gr);
$d->start;
$d->ready;
$source->safe_psql('postgres', 'UPDATE item SET v = v + 1');
my $lsn = $source->safe_psql('postgres', q{SELECT pg_current_wal_insert_lsn() - '0/0'});
poll('the change to be received', sub { my $s = $d->status or return 0; Walrank::Daemon::lsn_number($s->{scorer}{end_lsn}) > 0 && $s->{scorer}{changes} >= 100 });
my $expected = $source->safe_psql('postgres', 'SELECT id, v::float8 FROM item ORDER BY id');
isnt($search->safe_psql('postgres', 'SELECT id, score FROM walrank_out.score_item ORDER BY id'), $expected, 'a batch waits in the sinks');
is($d->stop, 0, 'TERM ends with 0');
is($search->safe_psql('postgres', 'SELECT id, score FROM walrank_out.score_item ORDER BY id'), $expected, 'and all that was received is in the postgres sink');
my %v;
for ($d->lines) { $v{$1} = $2 if /"kind":"score".*"key":\{"id":(\d+)\},"score":([-\d.e+]+)/ }
is(join("\n", map { "$_|$v{$_}" } sort { $a <=> $b } keys %v), $expected, 'and in the file sink');
like(slurp("$d->{state}/store/mark"), qr/^state clean$/m, 'the store is marked clean');
done_testing();
