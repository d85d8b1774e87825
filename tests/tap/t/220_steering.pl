# Interventions from their row to the sink: at once, at their bounds, across a restart and while nobody is there.
use strict;
use warnings;
use Walrank;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $source = source('source');
$source->safe_psql('postgres', q{
	CREATE TABLE item (id bigint PRIMARY KEY, v int, tags text[]);
	INSERT INTO item SELECT i, i, CASE WHEN i % 2 = 0 THEN '{even}' ELSE '{odd}'::text[] END FROM generate_series(1, 10) i});
my $d = daemon_new($source);
$d->init;
$source->safe_psql('postgres', q{SELECT walrank.watch('item'); INSERT INTO walrank.ranking (name, relation, definition) VALUES ('r', 'public.item', 'term v weight 1 v')});
# one that is there before the daemon is
$source->safe_psql('postgres', q{INSERT INTO walrank.intervention (relation, key, action, factor, reason) VALUES ('public.item', '10', 'boost', 2, 'early')});
$d->create;
$d->catch_up;

# Lines about an item, oldest first: "score tier pin", or "gone".
sub told
{
	my ($id) = @_;
	my @lines;
	for (split /\n/, slurp($d->{ndjson}))
	{
		next unless /"key":\{"id":$id\}/;
		push @lines, 'gone' if /"kind":"remove"/;
		push @lines, "$1 $2 $3" if /"kind":"score".*"score":([-\d.e]+),"tier":(-?\d+),"pin":(\d+|null)/;
	}
	return @lines;
}

sub last_told { return (told(@_))[-1] // 'nothing' }

sub steer
{
	my ($columns, $values) = @_;
	return $source->safe_psql('postgres', "INSERT INTO walrank.intervention (relation, reason, $columns) VALUES ('public.item', 'test', $values) RETURNING id");
}

is_deeply([ told(10) ], ['20 0 null'], 'what was there first is in the first score');

# ---- at once ----
my $boost = steer('key, action, factor, addend', "'1', 'boost', 3, 1");
poll('the boost', sub { last_told(1) eq '4 0 null' });
$source->safe_psql('postgres', "UPDATE walrank.intervention SET valid_until = now() + interval '1 hour', factor = 4 WHERE id = $boost");
poll('another factor', sub { last_told(1) eq '5 0 null' });
$source->safe_psql('postgres', "DELETE FROM walrank.intervention WHERE id = $boost");
poll('no boost', sub { last_told(1) eq '1 0 null' });
is_deeply([ told(1) ], [ '1 0 null', '4 0 null', '5 0 null', '1 0 null' ], 'each told once');

steer('key, action, position', "'2', 'pin', 1");
poll('the pin', sub { last_told(2) eq '2 0 1' });
steer('key, action, position, priority', "'3', 'pin', 1, 5");
poll('the pin with priority', sub { last_told(3) eq '3 0 1' });
poll('the other one gives way', sub { last_told(2) eq '2 0 2' });

my $block = steer('condition, action', q{'''odd'' in tags and v > 4', 'block'});
poll('the odd ones are blocked', sub { last_told(5) eq 'gone' && last_told(7) eq 'gone' && last_told(9) eq 'gone' });
$source->safe_psql('postgres', "UPDATE item SET tags = '{even}' WHERE id = 5; UPDATE item SET tags = '{odd}' WHERE id = 6");
poll('one leaves, one comes', sub { last_told(5) eq '5 0 null' && last_told(6) eq 'gone' });
$source->safe_psql('postgres', "UPDATE walrank.intervention SET valid_until = now() WHERE id = $block");
poll('its end', sub { last_told(6) eq '6 0 null' && last_told(9) eq '9 0 null' });

# ---- at their bounds ----
steer('key, action, score, valid_from, valid_until', "'4', 'freeze', 0.5, now() + interval '1 s', now() + interval '2 s'");
poll('frozen', sub { last_told(4) eq '0.5 0 null' });
poll('thawed', sub { last_told(4) eq '4 0 null' });
is_deeply([ told(4) ], [ '4 0 null', '0.5 0 null', '4 0 null' ], 'begin and end, once each');

# ---- while nobody is there, and others write ----
steer('key, action, tier, valid_from, valid_until', "'8', 'tier', 3, now() + interval '2 s', now() + interval '3 s'");
steer('key, action, tier, valid_from', "'7', 'tier', 9, now() + interval '2500 ms'");
sleep 0.3;
$d->kill9;
sleep 4;
$source->safe_psql('postgres', 'UPDATE item SET v = v + 100 WHERE id = 8');
$d->start;
poll('the new value', sub { last_told(8) eq '108 0 null' });
is_deeply([ told(8) ], [ '8 0 null', '8 3 null', '8 0 null', '108 0 null' ], 'what began and ended meanwhile is told, before what came later');
is_deeply([ told(7) ], [ '7 0 null', 'gone', '7 0 null', '7 9 null' ], 'what began meanwhile as well');

# the time each was told with is the one that was set, to the microsecond
my ($from) = $source->safe_psql('postgres', q{SELECT to_char(valid_from AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') FROM walrank.intervention WHERE key = '8'});
ok((grep { /"key":\{"id":8\}/ && /"tier":3/ && /"at":"\Q$from\E"/ } split /\n/, slurp($d->{ndjson})), "told as of $from");

# ---- the daemon's word and SQL's ----
is($d->stop, 0, 'stopped');
done_testing();
