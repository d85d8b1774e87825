# Every call to the file system fails once: whatever the daemon makes of it (goes on, waits, ends), after an ordinary
# start nothing is lost, doubled or reordered, and tables and file agree.
#
# A small workload (create, backfill, transactions over several segments, clean stop, start, transactions, clean stop) is
# run once to learn its calls, those of LMDB included. Then it is run again for every call, which fails with EIO, ENOSPC
# or EINTR, does half of what it should, or is the last thing the process does. Tier check takes a sample (seed printed),
# full every call with one of its modes, torture every call with all of them.
use strict;
use warnings;
use Walrank;
use FindBin;
use lib "$FindBin::RealBin/../../fault";
use Fault;
use File::Path qw(remove_tree);
use JSON::XS;
use POSIX ();
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $tier = $ENV{WALRANK_TIER};
my $sample = $ENV{WALRANK_SAMPLE} // { check => 30, full => 0, torture => 0 }->{$tier};
my $workers = 3; # they wait for the disk and for each other's servers most of the time
seed();

my %modes = (
	open => [qw(EIO EINTR before)],
	create => [qw(EIO ENOSPC EINTR before after)],
	pread => [qw(EIO EINTR short before)],
	pwrite => [qw(EIO ENOSPC EINTR short torn before after)],
	write => [qw(EIO ENOSPC EINTR torn before after)],
	writev => [qw(EIO ENOSPC EINTR torn before after)],
	fdatasync => [qw(EIO ENOSPC before after)],
	fsync => [qw(EIO ENOSPC before after)],
	ftruncate => [qw(EIO EINTR before after)],
	fallocate => [qw(EIO ENOSPC before after)],
	rename => [qw(EIO ENOSPC before after)],
	unlink => [qw(EIO before after)],
);

my $source = source('source', conf => "max_wal_senders = 40\nmax_replication_slots = 40\nmax_connections = 80\nwal_sender_timeout = 10s\n");
for my $w (1 .. $workers)
{
	$source->safe_psql('postgres', "CREATE DATABASE w$w");
	$source->safe_psql("w$w", q{
		CREATE TABLE counter (id int PRIMARY KEY, n bigint NOT NULL);
		CREATE TABLE item (id int PRIMARY KEY, v int NOT NULL, filler text NOT NULL);
		INSERT INTO counter VALUES (1, 0);
		INSERT INTO item SELECT i, i, 'x' FROM generate_series(1, 10) i});
	daemon_new($source, name => "init$w", dbname => "w$w")->init;
	$source->safe_psql("w$w", q{
		SELECT walrank.watch('counter'), walrank.watch('item');
		INSERT INTO walrank.ranking (name, relation, definition) VALUES ('r', 'public.item', 'term v weight 1 v')});
}

# ---- one run --------------------------------------------------------------------------------------------------

sub transactions
{
	my ($run, $n) = @_;
	my $sql = join ";\n", map {
		my $i = int(1 + $_ + $run->{number} % 7);
		"BEGIN; UPDATE counter SET n = n + 1; UPDATE item SET v = v + $i, filler = (SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 700)) WHERE id = 1 + $i % 5;"
		  . " DELETE FROM item WHERE id = 20 + $i % 3; INSERT INTO item VALUES (20 + $i % 3, $i, 'y'); UPDATE item SET id = id + 100 WHERE id = 21; UPDATE item SET id = id - 100 WHERE id = 121; COMMIT"
	} 1 .. $n;
	$source->safe_psql($run->{db}, $sql);
	$run->{made} += $n;
	return;
}

sub start
{
	my ($run, $armed, @more) = @_;
	my $d = $run->{d};
	$d->{env} = { WALRANK_FAULT_DIR => $d->{dir}, WALRANK_FAULT_LOG => "$d->{dir}/calls.$run->{process}", $armed ? (WALRANK_FAULT => $run->{fault}) : () };
	$d->start(@more);
	return;
}

# $code waits for something; a daemon that ended meanwhile is started again, once, and the wait repeated.
sub persist
{
	my ($run, $code, @more) = @_;
	return if eval { $code->(); 1 };
	my $why = $@;
	die $why unless $run->{d}->ended;
	push @{ $run->{ends} }, $run->{d}{ended};
	start($run, 0, @more);
	$code->();
	return;
}

sub end_cleanly
{
	my ($run) = @_;
	my $d = $run->{d};
	my $code = $d->ended ? $d->{ended} : $d->signal('TERM');
	return if $code eq '0';
	push @{ $run->{ends} }, $code;
	start($run, 0);
	$d->ready;
	$d->catch_up;
	$code = $d->signal('TERM');
	die "the second stop ended with $code\n" if $code ne '0';
	return;
}

