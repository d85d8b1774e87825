/*
 * test_image.c -- images: canonical, completed, compared; two ways to the same one.
 */
#include "score_world.h"

#include "score/image.h"

/* A version outside any store. */
static Version *
version_of(const Table *table)
{
	Version *version = xcalloc(1, sizeof(*version));
	WireCursor cursor;

	version->body = buffer_slice(&table->body);
	assert_true(wire_relation(version->body, &version->head));
	version->fingerprint = version->head.fingerprint;
	version->columns = xcalloc(version->head.ncolumns, sizeof(WireColumn));
	cursor = version->head.columns;
	for (uint32_t i = 0; i < version->head.ncolumns; i++)
		assert_true(wire_column_next(&cursor, &version->columns[i]));
	return version;
}

static void
version_drop(Version *version)
{
	free(version->columns);
	free(version->columns_from);
	free(version);
}

static Buffer
attributes_of(const Table *table, const char *text)
{
	Buffer keys = {0};
	Buffer attributes = {0};

	w_item(table, text, &keys, &attributes);
	buffer_free(&keys);
	return attributes;
}

static Buffer
image_of(const Table *table, const Version *version, const char *text)
{
	Buffer attributes = attributes_of(table, text);
	Image image = {0};
	Buffer bytes = {0};

	assert_true(image_make(&image, version, NULL, buffer_slice(&attributes), IMAGE_WHOLE));
	buffer_append_slice(&bytes, buffer_slice(&image.bytes));
	buffer_free(&attributes);
	image_free(&image);
	return bytes;
}

static void
assert_image(const Buffer *got, const Buffer *wanted)
{
	assert_int_equal(got->len, wanted->len);
	assert_memory_equal(got->data, wanted->data, wanted->len);
}

static void
an_image_holds_nothing_but_what_the_item_is(void **state)
{
	Table table = table_make(100, "public", "item", item_columns);
	Version *version = version_of(&table);
	Buffer plain = image_of(&table, version, "price=5 title='a' att.k=[1,'x'] att.size=OV");
	Buffer marked = image_of(&table, version, "price=5+ title='a'- att.k=[1,'x']+ att.size=OV");

	assert_image(&marked, &plain);
	buffer_free(&plain);
	buffer_free(&marked);
	buffer_free(&table.body);
	version_drop(version);
}

/*
 * Random items and random changes of them: told in full with the plugin's words and no store, or
 * compared with the stored image, the picture is the same.
 */
static void
word_and_comparison_agree(void **state)
{
	Table table = table_make(100, "public", "item", item_columns);
	Version *version = version_of(&table);
	unsigned seed = 1;

	for (int round = 0; round < 20000; round++)
	{
		char before[512], after[512], told[1024];
		int lb, la, lt;
		Image by_store = {0};
		Image by_word = {0};
		int price;

		seed = seed * 1103515245 + 12345;
		price = (int) (seed >> 16) % 3;
		lb = sprintf(before, "price=1 title='a'");
		la = sprintf(after, "price=%d title='a'", price);
		lt = sprintf(told, "price=%d%c title='a'-", price, price == 1 ? '-' : '+');
		for (int key = 0; key < 12; key++)
		{
			bool had, has;
			int value;

			seed = seed * 1103515245 + 12345;
			/* one key is always there: an object without any has another shape */
			had = key == 5 || (seed >> 16) % 3 != 0;
			has = key == 5 || (seed >> 18) % 3 != 0;
			value = (int) (seed >> 20) % 2;
			if (had)
				lb += sprintf(before + lb, " att.k%02d=0", key);
			if (has)
				la += sprintf(after + la, " att.k%02d=%d", key, value);
			if (has)
				lt += sprintf(told + lt, " att.k%02d=%d%c", key, value, had && value == 0 ? '-' : '+');
			else if (had)
				lt += sprintf(told + lt, " att.k%02d=X+", key);
		}
		{
			Buffer stored = image_of(&table, version, before);
			Buffer attributes = attributes_of(&table, after);
			Buffer words = attributes_of(&table, told);
			Slice image = buffer_slice(&stored);

			assert_true(image_make(&by_store, version, &image, buffer_slice(&attributes), IMAGE_COMPARED));
			assert_true(image_make(&by_word, version, NULL, buffer_slice(&words), IMAGE_COMPARED));
			assert_true(by_store.bits_known && by_word.bits_known);
			assert_image(&by_store.bytes, &by_word.bytes);
			assert_image(&by_store.bits, &by_word.bits);
			assert_image(&by_store.removed, &by_word.removed);
			assert_int_equal(by_store.nchanged, by_word.nchanged);
			buffer_free(&stored);
			buffer_free(&attributes);
			buffer_free(&words);
		}
		image_free(&by_store);
		image_free(&by_word);
	}
	buffer_free(&table.body);
	version_drop(version);
}

