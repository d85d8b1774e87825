# Shadow.pm - a consumer that keeps a copy of every table with a primary key, and compares it with the source.
#
# It reads the stream as anybody would (format=json, one frame a line; nothing of ours is linked or
# called) and does what a row says: insert, update by key, delete by key, truncate.  At the end each
# copy must hold the rows of its table and no other, and each value must print as the server prints
# it.  What a stream of row changes cannot tell is not guessed: a value that was never sent
# (a column added with a default, a table rewritten with another type) is counted as not known, and
# a table whose rows changed while it had no identity is set aside, by name.
package Walrank::Shadow;

use strict;
use warnings;
use JSON::XS;
use MIME::Base64;
use File::Temp;

# Never sent, or sent without its value.
my $UNKNOWN = \'unknown';

# mode is the option the stream was made with.  tables: oid -> copy; relations: fingerprint -> Relation.
sub new
{
	my ($class, %o) = @_;
	return bless {
		mode => $o{mode} // 'row', tables => {}, relations => {}, problems => [], part => 0, changes => 0,
		last_end => 0, counts => { frames => 0, transactions => 0, changes => 0 }
	}, $class;
}

sub problem
{
	my ($self, $what) = @_;
	push @{ $self->{problems} }, $what if @{ $self->{problems} } < 200;
	return;
}

sub problems { return @{ $_[0]{problems} } }

# ---- frames --------------------------------------------------------------------------------------

my $json = JSON::XS->new->utf8;

# Reads every line of a file made by pg_recvlogical, one connection's; a line cut by its end is left
# out.  Transactions that an earlier connection brought already are passed over, as a consumer does.
sub read_file
{
	my ($self, $path) = @_;
	$self->{part} = $self->{changes} = 0;
	$self->{again} = $self->{last_end};
	open my $file, '<:raw', $path or die "$path: $!";
	while (my $line = <$file>)
	{
		$self->line($line) if $line =~ /\n\z/;
	}
	close $file;
	return $self;
}

