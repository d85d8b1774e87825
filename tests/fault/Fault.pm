# Fault.pm - the workload of the fault tests, and oracles that share no code with walrank.
#
# build/fault/writer makes transactions whose outcome is known; an oracle compares what came out with
#	- a second logical slot, read with test_decoding: the same changes, in the same order, with the same values;
#	- the writers' counters: in each of them no number is missing, twice or late;
#	- lists that all writers append to: each state is the one before and one more element;
#	- a replay of the file sink's lines, which must end in the source's tables;
#	- scores computed by SQL, by walrank.score() and by a formula, in both sinks;
#	- a trigger in the sink's database that sees every write.
# What it finds is counted as lost, doubled or reordered; what fits none of these as wrong.
package Fault;

use strict;
use warnings;
use Exporter 'import';
use Digest::MD5 qw(md5);
use JSON::XS;
use PostgreSQL::Test::Utils ();
use Test::More;
use Time::HiRes qw(sleep time);
use Walrank;

our @EXPORT = qw(fault_tool seed deck workload writers_start writers_stop oracle_start proxy_start read_again);

my @TABLES = qw(item_default item_full);
my $FORMULA = "round(price + 0.001 * coalesce((att -> 'views' ->> 0)::numeric, 0), 3)::float8";
my $json = JSON::XS->new->canonical->allow_nonref;

sub fault_tool { return "$ENV{WALRANK_TOP}/build/fault/$_[0]" }

# One seed per test, printed; WALRANK_SEED repeats it.
sub seed
{
	my $seed = $ENV{WALRANK_SEED} // (time ^ $$) % 1_000_000_000;
	srand $seed;
	diag "seed $seed (WALRANK_SEED=$seed repeats the schedule)";
	return $seed;
}