static void
images_move_to_another_version_by_column_name(void **state)
{
	static const char *const later[] = {"*id:i", "att:j", "added:t", "title:t", "price:t", NULL};
	Table from = table_make(100, "public", "item", item_columns);
	Table to = table_make(100, "public", "item", later);
	Version *version = version_of(&from);
	Version *target = version_of(&to);
	Buffer image = image_of(&from, version, "price=5 title='a' att.k=1 att.z=2");
	Buffer wanted = image_of(&to, target, "att.k=1 att.z=2 title='a' price=~");
	Buffer got = {0};

	assert_true(image_remap(&got, buffer_slice(&image), version, target));
	assert_image(&got, &wanted);
	assert_int_equal(image_unknown(buffer_slice(&got)), 4);
	assert_int_equal(image_unknown(buffer_slice(&image)), -1);
	buffer_free(&image);
	buffer_free(&wanted);
	buffer_free(&got);
	buffer_free(&from.body);
	buffer_free(&to.body);
	version_drop(version);
	version_drop(target);
}

static void
settled_columns_stay_and_the_row_fills_the_rest(void **state)
{
	Table table = table_make(100, "public", "item", item_columns);
	Version *version = version_of(&table);
	Buffer kept = image_of(&table, version, "price=9 title='live' att.b=1");
	Buffer row = image_of(&table, version, "price=1 title='row' att.a=1 att.b=2");
	Buffer wanted = image_of(&table, version, "price=1 title='row' att.b=1");
	bool settled[4] = {false, false, false, true};
	Buffer got = {0};

	assert_true(image_splice(&got, buffer_slice(&kept), buffer_slice(&row), settled, 4));
	assert_image(&got, &wanted);
	buffer_free(&kept);
	buffer_free(&row);
	buffer_free(&wanted);
	buffer_free(&got);
	buffer_free(&table.body);
	version_drop(version);
}

static void
attributes_that_make_no_image_are_refused(void **state)
{
	static const char *const broken[] = {
		"title='a' price=5", /* columns out of order */
		"price=5 price=5",	 /* twice */
		"att.kk=1 att.a=2",	 /* jsonb's order is by length first */
		"att.a=~",			 /* a key has no TOAST of its own */
	};
	Table table = table_make(100, "public", "item", item_columns);
	Version *version = version_of(&table);
	Image image = {0};

	for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++)
	{
		Buffer attributes = attributes_of(&table, broken[i]);

		assert_false(image_make(&image, version, NULL, buffer_slice(&attributes), IMAGE_COMPARED));
		buffer_free(&attributes);
	}
	/* a column the table does not have; a value that is none */
	assert_false(
		image_make(&image, version, NULL, slice_make("\x2a\x06\x08\x04\x2a\x02\x18\x02", 8), IMAGE_WHOLE));
	assert_false(
		image_make(&image, version, NULL, slice_make("\x2a\x06\x08\x01\x2a\x02\x7f\x02", 8), IMAGE_WHOLE));
	assert_false(
		image_make(&image, version, NULL, slice_make("\x2a\x06\x08\x01\x2a\x03\x18\x02", 8), IMAGE_WHOLE));
	assert_true(
		image_make(&image, version, NULL, slice_make("\x2a\x06\x08\x01\x2a\x02\x18\x02", 8), IMAGE_WHOLE));
	image_free(&image);
	buffer_free(&table.body);
	version_drop(version);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_image_holds_nothing_but_what_the_item_is),
		cmocka_unit_test(word_and_comparison_agree),
		cmocka_unit_test(images_move_to_another_version_by_column_name),
		cmocka_unit_test(settled_columns_stay_and_the_row_fills_the_rest),
		cmocka_unit_test(attributes_that_make_no_image_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
