# Stream.pm - a slot of ours with pg_recvlogical on it: a true walsender, whose lines of JSON go to a file.
package Walrank::Stream;

use strict;
use warnings;
use Exporter 'import';
use IPC::Run;
use Test::More;
use Time::HiRes qw(sleep time);
use Walrank;

our @EXPORT = qw(stream_start stream_again stream_end stream_errors psql_of report);

sub psql_of
{
	my ($node, $db) = @_;
	return [ "$ENV{WALRANK_BINDIR}/psql", '-X', '-h', $node->host, '-p', $node->port, '-d', $db ];
}

my $name = 'walrank_stream';

# A slot of ours and pg_recvlogical on it, which tells where it is every interval seconds.  {files}: one for each connection.
sub stream_start
{
	my ($node, $db, %o) = @_;
	my $slot = $o{slot} // 'walrank_corpus';
	my $stream = { node => $node, db => $db, slot => $slot, said => '', options => $o{options} // [], interval => $o{interval} // 1, files => [] };

	$node->safe_psql($db, "SELECT pg_create_logical_replication_slot('$slot', 'walrank')");
	return stream_again($stream);
}

# The next connection to the slot.
sub stream_again
{
	my ($stream) = @_;
	my ($node, $slot) = @$stream{qw(node slot)};
	my $file = "$ENV{WORK}/" . $node->name . "_${slot}_" . @{ $stream->{files} } . '.json';
	my @options = map { ('-o', $_) } 'format=json', @{ $stream->{options} };

	push @{ $stream->{files} }, $file;
	local $ENV{PGAPPNAME} = $name; # in the server's log and pg_stat_replication
	$stream->{run} = IPC::Run::start(
		[ "$ENV{WALRANK_BINDIR}/pg_recvlogical", '-h', $node->host, '-p', $node->port, '-d', $stream->{db}, '--slot', $slot, '--start', '--no-loop',
			'-f', $file, '-s', $stream->{interval} // 1, '-F', '1', @options ],
		'<', \undef, '>', \$stream->{said}, '2>', \$stream->{said});
	poll("the walsender of $slot", sub { $node->safe_psql('postgres', "SELECT active FROM pg_replication_slots WHERE slot_name = '$slot'") eq 't' }, 60);
	return $stream;
}

# Waits until the client has all that is in the log now, and ends it.  False when it did not get there.
sub stream_end
{
	my ($stream, $seconds) = @_;
	my $node = $stream->{node};
	my $end = $node->safe_psql('postgres', 'SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END');
	my $there = eval {
		poll("$stream->{slot} at $end", sub {
			$stream->{run}->pumpable or die "pg_recvlogical ended: $stream->{said}\n";
			$stream->{run}->pump_nb;
			$node->safe_psql('postgres', "SELECT confirmed_flush_lsn >= '$end' FROM pg_replication_slots WHERE slot_name = '$stream->{slot}'") eq 't';
		}, $seconds);
	};
	$stream->{said} .= $@ if !$there;
	$stream->{run}->signal('INT');
	$stream->{run}->finish;
	return $there;
}

# What the server's log says of walsenders that is worse than a LOG line.
sub stream_errors
{
	my ($node) = @_;
	my @lines = grep { / $name [A-Z]+:/ } split /\n/, slurp($node->logfile);
	@lines or die "the server's log says nothing of $name: " . $node->logfile . "\n";
	return grep { / $name (?:ERROR|FATAL|PANIC|WARNING):/ && !/terminating connection due to administrator command/ } @lines;
}

sub report
{
	my ($shadow, $counts) = @_;
	my $seen = $shadow->{counts};

	diag(sprintf '%d transactions, %d changes, %d frames, %d descriptions, %d unchanged-toast, %d oversized', @$seen{qw(transactions changes frames relations)},
		map { $_ // 0 } @$seen{qw(unchanged_toast oversized)});
	diag(sprintf 'compared: %d tables (%d with rows), %d rows, %d values; %d values were never sent, or in a form the server does not print', @$counts{qw(tables)}, $counts->{not_empty} // 0,
		@$counts{qw(rows values unknown)});
	diag(sprintf 'and without a key, as sets: %d tables, %d rows', map { $_ // 0 } @$counts{qw(keyless keyless_rows)});
	my %aside;
	for my $table (@{ $counts->{lost} }, @{ $counts->{excused} })
	{
		my ($name, $why) = split /: /, $table, 2;
		push @{ $aside{$why} }, $name;
	}
	diag("set aside, $_: " . join ' ', @{ $aside{$_} }) for sort keys %aside;
	diag("oversized: $_ ($shadow->{oversized}{$_})") for sort keys %{ $shadow->{oversized} // {} };
	return;
}

1;