# What shall happen in $n rounds, shuffled: deck(10, daemon => 50, server => 25, sink => 25).
sub deck
{
	my ($n, @shares) = @_;
	my @deck;
	my $owed = 0;
	while (my ($what, $percent) = splice @shares, 0, 2)
	{
		$owed += $n * $percent / 100;
		push @deck, $what while @deck < int($owed + 0.5);
	}
	for my $i (reverse 1 .. $#deck)
	{
		my $j = int rand($i + 1);
		@deck[ $i, $j ] = @deck[ $j, $i ];
	}
	return @deck;
}

# ---- workload -----------------------------------------------------------------------------------------

# Tables with their first rows. Before the daemon's init.
sub workload
{
	my ($source, $writers) = @_;
	$source->safe_psql('postgres', qq{
		CREATE TABLE counter (writer int PRIMARY KEY, n bigint NOT NULL);
		CREATE TABLE list (id int PRIMARY KEY, items text NOT NULL);
		CREATE TABLE item_default (id bigint PRIMARY KEY, price int NOT NULL, status text NOT NULL, att jsonb);
		ALTER TABLE item_default ALTER att SET STORAGE EXTERNAL;
		CREATE TABLE item_full (LIKE item_default INCLUDING ALL);
		ALTER TABLE item_full REPLICA IDENTITY FULL;
		INSERT INTO counter SELECT w, 0 FROM generate_series(1, $writers) w;
		INSERT INTO list SELECT i, '' FROM generate_series(1, 40) i;
		INSERT INTO item_default SELECT i, i, 'on_sale', jsonb_build_object('views', jsonb_build_array(i, '2026-01-01T00:00:00.000000Z'), 'note', 1)
			FROM generate_series(1, 300) i;
		INSERT INTO item_full SELECT * FROM item_default;
	});
	return;
}

# Watches and rankings. After the daemon's init.
sub watch
{
	my ($source) = @_;
	$source->safe_psql('postgres', q{
		SELECT walrank.watch('counter');
		SELECT walrank.watch('list');
		SELECT walrank.watch('item_default', 'att');
		SELECT walrank.watch('item_full', 'att');
		INSERT INTO walrank.ranking (name, relation, definition)
			SELECT 'r_' || t, 'public.item_' || t, E'where status = ''on_sale''\nterm p weight 1 price\nterm v weight 0.001 views missing 0\nround 0.001'
			FROM unnest(ARRAY['default', 'full']) t;
	});
	return;
}

# A table is read again while all else goes on: what live changes have brought already must not be told a second time.
sub read_again
{
	my ($d) = @_;
	my $table = (qw(item_default item_full list counter))[ rand 4 ];
	my ($out, $err) = ('', '');
	IPC::Run::run([ Walrank::Daemon::bin('walrank'), '--config', $d->{conf}, 'backfill', 'start', $table ], '<', \undef, '>', \$out, '2>', \$err);
	return $? == 0 ? 1 : 0;
}

sub writers_start
{
	my ($source, %o) = @_;
	my $self = { report => PostgreSQL::Test::Utils::tempdir('writers') . '/report', began => time };
	my $log = "$PostgreSQL::Test::Utils::log_path/writers.log";
	$self->{pid} = fork() // die "fork: $!";
	if ($self->{pid} == 0)
	{
		open STDOUT, '>>', $log;
		open STDERR, '>>', $log;
		no warnings 'exec';
		exec { fault_tool('writer') } 'writer', $source->connstr('postgres'),
		  $o{writers}, $o{rate}, $o{seed}, $self->{report};
		POSIX::_exit(127);
	}
	$self->{owner} = $$;
	return bless $self, 'Fault::Writers';
}

# They end; the n that each has seen committed. ($rate is of all transactions that committed.)
sub writers_stop
{
	my ($self) = @_;
	kill 'TERM', $self->{pid};
	my $pid = delete $self->{pid};
	Walrank::poll('the writers to end', sub { waitpid($pid, POSIX::WNOHANG()) == $pid });
	is($?, 0, 'the server has forgotten nothing that it had acknowledged to a writer');
	$self->{seconds} = time - $self->{began};
	my %acknowledged;
	for (split /\n/, slurp($self->{report}) // '')
	{
		next unless /^(\d+) acknowledged (\d+) aborted (\d+) unknown (\d+)$/;
		$acknowledged{$1} = $2;
		$self->{aborted} += $3;
		$self->{unknown} += $4;
	}
	return \%acknowledged;
}

sub Fault::Writers::DESTROY
{
	my ($self) = @_;
	local ($?, $!, $@);
	return unless $self->{pid} && $self->{owner} == $$;
	kill 'KILL', $self->{pid};
	waitpid $self->{pid}, 0;
	return;
}

# ---- a network that misbehaves ---------------------------------------------------------------------------------

# proxy_start($node, seed => 1, mean => 500): faithful until ->fault, and again after ->heal.
sub proxy_start
{
	my ($node, %o) = @_;
	my $self = bless { report => PostgreSQL::Test::Utils::tempdir('proxy') . '/report', owner => $$ }, 'Fault::Proxy';
	my @cmd = (fault_tool('proxy'), $node->host . '/.s.PGSQL.' . $node->port, $o{seed}, $o{mean}, $self->{report});
	pipe my $read, my $write or die "pipe: $!";
	$self->{pid} = fork() // die "fork: $!";
	if ($self->{pid} == 0)
	{
		open STDOUT, '>&', $write;
		exec @cmd or POSIX::_exit(127);
	}
	close $write;
	my $line = readline $read;
	($self->{port}) = ($line // '') =~ /^(\d+)$/ or die "the proxy has not said its port\n";
	return $self;
}

sub Fault::Proxy::fault { my ($self) = @_; kill 'USR2', $self->{pid}; return }
sub Fault::Proxy::heal { my ($self) = @_; kill 'USR1', $self->{pid}; return }

# How often each fault took place.
sub Fault::Proxy::stop
{
	my ($self) = @_;
	kill 'TERM', $self->{pid};
	waitpid delete $self->{pid}, 0;
	return { (slurp($self->{report}) // '') =~ /^(\w+) (\d+)$/mg };
}

sub Fault::Proxy::DESTROY
{
	my ($self) = @_;
	local ($?, $!, $@);
	return unless $self->{pid} && $self->{owner} == $$;
	kill 'KILL', $self->{pid};
	waitpid $self->{pid}, 0;
	return;
}

# ---- the second slot -------------------------------------------------------------------------------------

# One column's text as test_decoding writes it, without its quotes; undef is null, \'' what was not sent.
sub columns
{
	my ($text) = @_;
	my %row;
	while ($text =~ /\G ?("[^"]+"|\w+)\[[^\]]+\]:(?:'((?:[^']|'')*)'|(\S+))/gc)
	{
		my ($name, $quoted, $plain) = ($1, $2, $3);
		if (defined $quoted) { $quoted =~ s/''/'/g; $row{$name} = $quoted }
		else { $row{$name} = $plain eq 'null' ? undef : $plain eq 'unchanged-toast-datum' ? \'' : $plain }
	}
	return \%row;
}

# An update under FULL that changed nothing is not told: that is part of the contract.
sub nothing_changed
{
	my ($old, $new) = @_;
	for my $c (keys %$new)
	{
		next if ref $new->{$c};
		return 0 if ($old->{$c} // "\0") ne ($new->{$c} // "\0");
	}
	return 1;
}

# What is compared of a change: table, operation, key, and the values that are not maps.
sub told
{
	my ($table, $op, $row) = @_;
	return "$table truncate" if $op eq 'truncate';
	return "counter $op $row->{writer}" . ($op eq 'delete' ? '' : " $row->{n}") if $table eq 'counter';
	return "list $op $row->{id}" . ($op eq 'delete' ? '' : ' ' . unpack 'H*', md5 $row->{items}) if $table eq 'list';
	return "$table $op $row->{id}" . ($op eq 'delete' ? '' : " $row->{price} $row->{status}");
}

# The changes that one line of test_decoding stands for.
sub decoded
{
	my ($line) = @_;
	my ($table, $op, $rest) = $line =~ /^table public\.(counter|list|item_default|item_full): (INSERT|UPDATE|DELETE|TRUNCATE):(.*)$/s or return;
	return told($table, 'truncate') if $op eq 'TRUNCATE';
	if ($op ne 'UPDATE') { return told($table, lc $op, columns($rest)) }
	my ($old_text, $new_text) = $rest =~ /^ old-key:(.*) new-tuple:(.*)$/s ? ($1, $2) : (undef, $rest);
	my $new = columns($new_text);
	return told($table, 'update', $new) unless defined $old_text;
	my $old = columns($old_text);
	my $key = $table eq 'counter' ? 'writer' : 'id';
	if ($old->{$key} ne $new->{$key}) { return (told($table, 'delete', $old), told($table, 'insert', $new)) }
	return if nothing_changed($old, $new);
	return told($table, 'update', $new);
}

# ---- the oracle -------------------------------------------------------------------------------------------

# The oracle sees what it is there for; a verdict of zeros says nothing else.
sub oracle_sees
{
	my @want = map { "7 counter update 1 $_" } 1 .. 6;
	my %have = (lost => [ @want[ 0, 1, 3 .. 5 ] ], doubled => [ @want[ 0, 1, 1 .. 5 ] ], reordered => [ @want[ 0, 2, 1, 3 .. 5 ] ], none => [@want]);
	my @seen;
	for my $kind (qw(lost doubled reordered none))
	{
		my $r = { changes => $have{$kind}, lost => 0, doubled => 0, reordered => 0 };
		Fault::Oracle->compare($r, \@want);
		push @seen, "$r->{lost}/$r->{doubled}/$r->{reordered}";
	}
	is("@seen", '1/0/0 0/1/0 0/0/1 0/0/0', 'oracle: one lost, doubled, reordered change is seen as such');
	return;
}

# oracle_start($source, $d, sink => $search): everything must have caught up and nobody write.
sub oracle_start
{
	my ($source, $d, %o) = @_;
	my $self = bless { source => $source, d => $d, %o, offset => 0, counter => {}, list => {}, item => {}, score => {}, last => '', slot => 'oracle' }, 'Fault::Oracle';
	$source->safe_psql('postgres', "SELECT pg_create_logical_replication_slot('oracle', 'test_decoding')");
	$self->witness if $o{sink};
	oracle_sees();
	my $r = $self->replay; # what backfills brought
	is($r->{wrong}, 0, 'oracle: the first rows are read in order') or diag join "\n", @{ $r->{examples} };
	return $self;
}

package Fault::Oracle;

use strict;
use warnings;
use Test::More;
use Time::HiRes qw(sleep time);
use Walrank;

sub witness
{
	my ($self) = @_;
	poll('score tables', sub {
		$self->{sink}->safe_psql('postgres', "SELECT count(*) FROM pg_class WHERE relname IN ('score_item_default', 'score_item_full')") == 2
	});
	$self->{sink}->safe_psql('postgres', q{
		CREATE TABLE history (n bigserial, tab text, id bigint, ranking text, seq bigint);
		CREATE FUNCTION witness() RETURNS trigger LANGUAGE plpgsql AS
			$$ BEGIN INSERT INTO public.history (tab, id, ranking, seq) VALUES (TG_TABLE_NAME, NEW.id, NEW.ranking, NEW.seq); RETURN NULL; END $$;
		CREATE TRIGGER witness AFTER INSERT OR UPDATE ON walrank_out.score_item_default FOR EACH ROW EXECUTE FUNCTION witness();
		CREATE TRIGGER witness AFTER INSERT OR UPDATE ON walrank_out.score_item_full FOR EACH ROW EXECUTE FUNCTION witness();
	});
	return;
}

# What the second slot has seen since the last call: [ "xid change", .. ] in commit order.
sub expected
{
	my ($self) = @_;
	my $source = $self->{source};
	my $file = "$self->{d}{dir}/decoded";
	my $end = $source->safe_psql('postgres', 'SELECT pg_current_wal_flush_lsn()');
	unlink $file;
	my @cmd = ('pg_recvlogical', '-d', $source->connstr('postgres'), '-S', $self->{slot}, '--start', '--no-loop', '--endpos', $end, '-f', $file,
		'-o', 'include-xids=1', '-o', 'skip-empty-xacts=1');
	my ($out, $err) = ('', '');
	IPC::Run::run(\@cmd, '<', \undef, '>', \$out, '2>', \$err) or die "pg_recvlogical: $err";
	my (@expected, $xid);
	my $transactions = 0;
	open my $fh, '<', $file or die "$file: $!";
	while (my $line = <$fh>)
	{
		chomp $line;
		if ($line =~ /^BEGIN (\d+)/) { $xid = $1; $transactions++; next }
		push @expected, map { "$xid $_" } Fault::decoded($line);
	}
	close $fh;
	unlink $file;
	return (\@expected, $transactions);
}

# What to look for first, when something was found.
sub example
{
	my ($r, $what) = @_;
	push @{ $r->{examples} }, substr $what, 0, 400 if @{ $r->{examples} // [] } < 12;
	return;
}

sub wrong
{
	my ($r, $what) = @_;
	$r->{wrong}++;
	example($r, $what);
	return;
}

# A writer's counter goes 1, 2, 3; a list is what it was and one element more, or begins anew.
sub follow_counter
{
	my ($self, $r, $l) = @_;
	my ($writer, $n) = ($l->{key}{writer}, $l->{attributes}{n});
	my $before = $self->{counter}{$writer};
	$self->{counter}{$writer} = $n;
	return unless defined $before;
	if ($n > $before + 1) { $r->{counter_lost} += $n - $before - 1 }
	elsif ($n == $before) { $r->{counter_doubled}++ }
	elsif ($n < $before) { $r->{counter_reordered}++ }
	return;
}

sub follow_list
{
	my ($self, $r, $l) = @_;
	my ($id, $items) = ($l->{key}{id}, $l->{attributes}{items});
	my $before = $self->{list}{$id};
	$self->{list}{$id} = $items;
	return unless defined $before;
	return if $items =~ /^(?:\Q$before\E)\d+\.\d+,$/ && length $before <= 600;
	return if $items =~ /^\d+\.\d+,$/ && length $before > 600;
	$r->{list_broken}++;
	wrong($r, "list $id was [$before], is [$items]");
	return;
}

sub follow_item
{
	my ($self, $r, $l, $key) = @_;
	my $items = $self->{item}{ $l->{relation} } //= {};
	if ($l->{op} eq 'truncate') { %$items = (); return }
	if ($l->{op} eq 'delete')
	{
		wrong($r, "deleted, but never there: $l->{pos}") unless delete $items->{$key};
		return;
	}
	wrong($r, "$l->{op}, but there already or not there: $l->{pos}") if ($l->{op} eq 'update') != exists $items->{$key};
	$items->{$key} = $json->encode({ %{ $l->{attributes} }, map { ("time $_" => $l->{times}{$_}) } keys %{ $l->{times} // {} } });
	return;
}

sub follow
{
	my ($self, $r, $l) = @_;
	my $key = defined $l->{key} ? $json->encode($l->{key}) : undef;
	my $pos = sprintf '%020d.%010d.%010d', split /\./, $l->{pos};
	$r->{doubled_pos}++ if $pos eq $self->{last};
	$r->{reordered_pos}++ if $pos lt $self->{last};
	$self->{last} = $pos;
	if ($l->{kind} eq 'score') { $self->{score}{ $l->{ranking} }{$key} = $l->{score} }
	elsif ($l->{kind} eq 'remove') { defined $key ? delete $self->{score}{ $l->{ranking} }{$key} : delete $self->{score}{ $l->{ranking} } }
	elsif ($l->{kind} ne 'change') { wrong($r, "kind $l->{kind}") }
	elsif ($l->{relation} eq 'public.counter') { follow_counter($self, $r, $l) }
	elsif ($l->{relation} eq 'public.list') { follow_list($self, $r, $l) }
	else { follow_item($self, $r, $l, $key) }
	return;
}

# The file's lines since the last call, applied; {changes} are those of transactions, as "xid change".
sub replay
{
	my ($self) = @_;
	my %r = (wrong => 0, lines => 0, changes => [], unasked => 0, map { ($_ => 0) } qw(counter_lost counter_doubled counter_reordered list_broken doubled_pos reordered_pos));
	open my $fh, '<:raw', $self->{d}{ndjson} or die "$self->{d}{ndjson}: $!";
	seek $fh, $self->{offset}, 0;
	while (my $line = <$fh>)
	{
		my $l = eval { $json->decode($line) };
		if (!$l) { wrong(\%r, "no JSON: $line"); next }
		$r{lines}++;
		$self->follow(\%r, $l);
		next unless $l->{kind} eq 'change';
		my $row = { %{ $l->{key} // {} }, %{ $l->{attributes} // {} } };
		my $table = substr $l->{relation}, 7;
		if (defined $l->{xid}) { push @{ $r{changes} }, "$l->{xid} " . Fault::told($table, $l->{op}, $row) }
		else { $r{unasked}++ }
	}
	$self->{offset} = tell $fh;
	close $fh;
	return \%r;
}

# Both sequences: what is missing, what is too much, what comes too early.
sub compare
{
	my ($self, $r, $expected) = @_;
	my (%place, %nth);
	my ($last, $found) = (-1, 0);
	for my $i (0 .. $#$expected) { push @{ $place{ $expected->[$i] } }, $i }
	for my $change (@{ $r->{changes} })
	{
		my $i = $place{$change} && shift @{ $place{$change} };
		if (!defined $i) { $r->{doubled}++; example($r, "too much: $change"); next }
		if ($i < $last) { $r->{reordered}++; example($r, "too late: $change") }
		else { $last = $i }
		$found++;
	}
	$r->{lost} = @$expected - $found;
	return unless $r->{lost};
	my @lost = sort { $a <=> $b } map { @$_ } values %place;
	example($r, "lost: $expected->[$_]") for grep { defined } @lost[ 0 .. 5 ];
	return;
}

# Rows and scores of one table: in SQL, in the replay, in the sink's database.
sub compare_table
{
	my ($self, $r, $t) = @_;
	my (%row, %score, %own);
	my $sql = "SELECT jsonb_build_object('id', id)::text || E'\\t' || to_jsonb(i)::text || E'\\t' || coalesce(CASE WHEN status = 'on_sale' THEN $FORMULA END::text, '')"
	  . " || E'\\t' || coalesce(CASE WHEN status = 'on_sale' THEN walrank.score('r_$t', i, now()) END::text, '') FROM item_$t i";
	for (split /\n/, $self->{source}->safe_psql('postgres', $sql))
	{
		my ($key, $image, $score, $own) = split /\t/, $_, -1;
		my $row = $json->decode($image);
		my $att = delete $row->{att};
		delete $row->{id};
		if ($att) { for my $k (keys %$att) { ref $att->{$k} eq 'ARRAY' ? @$row{ $k, "time $k" } = @{ $att->{$k} } : ($row->{$k} = $att->{$k}) } }
		else { $row->{att} = undef }
		$key = $json->encode($json->decode($key));
		$row{$key} = $json->encode($row);
		$score{$key} = $score + 0 if $score ne '';
		$own{$key} = $own + 0 if $own ne '';
	}
	differ($r, "file, rows of item_$t", \%row, $self->{item}{"public.item_$t"} // {});
	differ($r, "walrank.score() of item_$t", \%score, \%own);
	differ($r, "file, scores of item_$t", \%score, $self->{score}{"r_$t"} // {});
	return unless $self->{sink};
	my %sink = map { my ($id, $s) = split /\|/; ("{\"id\":$id}" => $s + 0) }
	  split /\n/, $self->{sink}->safe_psql('postgres', "SELECT id, score FROM walrank_out.score_item_$t WHERE ranking = 'r_$t'");
	differ($r, "postgres sink, scores of item_$t", \%score, \%sink);
	return;
}

sub differ
{
	my ($r, $what, $want, $have) = @_;
	my @missing = grep { !exists $have->{$_} } keys %$want;
	my @many = grep { !exists $want->{$_} } keys %$have;
	my @other = grep { exists $have->{$_} && $have->{$_} ne $want->{$_} } keys %$want;
	$r->{rows} += keys %$want;
	return unless @missing || @many || @other;
	$r->{differences} += @missing + @many + @other;
	my ($key) = (@missing, @many, @other);
	wrong($r, sprintf '%s: %d missing, %d too many, %d other; %s should be %s, is %s', $what, scalar @missing, scalar @many, scalar @other, $key, $want->{$key} // 'nothing', $have->{$key} // 'nothing');
	return;
}

# Where the last committed n of a writer is neither in the table nor in the file.
sub compare_counters
{
	my ($self, $r, $acknowledged) = @_;
	my %sql = map { split /\|/ } split /\n/, $self->{source}->safe_psql('postgres', 'SELECT writer, n FROM counter');
	for my $w (keys %sql)
	{
		my $have = $self->{counter}{$w} // -1;
		$r->{committed} += $sql{$w};
		$r->{counter_lost} += $sql{$w} - $have if $have < $sql{$w};
		wrong($r, "counter of writer $w is $have, in SQL $sql{$w}, acknowledged $acknowledged->{$w}")
		  if $have != $sql{$w} || ($acknowledged->{$w} // 0) > $have;
	}
	my %list = map { my ($id, $items) = split /\|/, $_, -1; ($id => $items) } split /\n/, $self->{source}->safe_psql('postgres', 'SELECT id, items FROM list');
	differ($r, 'lists', \%list, $self->{list});
	return;
}

# The whole verdict over what happened since the last one. Nobody writes, the daemon is there.
sub check
{
	my ($self, $name, $acknowledged) = @_;
	$self->{d}->catch_up(300);
	my ($expected, $transactions) = $self->expected;
	my $r = $self->replay;
	$r->{$_} = 0 for qw(lost doubled reordered differences rows committed);
	$self->compare($r, $expected);
	$self->compare_counters($r, $acknowledged);
	$self->compare_table($r, $_) for qw(default full);
	wrong($r, "$r->{unasked} changes that no transaction made") if $r->{unasked};
	my ($history, $seen) = (0, 0);
	if ($self->{sink})
	{
		$seen = $self->{sink}->safe_psql('postgres', 'SELECT count(*) FROM history');
		my ($same, $back) = split /\|/, $self->{sink}->safe_psql('postgres',
			'SELECT count(*) FILTER (WHERE seq = before), count(*) FILTER (WHERE seq < before) FROM (SELECT seq, lag(seq) OVER (PARTITION BY tab, id, ranking ORDER BY n) AS before FROM history) h');
		$r->{doubled} += $same;
		$r->{reordered} += $back;
	}
	$r->{lost} += $r->{counter_lost};
	$r->{doubled} += $r->{counter_doubled} + $r->{doubled_pos};
	$r->{reordered} += $r->{counter_reordered} + $r->{reordered_pos};
	my $changes = @$expected;
	diag "$name: $transactions transactions, $changes changes, $r->{lines} lines, $seen sink writes: lost/doubled/reordered $r->{lost}/$r->{doubled}/$r->{reordered}, differences $r->{differences} of $r->{rows} rows and scores, lists broken $r->{list_broken}";
	is("$r->{lost}/$r->{doubled}/$r->{reordered}", '0/0/0', "$name: lost/doubled/reordered");
	is($r->{wrong}, 0, "$name: tables, scores, counters and lists are as SQL has them");
	diag join "\n", @{ $r->{examples} } if $r->{examples};
	cmp_ok($changes, '>', 0, "$name: the second slot saw changes");
	$r->{transactions} = $transactions;
	return $r;
}

# What has been judged is not needed any more: its place on the disk is given back, the file's offsets stay.
sub forget
{
	my ($self) = @_;
	my $until = $self->{offset} - 1_048_576;
	system('fallocate', '--punch-hole', '--offset', 0, '--length', $until, $self->{d}{ndjson}) if $until > 0;
	$self->{sink}->safe_psql('postgres', 'DELETE FROM history WHERE n NOT IN (SELECT max(n) FROM history GROUP BY tab, id, ranking)') if $self->{sink};
	return;
}

1;