sub line
{
	my ($self, $line) = @_;
	# no library may round them: digits stay digits
	$line =~ s/"(double|float)":([-+.0-9eE]+)/"$1":"$2"/g;
	my $frame = $json->decode($line);
	my $head = $frame->{head};
	my $part = $head->{part} // 0;

	if ($head->{endLsn} <= ($self->{again} // 0))
	{
		$self->relation($_->{relation}) for grep { $_->{relation} } @{ $frame->{entries} // [] };
		return;
	}
	$self->problem("frame $part follows $self->{part} frames") if $part != $self->{part};
	$self->problem("transactions out of order at $head->{endLsn}") if $part == 0 && $head->{endLsn} <= $self->{last_end};
	$self->{part}++;
	$self->{counts}{frames}++;
	$self->entry($_) for @{ $frame->{entries} // [] };
	$self->tail($head, $frame->{tail}) if $frame->{tail};
	return;
}

sub tail
{
	my ($self, $head, $tail) = @_;
	$self->problem("the tail tells $tail->{frames} frames of $self->{part}") if $tail->{frames} != $self->{part};
	$self->problem("the tail tells $tail->{changes} changes of $self->{changes}") if $tail->{changes} != $self->{changes};
	$self->{counts}{transactions}++;
	$self->{counts}{changes} += $self->{changes};
	$self->{last_end} = $head->{endLsn};
	@$self{qw(part changes)} = (0, 0);
	return;
}

sub entry
{
	my ($self, $entry) = @_;
	if (my $relation = $entry->{relation}) { $self->relation($relation) }
	elsif (my $change = $entry->{change})
	{
		$self->{changes}++;
		$self->change($change);
	}
	elsif (my $truncate = $entry->{truncate})
	{
		$self->{changes}++;
		$self->empty($_) for map { $self->table_of($_) // () } @{ $truncate->{relations} };
	}
	elsif (defined $entry->{publicationLost}) { $self->problem("publication $entry->{publicationLost} was lost") }
	elsif ($entry->{message}) { $self->{counts}{messages}++ }
	else { $self->problem('an entry of no known kind') }
	return;
}

sub table_of
{
	my ($self, $fingerprint) = @_;
	my $relation = $self->{relations}{$fingerprint};
	if (!$relation)
	{
		$self->problem("fingerprint $fingerprint was never announced");
		return undef;
	}
	# a connection that goes back to an earlier version of a table is told so by its changes
	my $table = $self->{tables}{ $relation->{oid} };
	$self->become($table, $relation) if $table->{relation} != $relation;
	return $table;
}

# ---- tables --------------------------------------------------------------------------------------

# {relation, names, keys => [column], rows => {key => row}, loose => [row of a table without key], lost => why}
sub relation
{
	my ($self, $relation) = @_;
	my $known = $self->{relations}{ $relation->{fingerprint} };

	$self->{counts}{relations}++;
	$relation = $self->{relations}{ $relation->{fingerprint} } = $known // $relation;
	my $table = $self->{tables}{ $relation->{oid} } //= { rows => {}, loose => [] };
	$self->become($table, $relation);
	return;
}

sub same_type { return $_[0]{typeOid} == $_[1]{typeOid} && $_[0]{typmod} == $_[1]{typmod} }

# The table is described anew: what keeps name and type keeps its values.
sub become
{
	my ($self, $table, $relation) = @_;
	my $was = $table->{relation};
	my @columns = @{ $relation->{columns} // [] };

	return if $was && $was == $relation;
	$table->{relation} = $relation;
	$table->{names} = [ map { $_->{name} } @columns ];
	$table->{keys} = [ grep { $columns[$_]{key} } 0 .. $#columns ];
	return if !$was;

	my %old = map { ($was->{columns}[$_]{name} => $_) } 0 .. $#{ $was->{columns} // [] };
	my @from = map { defined $old{ $_->{name} } && same_type($was->{columns}[ $old{ $_->{name} } ], $_) ? $old{ $_->{name} } : -1 } @columns;
	my @rows = map { my $row = $_; [ map { $_ < 0 ? $UNKNOWN : $row->[$_] } @from ] } values %{ $table->{rows} }, @{ $table->{loose} };
	@$table{qw(rows loose)} = ({}, []);
	$self->place($table, $_) for @rows;
	return;
}

# A value's name inside this program: equal values, equal names.
sub name_of
{
	my ($value) = @_;
	return '?' if !defined $value || ref $value eq 'SCALAR';
	return JSON::XS->new->canonical->encode($value);
}

sub key_of { return join "\0", map { name_of($_) } @_ }

sub place
{
	my ($self, $table, $row) = @_;
	if (!@{ $table->{keys} })
	{
		push @{ $table->{loose} }, $row;
		return;
	}
	my @key = @$row[ @{ $table->{keys} } ];
	if (grep { !defined $_ || ref $_ eq 'SCALAR' } @key)
	{
		$table->{lost} //= 'a key is made of values that were never sent';
		return;
	}
	my $key = key_of(@key);
	$self->problem("$table->{relation}{table}: two rows with the key $key") if $table->{rows}{$key} && !$table->{lost};
	$table->{rows}{$key} = $row;
	return;
}

sub empty
{
	my ($self, $table) = @_;
	@$table{qw(rows loose)} = ({}, []);
	delete $table->{lost};
	return;
}

# ---- changes -------------------------------------------------------------------------------------

sub change
{
	my ($self, $change) = @_;
	my $table = $self->table_of($change->{relation}) or return;
	my $op = $change->{op};

	if (($change->{flags} // 0) & 4) { $self->problem("$table->{relation}{table}: a filter failed") }
	if ($op eq 'INSERT')
	{
		$self->place($table, $self->row($table, $change, undef));
		return;
	}
	if (!@{ $table->{keys} } || ($change->{flags} // 0) & 1)
	{
		$table->{lost} //= "$op without a key";
		return;
	}
	my $key = key_of(@{ $change->{oldKey} // $change->{key} // [] });
	my $old = delete $table->{rows}{$key};
	$self->problem("$table->{relation}{table}: $op of a row that is not there: $key") if !$old && !$table->{lost};
	return if $op eq 'DELETE';
	$self->place($table, $self->row($table, $change, $old));
	return;
}

# The row after an insert or update.
sub row
{
	my ($self, $table, $change, $old) = @_;
	my @row = $old ? @$old : ($UNKNOWN) x @{ $table->{names} };
	my @keys = @{ $table->{keys} };
	my (%whole, %touched);

	@row[@keys] = @{ $change->{key} // [] } if @{ $change->{key} // [] } == @keys;
	for my $attribute (@{ $change->{attributes} // [] })
	{
		my $column = $attribute->{column} // 0;
		if (defined $attribute->{key}) { push @{ $touched{$column} }, $attribute }
		else { $whole{$column} = $attribute }
	}
	$row[$_] = $self->whole($table, $_, $whole{$_}, $row[$_]) for keys %whole;
	$row[$_] = $self->object($touched{$_}, $row[$_], exists $whole{$_}) for keys %touched;
	return \@row;
}

sub whole
{
	my ($self, $table, $column, $attribute, $old) = @_;
	my $state = $attribute->{state} // 'SET';

	return $attribute->{value} if $state eq 'SET';
	$self->{counts}{unchanged_toast}++ if $state eq 'UNCHANGED_TOAST';
	return $old if $state eq 'UNCHANGED_TOAST';
	$self->{counts}{oversized}++;
	$self->{oversized}{"$table->{relation}{table}.$table->{names}[$column]"}++;
	return $UNKNOWN;
}

# A jsonb object by its keys.  Where no old image was known (changed is absent) it came whole.
sub object
{
	my ($self, $attributes, $old, $whole_given) = @_;
	my $merge = $self->{mode} eq 'delta' && !grep { ($_->{changed} // 'UNKNOWN') eq 'UNKNOWN' } @$attributes;
	my %object = $merge && ref $old eq 'HASH' && $old->{object} ? %{ $old->{object} } : ();
	my $set = 0;

	for my $attribute (@$attributes)
	{
		my $state = $attribute->{state} // 'SET';
		if ($state eq 'REMOVED') { delete $object{ $attribute->{key} } }
		else
		{
			$object{ $attribute->{key} } = $state eq 'SET' ? $attribute->{value} : $UNKNOWN;
			$set++;
		}
	}
	# the object gave way to what was sent without a key
	return $old if $whole_given && !$set;
	return { object => \%object };
}

# ---- values as the server prints them --------------------------------------------------------------

sub plain_number
{
	my ($digits, $exponent) = @_;
	return $digits if $exponent == 0;
	return $digits eq '0' ? '0' : $digits . '0' x $exponent if $exponent > 0;
	$digits = '0' x (1 - $exponent - length $digits) . $digits if length $digits <= -$exponent;
	return substr($digits, 0, $exponent) . '.' . substr($digits, $exponent);
}

sub decimal_text
{
	my ($d) = @_;
	my $special = $d->{special} // 'FINITE';

	return { NAN => 'NaN', INFINITY => 'Infinity', NEGATIVE_INFINITY => '-Infinity' }->{$special} if $special ne 'FINITE';
	return ($d->{negative} ? '-' : '') . plain_number($d->{digits} // '0', $d->{exponent} // 0);
}

# of days since 2000-01-01: (text, is before Christ)
sub date_parts
{
	my ($days) = @_;
	# civil calendar from a day number, eras of 400 years from March 1st
	my $z = $days + 730425;
	my $era = int(($z >= 0 ? $z : $z - 146096) / 146097);
	my $doe = $z - $era * 146097;
	my $yoe = int(($doe - int($doe / 1460) + int($doe / 36524) - int($doe / 146096)) / 365);
	my $doy = $doe - (365 * $yoe + int($yoe / 4) - int($yoe / 100));
	my $mp = int((5 * $doy + 2) / 153);
	my $month = $mp < 10 ? $mp + 3 : $mp - 9;
	my $year = $yoe + $era * 400 + ($month <= 2 ? 1 : 0);
	my $bc = $year <= 0;
	return (sprintf('%04d-%02d-%02d', $bc ? 1 - $year : $year, $month, $doy - int((153 * $mp + 2) / 5) + 1), $bc);
}

sub date_text
{
	my ($days) = @_;
	return 'infinity' if $days == 2147483647;
	return '-infinity' if $days == -2147483648;
	my ($text, $bc) = date_parts($days);
	return $text . ($bc ? ' BC' : '');
}

sub timestamp_text
{
	my ($us, $zone) = @_;
	return 'infinity' if $us eq '9223372036854775807';
	return '-infinity' if $us eq '-9223372036854775808';
	use integer;
	my $days = $us / 86400000000;
	my $rest = $us % 86400000000;
	if ($rest < 0) { $rest += 86400000000; $days-- }
	my ($date, $bc) = do { no integer; date_parts($days) };
	my $text = sprintf '%s %02d:%02d:%02d', $date, $rest / 3600000000, $rest / 60000000 % 60, $rest / 1000000 % 60;
	my $fraction = sprintf '%06d', $rest % 1000000;
	$fraction =~ s/0+\z//;
	$text .= ".$fraction" if length $fraction;
	return $text . ($zone ? '+00' : '') . ($bc ? ' BC' : '');
}

my %escapes = ("\b" => '\b', "\f" => '\f', "\n" => '\n', "\r" => '\r', "\t" => '\t', '"' => '\"', '\\' => '\\\\');

sub json_string
{
	my ($text) = @_;
	$text =~ s/(["\\\x00-\x1f])/$escapes{$1} \/\/ sprintf('\\u%04x', ord $1)/ge;
	return "\"$text\"";
}

# JSON in the spacing, spelling and number format of jsonb's output.
sub json_text
{
	my ($text) = @_;
	my $out = '';

	while ($text =~ /\G\s*(?:("(?:[^"\\]|\\.)*")|(-?)([0-9]+)(?:\.([0-9]+))?(?:[eE]([-+]?[0-9]+))?|([\[\]{}:,]|true|false|null))/gcs)
	{
		if (defined $1) { $out .= json_string(JSON::XS->new->allow_nonref->decode($1)) }
		elsif (defined $3)
		{
			my ($minus, $whole, $fraction, $exponent) = ($2, $3, $4 // '', $5 // 0);
			(my $digits = "$whole$fraction") =~ s/^0+(?=[0-9])//;
			$out .= $minus . plain_number($digits, $exponent - length $fraction);
		}
		else { $out .= $6 eq ',' ? ', ' : $6 eq ':' ? ': ' : $6 }
	}
	return $out;
}

# A Value as JSON, for jsonb.
sub json_value
{
	my ($value) = @_;
	return join '', '[', join(', ', map { json_value($_) } @{ $value->{list}{values} // [] }), ']' if $value->{list};
	return json_string($value->{text}) if defined $value->{text};
	return json_text($value->{json}) if defined $value->{json};
	return decimal_text($value->{decimal}) if $value->{decimal};
	return $value->{int} if defined $value->{int};
	return $value->{bool} ? 'true' : 'false' if defined $value->{bool};
	return 'null' if $value->{null};
	return '(a value that is not JSON)';
}

# Keys are stored by length, then by bytes.
sub object_text
{
	my ($object) = @_;
	my %bytes = map { decode_base64($_) => $object->{$_} } keys %$object;

	return undef if grep { ref $_ eq 'SCALAR' } values %bytes;
	my @sorted = sort { length $a <=> length $b || $a cmp $b } keys %bytes;
	return '{' . join(', ', map { my $k = $_; utf8::decode(my $name = $k); json_string($name) . ': ' . json_value($bytes{$k}) } @sorted) . '}';
}

sub array_element
{
	my ($value, $type) = @_;
	my $text = value_text($value, $type);

	return 'NULL' if !defined $text;
	return $text if $text =~ /^[^{}"\\,\s\x0b]+\z/ && lc $text ne 'null';
	$text =~ s/(["\\])/\\$1/g;
	return "\"$text\"";
}

# What the server prints of a Value in a column of this type: {name, element}.  undef is NULL.
sub value_text
{
	my ($value, $type) = @_;

	return $value->{object} ? object_text($value->{object}) : $value->{null} ? undef : json_value($value) if $type->{name} eq 'jsonb';
	return undef if $value->{null};
	return join ' ', map { value_text($_, $type->{element}) } @{ $value->{list}{values} // [] } if $value->{list} && $type->{name} =~ /^(?:oid|int2)vector\z/;
	return '{' . join(',', map { array_element($_, $type->{element}) } @{ $value->{list}{values} // [] }) . '}' if $value->{list};
	for my $plain (qw(int text json double float)) { return $value->{$plain} if defined $value->{$plain} }
	return $value->{bool} ? 't' : 'f' if defined $value->{bool};
	return '\x' . unpack('H*', decode_base64($value->{bytes})) if defined $value->{bytes};
	return decimal_text($value->{decimal}) if $value->{decimal};
	return timestamp_text($value->{timestamp}, 0) if defined $value->{timestamp};
	return timestamp_text($value->{timestamptz}, 1) if defined $value->{timestamptz};
	return date_text($value->{date}) if defined $value->{date};
	# proto3's defaults are left out of JSON: an empty message is a Value of no kind
	return '(no value)';
}

# ---- comparing -----------------------------------------------------------------------------------

my %settings = (
	datestyle => 'ISO,YMD', intervalstyle => 'postgres', extra_float_digits => 1, bytea_output => 'hex', timezone => 'UTC',
	lc_monetary => 'C', search_path => 'pg_catalog', quote_all_identifiers => 'off', client_encoding => 'UTF8');

# Answers of queries, in order: each is handed to what, as a list of rows, each a list of values.
# psql is a list like psql -X -h .. -d ..
sub queries
{
	my ($psql, $what, @sql) = @_;
	local $ENV{PGOPTIONS} = join ' ', map { "-c $_=$settings{$_}" } sort keys %settings;
	my $script = File::Temp->new;
	binmode $script, ':utf8';
	# a backslash is doubled in what COPY prints: no row looks like this line
	print $script "COPY ($_) TO STDOUT;\n\\echo '\\\\.end'\n" for @sql;
	close $script;
	open my $pipe, '-|', @$psql, '-qAt', '-v', 'ON_ERROR_STOP=1', '-f', $script->filename or die "psql: $!";
	binmode $pipe, ':utf8';
	my ($at, @rows) = (0);
	while (my $line = <$pipe>)
	{
		chomp $line;
		if ($line eq '\.end')
		{
			$what->($at++, [ splice @rows ]);
			next;
		}
		push @rows, row_of($line);
	}
	close $pipe or die "psql failed after $at queries: $sql[$at]\n";
	return;
}

my %plain = (b => "\b", f => "\f", n => "\n", r => "\r", t => "\t", v => "\x0b");

sub row_of
{
	my ($line) = @_;
	return [''] if $line eq '';
	return [ map { $_ eq '\N' ? undef : s/\\(.)/$plain{$1} \/\/ $1/ger } split /\t/, $line, -1 ];
}

my $columns_sql = q{
	WITH RECURSIVE base(oid, below) AS (
		SELECT oid, oid FROM pg_type WHERE typtype <> 'd'
		UNION ALL SELECT t.oid, b.below FROM pg_type t JOIN base b ON t.typbasetype = b.oid AND t.typtype = 'd')
	SELECT c.oid, a.attname, a.atttypid, a.atttypmod, t.typname, et.typname, a.attgenerated, coalesce(a.attnum = ANY (i.indkey), false)
	FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
		JOIN base b ON b.oid = a.atttypid JOIN pg_type t ON t.oid = b.below
		LEFT JOIN base eb ON eb.oid = t.typelem AND t.typsubscript = 'array_subscript_handler'::regproc LEFT JOIN pg_type et ON et.oid = eb.below
		LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary
	WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND c.oid >= 16384
	ORDER BY c.oid, a.attnum};

my $tables_sql = q{
	SELECT c.oid, n.nspname, c.relname, quote_ident(n.nspname) || '.' || quote_ident(c.relname)
	FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
	WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND c.oid >= 16384 AND n.nspname <> 'walrank_out' ORDER BY c.oid};

# Compares every table of the source that has a primary key, and those without that have only ever
# been inserted into.  excused: schema.table => why its rows may differ.
# Returns counts; what differs is a problem.
sub compare
{
	my ($self, $psql, %o) = @_;
	my %columns;
	my $counts = { tables => 0, rows => 0, values => 0, unknown => 0, lost => [], excused => [] };

	my ($attributes, $tables);
	queries($psql, sub { ($_[0] == 0 ? $attributes : $tables) = $_[1] }, $columns_sql, $tables_sql);
	for my $row (@$attributes)
	{
		my ($oid, $name, $typid, $typmod, $type, $element, $generated, $key) = @$row;
		next if $generated eq 'v';
		push @{ $columns{$oid} }, { name => $name, typeOid => $typid, typmod => $typmod, key => $key eq 't',
			type => { name => $type, element => defined $element ? { name => $element } : undef } };
	}
	my @sql = map { 'SELECT ' . join(', ', map { (my $q = $_->{name}) =~ s/"/""/g; "\"$q\"" } @{ $columns{ $_->[0] } // [] }) . " FROM ONLY $_->[3]" } @$tables;
	queries($psql, sub {
		my ($at, $source) = @_;
		my ($oid, $schema, $table) = @{ $tables->[$at] };
		$self->compare_table($counts, "$schema.$table", $columns{$oid} // [], $source, $self->{tables}{$oid}, $o{excused}{"$schema.$table"});
	}, @sql);
	return $counts;
}

# The copy's values in the source's order of columns; those that are not comparable are not known.
sub lay_out
{
	my ($copy, $columns) = @_;
	my $described = $copy->{relation}{columns} // [];
	my %at = map { $described->[$_]{name} => $_ } 0 .. $#$described;
	my @from = map { my $at = $at{ $_->{name} }; defined $at && same_type($described->[$at], $_) ? $at : -1 } @$columns;

	return map { my $row = $_; [ map { $_ < 0 ? $UNKNOWN : $row->[$_] } @from ] } values %{ $copy->{rows} }, @{ $copy->{loose} };
}

sub compare_table
{
	my ($self, $counts, $name, $columns, $source, $copy, $excuse) = @_;
	my @keys = grep { $columns->[$_]{key} } 0 .. $#$columns;

	if ($excuse)
	{
		push @{ $counts->{excused} }, "$name: $excuse";
		return;
	}
	if ($copy && $copy->{lost})
	{
		push @{ $counts->{lost} }, "$name: $copy->{lost}";
		return;
	}
	return $self->compare_bag($counts, $name, $columns, $source, $copy) if !@keys;
	my %shadow;
	for my $row ($copy ? lay_out($copy, $columns) : ())
	{
		my @key = map { ref $row->[$_] eq 'SCALAR' ? undef : value_text($row->[$_], $columns->[$_]{type}) } @keys;
		if (grep { !defined } @key)
		{
			push @{ $counts->{lost} }, "$name: its key was never sent";
			return;
		}
		$shadow{ join "\0", @key } = $row;
	}
	$counts->{tables}++;
	push @{ $counts->{compared} }, $copy if $copy;
	$counts->{not_empty}++ if @$source;
	for my $row (@$source)
	{
		my $key = join "\0", @$row[@keys];
		my $ours = delete $shadow{$key};
		$counts->{rows}++;
		if (!$ours) { $self->problem("$name: row ($key) was not sent") }
		else { $self->compare_row($counts, $name, $key, $columns, $row, $ours) }
	}
	$self->problem("$name: row ($_) does not exist") for sort keys %shadow;
	return;
}

# Rows without a key: each as often as in the other.
sub compare_bag
{
	my ($self, $counts, $name, $columns, $source, $copy) = @_;
	my %bag;

	for my $row ($copy ? lay_out($copy, $columns) : ())
	{
		my @texts = map { ref $row->[$_] eq 'SCALAR' ? $UNKNOWN : printed($row->[$_], $columns->[$_]{type}) } 0 .. $#$columns;
		if (grep { ref $_ } @texts)
		{
			push @{ $counts->{lost} }, "$name: no key, and values that were never sent";
			return;
		}
		$bag{ bag_name(@texts) }++;
	}
	$counts->{keyless}++;
	$counts->{keyless_rows} += @$source;
	for my $row (@$source)
	{
		my $row_name = bag_name(map { comparable($row->[$_], $columns->[$_]{type}) } 0 .. $#$columns);
		if ($bag{$row_name}) { $bag{$row_name}-- }
		else { $self->problem("$name: row ($row_name) was not sent, or not as often") }
	}
	$self->problem("$name: row ($_) is not there, or not as often") for grep { $bag{$_} > 0 } sort keys %bag;
	return;
}

sub bag_name { return join '|', map { defined $_ ? s/([\\|])/\\$1/gr : '\N' } @_ }

# What the server prints, less what is no part of a value: a currency's sign, where an array's indexes start, zeros that
# a number's fraction ends with (the stream cuts long ones), and JSON's null, which is sent like SQL's.
sub comparable
{
	my ($text, $type) = @_;
	return $text if !defined $text;
	$text =~ s/^\[-?\d+:-?\d+\]=// if $type->{element};
	if (($type->{element} // $type)->{name} eq 'money')
	{
		$text =~ s/"([^"]*)"/$1 =~ tr{,}{}dr/ge if $type->{element};
		$type->{element} ? $text =~ tr/$//d : $text =~ tr/$,//d;
	}
	$text =~ s/(\.[0-9]*?)0+(?![0-9])/$1 eq '.' ? '' : $1/ge if ($type->{element} // $type)->{name} =~ /^(?:numeric|money)\z/;
	return $type->{name} eq 'jsonb' && $text eq 'null' ? undef : $text;
}

sub printed
{
	my ($value, $type) = @_;
	# composite values and arrays of several dimensions come as JSON, which the server does not print
	return $UNKNOWN if defined $value->{json} && $type->{name} !~ /^jsonb?\z/;
	my $text = value_text($value, $type);
	return $UNKNOWN if $value->{object} && !defined $text;
	return comparable($text, $type);
}

sub compare_row
{
	my ($self, $counts, $name, $key, $columns, $source, $ours) = @_;
	for my $i (0 .. $#$columns)
	{
		my $column = $columns->[$i];
		my $text = ref $ours->[$i] eq 'SCALAR' ? $UNKNOWN : printed($ours->[$i], $column->{type});
		my $theirs = comparable($source->[$i], $column->{type});

		if (ref $text)
		{
			$counts->{unknown}++;
			next;
		}
		$counts->{values}++;
		next if defined $text ? defined $theirs && $text eq $theirs : !defined $theirs;
		$self->problem(sprintf '%s (%s), column %s: %s in the table, %s in the stream', $name, $key, $column->{name}, map { defined $_ ? "'$_'" : 'NULL' } $theirs, $text);
	}
	return;
}

1;
