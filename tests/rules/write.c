/*
 * write.c -- a tree as the text it stands for: brackets only where they are needed.
 */
#include "model.h"

#include <math.h>

/* How tightly an expression holds together. */
enum
{
	OR = 1,
	AND,
	NOT,
	RELATION,
	SUM,
	PRODUCT,
	SIGN,
	PRIMARY,
};

static int
level(const Expr *e)
{
	switch (e->kind)
	{
		case X_OR:
			return OR;
		case X_AND:
			return AND;
		case X_NOT:
			return NOT;
		case X_COMPARE:
		case X_IN_TABLE:
		case X_IN_LIST:
		case X_BETWEEN:
		case X_LIKE:
		case X_PREFIX:
		case X_IS_NULL:
			return RELATION;
		case X_CHAIN:
			return e->ops[1] == '+' || e->ops[1] == '-' ? SUM : PRODUCT;
		case X_NEGATE:
			return SIGN;
		case X_NUMBER:
			return signbit(e->number) ? SIGN : PRIMARY;
		default:
			return PRIMARY;
	}
}

static void
write_text(FILE *to, const char *text)
{
	fputc('\'', to);
	for (; *text != '\0'; text++)
		fprintf(to, *text == '\'' ? "''" : "%c", *text);
	fputc('\'', to);
}

static void
write_key(FILE *to, const Value *key)
{
	if (key->kind == V_TEXT)
		write_text(to, key->text);
	else if (key->kind == V_NUMBER)
		fprintf(to, "%.17g", key->number);
	else
		fputs(key->boolean ? "true" : "false", to);
}

static void write_expr(FILE *to, const Expr *e, int at_least);

static void
write_list(FILE *to, const Expr *e, const char *between)
{
	for (int i = 0; i < e->n; i++)
	{
		fputs(i > 0 ? between : "", to);
		write_expr(to, e->operands[i], OR);
	}
}

static void
write_call(FILE *to, const Expr *e)
{
	const FunctionDef *f = &functions[e->id];

	fprintf(to, "%s(", f->name);
	for (int i = 0; i < e->n; i++)
	{
		fputs(i > 0 ? ", " : "", to);
		if (i >= f->needed && e->n % 2 == 0)
			fprintf(to, "%s = ", f->arguments[i].name);
		write_expr(to, e->operands[i], OR);
	}
	fputc(')', to);
}

static void
write_table(FILE *to, const Expr *e)
{
	bool pairs = e->kind == X_STEPS || e->kind == X_INTERP;

	for (int i = 0; i < e->nentries; i++)
	{
		fputs(i > 0 ? ", " : "", to);
		fputs(pairs ? "(" : "", to);
		write_key(to, &e->entries[i].key);
		if (pairs)
			fprintf(to, ", %.17g)", e->entries[i].value);
		else if (e->kind == X_ENUM)
			fprintf(to, ": %.17g", e->entries[i].value);
	}
}

static void
write_function(FILE *to, const char *name, const Expr *e, const char *open, const char *close,
			   const char *other)
{
	fprintf(to, "%s(", name);
	write_expr(to, e->operands[0], OR);
	fprintf(to, ", %s", open);
	write_table(to, e);
	fputs(close, to);
	if (e->has_other)
		fprintf(to, ", %s = %.17g", other, e->other);
	fputc(')', to);
}

static void
write_named(FILE *to, const char *name, const Expr *e)
{
	fprintf(to, "%s(", name);
	write_list(to, e, ", ");
	fputc(')', to);
}

static void
write_operands(FILE *to, const Expr *e, const char *word, int at_least)
{
	for (int i = 0; i < e->n; i++)
	{
		if (i > 0)
			fprintf(to, " %s ", word);
		write_expr(to, e->operands[i], at_least);
	}
}

static void
write_chain(FILE *to, const Expr *e)
{
	for (int i = 0; i < e->n; i++)
	{
		if (i > 0)
			fprintf(to, " %c ", e->ops[i]);
		write_expr(to, e->operands[i], level(e) + 1);
	}
}

static void
write_relation(FILE *to, const Expr *e)
{
	static const char names[] = "=!<>lg";
	static const char *const signs[] = {"=", "!=", "<", ">", "<=", ">="};

	write_expr(to, e->operands[0], SUM);
	switch (e->kind)
	{
		case X_COMPARE:
			for (int i = 0; names[i] != '\0'; i++)
				if (names[i] == e->ops[0])
					fprintf(to, " %s ", signs[i]);
			write_expr(to, e->operands[1], SUM);
			break;
		case X_IN_TABLE:
			fputs(" in (", to);
			write_table(to, e);
			fputc(')', to);
			break;
		case X_IN_LIST:
			fputs(" in ", to);
			write_expr(to, e->operands[1], PRIMARY);
			break;
		case X_BETWEEN:
			fputs(" between ", to);
			write_expr(to, e->operands[1], SUM);
			fputs(" and ", to);
			write_expr(to, e->operands[2], SUM);
			break;
		case X_IS_NULL:
			fputs(" is null", to);
			break;
		default:
			fputs(e->kind == X_LIKE ? " like " : " prefix ", to);
			write_text(to, e->text);
	}
}