# What the file says against the tables: undef if all is well.
sub judge
{
	my ($run) = @_;
	my ($last, $n, %item, %score) = ('', $run->{first});
	for my $line ($run->{d}->lines)
	{
		my $l = eval { decode_json($line) } or return 'a line is no JSON: ' . substr $line, 0, 100;
		my $pos = sprintf '%020d.%010d.%010d', split /\./, $l->{pos};
		return "doubled or reordered: $l->{pos}" if $pos le $last;
		$last = $pos;
		my $id = $l->{key} && $l->{key}{id};
		if ($l->{kind} eq 'score') { $score{$id} = $l->{score} }
		elsif ($l->{kind} eq 'remove') { defined $id ? delete $score{$id} : (%score = ()) }
		elsif ($l->{kind} ne 'change') { return "kind $l->{kind}" }
		elsif ($l->{relation} eq 'public.item') { $l->{op} eq 'delete' ? delete $item{$id} : ($item{$id} = "$l->{attributes}{v} " . length $l->{attributes}{filler}) }
		elsif (defined $l->{xid} && $l->{attributes}{n} != ++$n) { return "transaction $n is missing: found $l->{attributes}{n}" }
	}
	return "transactions up to $n, should be " . ($run->{first} + $run->{made}) if $n != $run->{first} + $run->{made};
	my %want = map { my ($id, $v) = split /\|/; ($id => $v) } split /\n/, $source->safe_psql($run->{db}, "SELECT id, v || ' ' || length(filler) FROM item");
	for my $id (sort keys %want, keys %item)
	{
		return "item $id is [" . ($item{$id} // 'not there') . '], should be [' . ($want{$id} // 'gone') . ']' if ($item{$id} // '') ne ($want{$id} // '');
		return "score of item $id is " . ($score{$id} // 'not there') . ", should be $want{$id}" if ($score{$id} // '') ne $want{$id} =~ s/ .*//r;
	}
	return keys %score == keys %want ? undef : 'scores of items that are gone';
}

sub run_one
{
	my ($worker, $number, $fault) = @_;
	my %run = (number => $number, db => "w$worker", made => 0, ends => [], process => 1, fault => $fault ? $fault->{spec} : undef);
	$run{d} = daemon_new($source, name => "w$worker", dbname => $run{db}, slot => "w${worker}_$number",
		conf => "status_interval = 100ms\n[journal]\nsegment_size = 64kB\n[feed]\nsegment_size = 64kB\nretain = 0s\n[store]\ncommit_time = 50ms\n");
	my $d = $run{d};
	$d->{program} = fault_tool('walrankd');
	$run{first} = $source->safe_psql($run{db}, 'SELECT n FROM counter');
	my $log = -s $d->{log} // 0;
	my $ok = eval {
		start(\%run, $fault && $fault->{process} == 1, '--create');
		persist(\%run, sub { $d->ready }, '--create');
		transactions(\%run, 6);
		persist(\%run, sub { $d->catch_up });
		end_cleanly(\%run);
		$run{process} = 2;
		start(\%run, $fault && $fault->{process} == 2);
		transactions(\%run, 2);
		persist(\%run, sub { $d->ready; $d->catch_up });
		end_cleanly(\%run);
		1;
	};
	$run{wrong} = $ok ? judge(\%run) : $@ =~ s/\n.*//sr;
	$run{log} = substr slurp($d->{log}) // '', $log;
	$run{fired} = 0;
	$run{calls} = [];
	for my $process (1, 2)
	{
		my %seen;
		for (split /\n/, slurp("$d->{dir}/calls.$process") // '')
		{
			$run{fired}++ if s/^fired //;
			# a process that was started again counts anew: only the first ones matter
			push @{ $run{calls} }, { process => $process, kind => (split / /)[0], name => (split / /)[1], number => (split / /)[2] } unless $seen{$_}++;
		}
	}
	$d->kill9;
	$source->safe_psql($run{db}, "SELECT pg_drop_replication_slot('w${worker}_$number')") if !$run{wrong};
	remove_tree($d->{dir}) unless $run{wrong};
	delete $run{d};
	return \%run;
}

# ---- which calls there are -----------------------------------------------------------------------------------------

my $first = run_one(1, 0, undef);
is($first->{wrong}, undef, 'without a fault all is well') or BAIL_OUT($first->{log});
is("@{$first->{ends}}", '', 'without a fault every stop is clean');
my @calls = @{ $first->{calls} };
my @points;
for my $call (@calls)
{
	my $modes = $modes{ $call->{kind} } or die "no modes for $call->{kind}";
	push @points, map { { process => $call->{process}, spec => "$call->{kind}:$call->{name}:$call->{number}:$_" } }
	  $tier eq 'full' ? $modes->[ rand @$modes ] : @$modes;
}
@points = grep { $_->{spec} =~ /:\Q$ENV{WALRANK_MODE}\E$/ } @points if $ENV{WALRANK_MODE};
if ($sample && $sample < @points)
{
	@points = map { splice @points, rand @points, 1 } 1 .. $sample;
}
# one of them again, as it is named when it goes wrong: WALRANK_FAULT_AT='1 pwrite:state/journal/#.seg:27:before'
@points = map { /^(\d) (\S+)$/ ? { process => $1, spec => $2 } : () } split /,/, $ENV{WALRANK_FAULT_AT} if $ENV{WALRANK_FAULT_AT};
diag sprintf 'the workload makes %d calls to the file system; %d runs, each with one that fails', scalar @calls, scalar @points;

# ---- every one of them fails -----------------------------------------------------------------------------------------

my $dir = PostgreSQL::Test::Utils::tempdir('results');
my @pids;
for my $w (1 .. $workers)
{
	my $pid = fork() // die "fork: $!";
	push @pids, $pid;
	next if $pid;
	open my $out, '>', "$dir/$w" or POSIX::_exit(1);
	$out->autoflush;
	for my $i (grep { $_ % $workers == $w - 1 } 0 .. $#points)
	{
		my $run = eval { run_one($w, $i + 1, $points[$i]) } // { wrong => "the test itself: $@", ends => [], fired => 0, log => '' };
		print $out encode_json({ %{ $points[$i] }, wrong => $run->{wrong}, ends => $run->{ends}, fired => $run->{fired}, log => $run->{wrong} ? substr $run->{log}, -3000 : '' }), "\n";
	}
	close $out;
	POSIX::_exit(0);
}
my $began = time;
is(join(' ', map { waitpid $_, 0; $? } @pids), join(' ', (0) x $workers), 'all workers came to their end');

my %count = map { ($_ => 0) } qw(runs recovered refused wrong unreached);
my (@wrong, %mode);
for my $w (1 .. $workers)
{
	for my $line (split /\n/, slurp("$dir/$w"))
	{
		my $r = decode_json($line);
		$count{runs}++;
		my ($how) = $r->{spec} =~ /:(\w+)$/;
		$mode{$how}{ @{ $r->{ends} } ? 'ended' : 'went on' }++ if $r->{fired};
		note "$r->{process} $r->{spec}: ", $r->{fired} ? @{ $r->{ends} } ? "ended with @{$r->{ends}}" : 'went on' : 'not reached';
		if ($r->{wrong}) { $count{wrong}++; push @wrong, $r }
		elsif (!$r->{fired}) { $count{unreached}++ }
		elsif (grep { $_ ne '99' } @{ $r->{ends} }) { $count{refused}++ } # it said so and ended; the next start was right
		else { $count{recovered}++ }
		# what may not be on the disk must not be built upon
		push @wrong, { %$r, wrong => 'the daemon went on after a failed write or sync' }
		  if $r->{fired} && $r->{spec} =~ m{^(?:fdatasync|fsync|pwrite):state/journal/#\.seg:\d+:EIO$} && !@{ $r->{ends} };
	}
}
diag sprintf 'of %d faults: recovered %d, refused %d (ended with a message, right after the next start), not reached %d, wrong %d; %.0f s', $count{runs},
  @count{qw(recovered refused unreached wrong)}, time - $began;
diag join '; ', map { my $m = $_; "$m: " . join ', ', map { "$mode{$m}{$_} $_" } sort keys %{ $mode{$m} } } sort keys %mode;
is($count{runs}, scalar @points, 'every run was made');
cmp_ok($count{unreached}, '<', $count{runs} / 3 + 1, 'the calls that were to fail are those that are made');
is(scalar @wrong, 0, 'recovered or refused correctly: all') or diag join "\n", map { "$_->{process} $_->{spec}: $_->{wrong}; ends: @{$_->{ends}}\n" . ($_->{log} // '') } @wrong[ 0 .. ($#wrong < 19 ? $#wrong : 19) ];
done_testing();
