#!/usr/bin/perl
# formula.pl - one ranking of N terms in four languages.
#
#	formula.pl rules|c|lua|sql|columns N
#
# The mix of terms is that of a shop: logarithms, saturations, decays by age, steps, enum, flags and
# lists.  "c" is what a person would write over the same values, missing ones included: constants
# folded, tables as comparisons.  "columns" are the names and SQL types that N terms read, in order.
use strict;
use warnings;

my ($language, $n) = @ARGV;
my (@names, %index, %type);
my (@rules, @c, @lua, @sql);

sub attribute {
	my ($name, $type) = @_;
	$index{$name} //= push(@names, $name) - 1;
	$type{$name} = $type;
	return $index{$name};
}
sub v { my ($name, $type) = @_; return 'v[' . attribute($name, $type) . ']' }
sub l { my ($name) = @_; return 'v[' . ($index{$name} + 1) . ']' }

# term expression in rules; condition that it counts and its value in C; the same in Lua; SQL
sub term {
	my ($weight, $rules, $c_if, $c, $lua_if, $lua, $sql) = @_;
	my $i = @rules;
	push @rules, "term t$i weight $weight $rules";
	push @c, "\tif ($c_if)\n\t\tterms += $weight * ($c);";
	push @lua, "\tif $lua_if then terms = terms + $weight * ($lua) end";
	push @sql, "coalesce($weight * ($sql), 0)";
}

my $where = v('status', 'text');
my @kinds = (
	sub {    # popularity
		my ($k, $w) = @_;
		my ($c, $l) = (v("views$k", 'float8'), l("views$k"));
		term($w, "log1p(views$k) missing 0", "$c.kind == RULE_NUMBER && $c.number >= 0", "log1p($c.number)", "$l and $l >= 0",
			"log1p($l)", "ln(1 + views$k)");
	},
	sub {    # freshness
		my ($k, $w) = @_;
		my ($c, $l) = (v("listed$k", 'timestamptz'), l("listed$k"));
		my $d = 3 + $k;
		my $s = $d * 86400;
		term($w, "exp_decay(age(listed$k), ${d}d) missing skip", "$c.kind == RULE_TIME",
			"exp(age(now_us, $c.time_us) * -0x1.62e42fefa39efp-1 / $s)", $l, "exp((now_us - $l) / 1e6 * -0x1.62e42fefa39efp-1 / $s)",
			"exp(extract(epoch FROM timestamptz '2026-01-01 00:00:00Z' - listed$k)::float8 * ln(0.5::float8) / $s)");
	},
	sub {    # price
		my ($k, $w) = @_;
		my ($c, $l) = (v("price$k", 'float8'), l("price$k"));
		my $b = 500 + 100 * $k;
		term($w, "steps(price$k, [(0, 1), (100, 0.8), ($b, 0.3), (5000, 0.1)], below = 0)", "$c.kind == RULE_NUMBER",
			"$c.number >= 5000 ? 0.1 : $c.number >= $b ? 0.3 : $c.number >= 100 ? 0.8 : $c.number >= 0 ? 1.0 : 0.0", $l,
			"$l >= 5000 and 0.1 or $l >= $b and 0.3 or $l >= 100 and 0.8 or $l >= 0 and 1 or 0",
			"CASE WHEN price$k >= 5000 THEN 0.1::float8 WHEN price$k >= $b THEN 0.3::float8 WHEN price$k >= 100 THEN 0.8::float8 WHEN price$k >= 0 THEN 1::float8 WHEN price$k < 0 THEN 0::float8 END");
	},
	sub {    # clicks
		my ($k, $w) = @_;
		my ($c, $l) = (v("clicks$k", 'float8'), l("clicks$k"));
		term($w, "saturation(clicks$k, 50) missing 0", "$c.kind == RULE_NUMBER && $c.number >= 0", "$c.number / ($c.number + 50)",
			"$l and $l >= 0", "$l / ($l + 50)", "clicks$k / (clicks$k + 50)");
	},
	sub {    # condition of the thing
		my ($k, $w) = @_;
		my ($c, $l) = (v("kind$k", 'text'), l("kind$k"));
		term($w, "enum(kind$k, {'new': 1, 'used': 0.5, 'refurbished': 0.7}, else = 0.2)", "$c.kind == RULE_TEXT",
			"is($c.bytes, \"new\", 3) ? 1.0 : is($c.bytes, \"used\", 4) ? 0.5 : is($c.bytes, \"refurbished\", 11) ? 0.7 : 0.2", $l,
			"$l == 'new' and 1 or $l == 'used' and 0.5 or $l == 'refurbished' and 0.7 or 0.2",
			"CASE kind$k WHEN 'new' THEN 1::float8 WHEN 'used' THEN 0.5::float8 WHEN 'refurbished' THEN 0.7::float8 ELSE CASE WHEN kind$k IS NOT NULL THEN 0.2::float8 END END");
	},
	sub {    # stock
		my ($k, $w) = @_;
		my ($c, $l) = (v("stock$k", 'float8'), l("stock$k"));
		my ($cr, $lr) = (v("rating$k", 'float8'), l("rating$k"));
		term($w, "flag(stock$k > 10 and rating$k >= 3.5, 1, else = 0.25)", '1',
			"$c.kind == RULE_NUMBER && $c.number > 10 && $cr.kind == RULE_NUMBER && $cr.number >= 3.5 ? 1.0 : 0.25", 'true',
			"$l and $l > 10 and $lr and $lr >= 3.5 and 1 or 0.25", "CASE WHEN stock$k > 10 AND rating$k >= 3.5 THEN 1::float8 ELSE 0.25::float8 END");
	},
	sub {    # rating
		my ($k, $w) = @_;
		my ($c, $l) = (v("rating$k", 'float8'), l("rating$k"));
		term($w, "min(rating$k, 5) / 5", "$c.kind == RULE_NUMBER", "(5 < $c.number ? 5 : $c.number) / 5", $l, "(5 < $l and 5 or $l) / 5",
			"CASE WHEN rating$k IS NOT NULL THEN least(rating$k, 5) / 5 END");
	},
	sub {    # badges
		my ($k, $w) = @_;
		my ($c, $l) = (v("badges", 'text[]'), l("badges"));
		my $badge = ('verified', 'eco', 'local', 'fast')[$k % 4];
		my $len = length $badge;
		term($w, "flag('$badge' in badges, 1)", "$c.kind == RULE_LIST && list_has($c.bytes, \"$badge\", $len)", '1.0',
			"$l and list_has($l, '$badge')", '1', "CASE WHEN '$badge' = ANY (badges) THEN 1::float8 ELSE 0::float8 END");
	},
);
# two of eight terms have a logarithm or an exponential
for my $i (0 .. $n - 1) {
	my $w = (0.6, 0.3, 0.1, 0.25, 0.4)[$i % 5] + $i / 1000;
	$kinds[$i % 8]->(int($i / 8) % 8, $w);
}
my ($badges, $level) = (v('badges', 'text[]'), v('level', 'float8'));
my ($lbadges, $llevel, $lwhere) = (l('badges'), l('level'), l('status'));

