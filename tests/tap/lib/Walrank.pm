# Walrank.pm - a source server, a daemon and its sinks for the TAP tests.
#
# Servers are PostgreSQL::Test::Cluster nodes (real ones, private, stopped at exit); the daemon is
# the built walrankd.  Nothing here knows how walrank works inside: it starts, waits and stops.
package Walrank;

use strict;
use File::Basename;
use warnings;
use Exporter 'import';
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);
use POSIX ":sys_wait_h";

our @EXPORT = qw(stage source poll run_ok slurp spew daemon_new);

# The staged installation (scripts/stage).
sub stage
{
	my $dir = $ENV{WALRANK_STAGE} or die "WALRANK_STAGE is not set: run the tests with make check\n";
	return $dir;
}

sub knows_setting
{
	my ($setting) = @_;
	my $out = `"$ENV{WALRANK_BINDIR}/postgres" --describe-config 2>/dev/null`;
	return $out =~ /^\Q$setting\E\t/m;
}

# A running server with our library and extension within reach. Options: conf => text, role-free.
sub source
{
	my ($name, %o) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	my $stage = stage();

	$node->init(allows_streaming => 'logical', extra => $o{initdb} // [ '--encoding=UTF8', '--locale=C' ]);
	my $conf = "dynamic_library_path = '$stage/lib:\$libdir'\nfsync = " . ($o{fsync} // 'off') . "\nlog_statement = none\nlog_replication_commands = off\n";
	if (knows_setting('extension_control_path'))
	{
		$conf .= "extension_control_path = '$stage$ENV{WALRANK_SHAREDIR}:\$system'\n";
	}
	else
	{
		$conf .= "extension_destdir = '$stage'\n";
	}
	# init sets the role's own list where the server knows the setting; tests that do without init need it here
	$conf .= "output_plugin_libraries = 'pgoutput, test_decoding, walrank'\n"
	  if $o{allow} && knows_setting('output_plugin_libraries');
	$conf .= $o{conf} // '';
	$node->append_conf('postgresql.conf', $conf);
	$node->start unless $o{nostart};
	return $node;
}

# Run $code until it is true, at most $seconds; dies with $what otherwise. No test passes or fails by its speed: the limit
# (PG_TEST_TIMEOUT_DEFAULT, tests/run) is for what will never come, and only longer ones are worth giving.
sub poll
{
	my ($what, $code, $seconds) = @_;
	my $end = time + ($seconds // $PostgreSQL::Test::Utils::timeout_default);
	while (1)
	{
		my $r = $code->();
		return $r if $r;
		die "timed out waiting for: $what\n" if time > $end;
		sleep 0.05;
	}
}

sub slurp
{
	my ($path) = @_;
	open my $fh, '<:raw', $path or return undef;
	local $/;
	return scalar <$fh>;
}

sub spew
{
	my ($path, $content) = @_;
	open my $fh, '>:raw', $path or die "$path: $!";
	print $fh $content;
	close $fh or die "$path: $!";
}

sub run_ok
{
	my ($name, @cmd) = @_;
	my ($out, $err) = ('', '');
	IPC::Run::run(\@cmd, '<', \undef, '>', \$out, '2>', \$err);
	my $rc = $? >> 8;
	is($rc, 0, $name) or diag("@cmd\n$out$err");
	return ($out, $err);
}

# Runs a command whose output is nobody's business; dies if it fails.
sub run_quiet
{
	my @cmd = @_;
	my $said = '';
	IPC::Run::run(\@cmd, '<', \undef, '>', \$said, '2>&1') or die "@cmd: $said\n";
	return;
}

# ---- the daemon --------------------------------------------------------------------------------

# daemon_new(node, name => 'd', file => 1, postgres => $sinknode, sink options ..): config written,
# nothing started.
sub daemon_new
{
	my ($node, %o) = @_;
	my $self = bless {}, 'Walrank::Daemon';
	my $dir = $o{dir} // PostgreSQL::Test::Utils::tempdir($o{name} // 'walrankd');

	chmod 0700, $dir;
	$self->{dir} = $dir;
	$self->{state} = "$dir/state";
	$self->{conf} = "$dir/walrank.conf";
	# tests run side by side: a log of its own for each
	$self->{log} = "$PostgreSQL::Test::Utils::log_path/" . basename($0, '.pl') . '_' . ($o{name} // 'walrankd') . ".log";
	$self->{ndjson} = "$dir/out.ndjson";
	$self->{node} = $node;
	my $role = $o{user} // 'walrank_daemon';
	my $db = $o{dbname} // 'postgres';
	my $conninfo = $o{conninfo} // ("host=" . $node->host . " port=" . $node->port . " dbname=$db user=$role");
	my $conf = "[state]\ndirectory = $self->{state}\n[source]\nconninfo = $conninfo\nslot = " . ($o{slot} // 'walrank') . "\n";
	$conf .= $o{conf} // '';
	if ($o{file} // 1)
	{
		$conf .= "[sink file]\ntype = file\npath = $self->{ndjson}\nflush_interval = " . ($o{flush} // '10ms') . "\n";
	}
	if (my $sink = $o{postgres})
	{
		$conf .= "[sink table]\ntype = postgres\nconninfo = host=" . $sink->host . " port=" . $sink->port
		  . " dbname=" . ($o{sinkdb} // 'postgres') . "\nflush_interval = " . ($o{flush} // '10ms') . "\n";
	}
	$conf .= $o{sinks} // '';
	$self->{conninfo} = $conninfo;
	spew($self->{conf}, $conf);
	chmod 0600, $self->{conf};
	return $self;
}

package Walrank::Daemon;

use strict;
use warnings;
use POSIX ":sys_wait_h";
use Time::HiRes qw(sleep time);
use Test::More;

sub bin { return Walrank::stage() . "/bin/$_[0]" }

# walrank init as the superuser of the node: extension, publications, daemon role.
sub init
{
	my ($self, @more) = @_;
	my $node = $self->{node};
	my $db = $self->{conninfo} =~ /dbname=(\S+)/ ? $1 : 'postgres';
	my $user = $self->{conninfo} =~ /user=(\S+)/ ? $1 : 'walrank_daemon';
	Walrank::run_ok('walrank init', bin('walrank'), '-h', $node->host, '-p', $node->port, '-d', $db,
		'init', '--role', $user, '--accept-unbounded-wal', @more);
	return;
}

# Runs walrankd; returns at once. @more: further arguments.
sub start
{
	my ($self, @more) = @_;
	die "already running" if $self->{pid};
	my $pid = fork() // die "fork: $!";
	if ($pid == 0)
	{
		open STDOUT, '>>', $self->{log};
		open STDERR, '>>', $self->{log};
		open STDIN, '<', '/dev/null';
		%ENV = (%ENV, %{ $self->{env} // {} });
		no warnings "exec";
		my $program = $self->{program} // bin('walrankd');
		exec { $program } $program, '-c', $self->{conf}, @more;
		POSIX::_exit(127);
	}
	$self->{pid} = $pid;
	return $pid;
}

# First start with --create, then waits until the first backfill is over.
sub create
{
	my ($self) = @_;
	$self->start('--create');
	$self->ready;
	return;
}

sub status
{
	my ($self) = @_;
	require JSON::XS;
	for (1 .. 20)
	{
		my $out = '';
		IPC::Run::run([ bin('walrank'), '--config', $self->{conf}, 'status', '--json' ], '<', \undef, '>', \$out, '2>', '/dev/null');
		return undef if $? >> 8 == 4; # there is nobody to ask
		my $status = eval { JSON::XS::decode_json($out) };
		return $status if $status;
		sleep 0.1; # on a busy machine an answer may be cut short
	}
	return undef;
}

# Streaming, and every table known to be backfilled.
sub ready
{
	my ($self, $seconds) = @_;
	my $ok = eval {
		Walrank::poll("daemon ready ($self->{log})", sub {
			die "walrankd ended with " . $self->{ended} . "\n" if $self->ended;
			my $s = $self->status or return 0;
			return 0 unless $s->{source}{state} && $s->{source}{state} eq 'streaming';
			return !grep { $_->{backfill} ne "filled" } @{ $s->{tables} };
		}, $seconds);
	};
	if (!$ok)
	{
		my $err = $@;
		my $log = Walrank::slurp($self->{log}) // '';
		die $err . substr($log, -4000);
	}
	return;
}

# Whether the process is gone (reaps it).
sub ended
{
	my ($self) = @_;
	return 1 unless $self->{pid};
	my $r = waitpid($self->{pid}, WNOHANG);
	return 0 if $r == 0;
	$self->{ended} = $? >> 8 || ($? & 127 ? 'signal ' . ($? & 127) : 0);
	$self->{pid} = undef;
	return 1;
}

sub signal
{
	my ($self, $signal, $seconds) = @_;
	return unless $self->{pid};
	kill $signal, $self->{pid};
	Walrank::poll("walrankd to end after $signal ($self->{log})", sub { $self->ended }, $seconds);
	return $self->{ended};
}

sub stop { my ($self) = @_; return $self->signal('TERM') }
sub kill9 { my ($self) = @_; return $self->signal('KILL') }

# Starts it and expects it to end by itself: (exit code, its log since).
sub fails
{
	my ($self, @more) = @_;
	my $before = length(Walrank::slurp($self->{log}) // '');
	$self->start(@more);
	Walrank::poll('walrankd to refuse', sub { $self->ended });
	return ($self->{ended}, substr(Walrank::slurp($self->{log}) // '', $before));
}

# Waits until all sinks have applied everything the server has committed before this call, and status knows what the
# scorer made of it: its copy for others may be a moment old, the sinks ahead of it.
sub catch_up
{
	my ($self, $seconds) = @_;
	my $lsn = $self->{node}->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn() - \'0/0\'::pg_lsn');
	# something committed after that point must arrive: an own row in the control table moves everything along
	$self->{node}->safe_psql($self->{conninfo} =~ /dbname=(\S+)/ ? $1 : 'postgres', 'UPDATE walrank.control SET beat = beat');
	Walrank::poll("sinks to reach $lsn ($self->{log})", sub {
		die "walrankd ended with $self->{ended}\n" if $self->ended;
		my $s = $self->status or return 0;
		my @sinks = @{ $s->{sinks} // [] };
		return @sinks && !grep { lsn_number($_->{end_lsn}) < $lsn } @sinks, $s->{scorer};
	}, $seconds);
	return;
}

sub lsn_number
{
	my ($text) = @_;
	return 0 unless defined $text && $text =~ m{^([0-9A-Fa-f]+)/([0-9A-Fa-f]+)$};
	return hex($1) * 4294967296 + hex($2);
}

sub lines
{
	my ($self) = @_;
	return grep { length } split /\n/, Walrank::slurp($self->{ndjson}) // '';
}

sub DESTROY
{
	my ($self) = @_;
	local ($?, $@, $!);
	if ($self->{pid})
	{
		kill 'KILL', $self->{pid};
		waitpid $self->{pid}, 0;
	}
	return;
}

1;