static void
write_primary(FILE *to, const Expr *e)
{
	switch (e->kind)
	{
		case X_NUMBER:
			fprintf(to, "%.17g", e->number);
			break;
		case X_TEXT:
			write_text(to, e->text);
			break;
		case X_BOOL:
			fputs(e->boolean ? "true" : "false", to);
			break;
		case X_ATTRIBUTE:
			fputs(attributes[e->id].name, to);
			break;
		case X_OLD:
			fprintf(to, "old(%s)", attributes[e->id].name);
			break;
		case X_CALL:
			write_call(to, e);
			break;
		case X_STEPS:
			write_function(to, "steps", e, "[", "]", "below");
			break;
		case X_INTERP:
			write_function(to, "interp", e, "[", "]", "");
			break;
		case X_ENUM:
			write_function(to, "enum", e, "{", "}", "else");
			break;
		case X_OVERLAP:
			write_function(to, "overlap", e, "[", "]", "");
			break;
		case X_CONTAINS:
			fputs("contains(", to);
			write_expr(to, e->operands[1], OR);
			fputs(", ", to);
			write_expr(to, e->operands[0], OR);
			fputc(')', to);
			break;
		case X_RATE:
			fprintf(to, "rate(%s, ", attributes[e->id].name);
			write_expr(to, e->operands[0], OR);
			fputc(')', to);
			break;
		case X_DELTA:
			fprintf(to, "delta(%s)", attributes[e->id].name);
			break;
		case X_CHANGED:
			fprintf(to, "changed(%s)", attributes[e->id].name);
			break;
		case X_CONST:
			fprintf(to, "C%d", e->id);
			break;
		case X_LET:
			fprintf(to, "let%d", e->id);
			break;
		case X_PARAMETER:
			fprintf(to, "p%d", e->id);
			break;
		case X_MACRO:
			fprintf(to, "macro%d", e->id);
			write_named(to, "", e);
			break;
		default:
			write_named(to,
						e->kind == X_MIN	? "min"
						: e->kind == X_MAX	? "max"
						: e->kind == X_FLAG ? "flag"
						: e->kind == X_AGE	? "age"
						: e->kind == X_LEN	? "len"
											: "exists",
						e);
	}
}

static void
write_expr(FILE *to, const Expr *e, int at_least)
{
	bool brackets = level(e) < at_least;

	fputs(brackets ? "(" : "", to);
	switch (level(e))
	{
		case OR:
			write_operands(to, e, "or", AND);
			break;
		case AND:
			write_operands(to, e, "and", NOT);
			break;
		case NOT:
			fputs("not ", to);
			write_expr(to, e->operands[0], NOT);
			break;
		case RELATION:
			write_relation(to, e);
			break;
		case SUM:
		case PRODUCT:
			write_chain(to, e);
			break;
		case SIGN:
			if (e->kind == X_NUMBER)
				write_primary(to, e);
			else
			{
				fputc('-', to);
				write_expr(to, e->operands[0], SIGN);
			}
			break;
		default:
			write_primary(to, e);
	}
	fputs(brackets ? ")" : "", to);
}

static void
write_policy(FILE *to, const char *before, const char *word, const Policy *policy)
{
	static const char *const words[] = {[P_SKIP] = "skip",
										[P_QUARANTINE] = "quarantine",
										[P_LAST_KNOWN] = "last known",
										[P_REJECT] = "reject item"};

	if (policy->kind == P_UNSET)
		return;
	if (policy->kind == P_NUMBER)
		fprintf(to, "%s%s %s%.17g", before, word, policy->number > 1 ? "default " : "", policy->number);
	else
		fprintf(to, "%s%s %s", before, word, words[policy->kind]);
}

static void
write_statement(FILE *to, const Statement *s, int number)
{
	switch (s->kind)
	{
		case S_TERM:
			fprintf(to, "term t%d ", number);
			if (s->weight != 1)
				fprintf(to, "weight %.17g ", s->weight);
			break;
		case S_BOOST:
			fputs("boost ", to);
			break;
		case S_FACTOR:
			fputs("factor ", to);
			break;
		case S_TIER:
			fprintf(to, "tier %d", s->tier);
	}
	if (s->value != NULL)
		write_expr(to, s->value, OR);
	if (s->when != NULL)
	{
		fputs(" when ", to);
		write_expr(to, s->when, OR);
	}
	write_policy(to, " ", "missing", &s->missing);
	write_policy(to, " ", "on_error", &s->on_error);
	fputc('\n', to);
}

static void
write_names(FILE *to, const Definition *d)
{
	for (int i = 0; i < d->nconsts; i++)
		fprintf(to, "const C%d = %.17g\n", i, d->consts[i]);
	for (int i = 0; i < d->nlets; i++)
	{
		fprintf(to, "let let%d = ", i);
		write_expr(to, d->lets[i], OR);
		fputc('\n', to);
	}
	for (int i = 0; i < d->nmacros; i++)
	{
		fprintf(to, "macro macro%d(p0, p1) = ", i);
		write_expr(to, d->macros[i], OR);
		fputc('\n', to);
	}
}

void
definition_write(FILE *to, const Definition *d)
{
	static const char *const combines[] = {"sum", "mult", "avg", "max", "min", "first"};

	write_names(to, d);
	if (d->where != NULL)
	{
		fputs("where ", to);
		write_expr(to, d->where, OR);
		write_policy(to, " ", "on_error", &d->where_on_error);
		fputc('\n', to);
	}
	for (int i = 0; i < d->n; i++)
		write_statement(to, &d->statements[i], i);
	fprintf(to, "combine %s\n", combines[d->combine]);
	write_policy(to, "", "missing", &d->missing);
	fputs(d->missing.kind != P_UNSET ? "\n" : "", to);
	write_policy(to, "", "on_error", &d->on_error);
	fputs(d->on_error.kind != P_UNSET ? "\n" : "", to);
	if (d->has_clamp)
		fprintf(to, "clamp %.17g .. %.17g\n", d->low, d->high);
	if (d->has_round)
		fprintf(to, "round %.17g\n", d->round);
}