if ($language eq 'rules') {
	print "where status = 'on_sale'\n", map("$_\n", @rules);
	print "boost 0.05 when 'verified' in badges\nfactor 1.2 when level >= 4\nclamp 0 .. 100\nround 0.0001\n";
}
elsif ($language eq 'c') {
	print "static const char *const names_$n\[] = {", join(', ', map("\"$_\"", @names)), ", NULL};\n\n";
	print "static bool\nscore_$n(const RuleValue *v, int64_t now_us, double *score)\n{\n";
	print "\tdouble terms = 0;\n\tdouble boosts = 0;\n\tdouble factors = 1;\n\n";
	print "\tif ($where.kind != RULE_TEXT || !is($where.bytes, \"on_sale\", 7))\n\t\treturn false;\n", map("$_\n", @c);
	print "\tif ($badges.kind == RULE_LIST && list_has($badges.bytes, \"verified\", 8))\n\t\tboosts += 0.05;\n";
	print "\tif ($level.kind == RULE_NUMBER && $level.number >= 4)\n\t\tfactors *= 1.2;\n";
	print "\t*score = (terms + boosts) * factors;\n\t*score = *score < 0 ? 0 : *score > 100 ? 100 : *score;\n";
	print "\t*score = rint(*score * 10000) / 10000;\n\treturn isfinite(*score);\n}\n\n";
}
elsif ($language eq 'lua') {
	# as many locals as Lua allows are few: terms read the array
	print "local exp = math.exp\nlocal function list_has(list, text)\n\tfor i = 1, #list do if list[i] == text then return true end end\n\treturn false\nend\n";
	print "return function(v, now_us)\n\tlocal terms, boosts, factors = 0, 0, 1\n\tif $lwhere ~= 'on_sale' then return nil end\n", map("$_\n", @lua);
	print "\tif $lbadges and list_has($lbadges, 'verified') then boosts = boosts + 0.05 end\n";
	print "\tif $llevel and $llevel >= 4 then factors = factors * 1.2 end\n";
	print "\tlocal score = (terms + boosts) * factors\n\tscore = score < 0 and 0 or score > 100 and 100 or score\n";
	# half to even, as rint() does
	print "\treturn (score * 10000 + 6755399441055744.0 - 6755399441055744.0) / 10000\nend\n";
}
elsif ($language eq 'sql') {
	my $sum = join("\n + ", @sql);
	print "CASE WHEN status = 'on_sale' THEN round(10000 * least(100, greatest(0, ($sum\n + CASE WHEN 'verified' = ANY (badges) THEN 0.05::float8 ELSE 0::float8 END)",
		" * CASE WHEN level >= 4 THEN 1.2::float8 ELSE 1::float8 END))) / 10000 END";
}
else {
	print map("$_ $type{$_}\n", @names);
}
