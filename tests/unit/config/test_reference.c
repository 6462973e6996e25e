/* The option tables themselves: no row without a sentence, no number without bounds that its default keeps, and
 * docs/configuration.md is what the tables print today. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "config/load.h"

static unsigned rows;

static void check_row(const struct option *o)
{
    bool number = o->type == OPT_COUNT || o->type == OPT_SIZE || o->type == OPT_DURATION || o->type == OPT_SECONDS;
    size_t n = o->doc ? strlen(o->doc) : 0;
    rows++;
    if (n < 5 || o->doc[n - 1] != '.' || strchr(o->doc, '\n'))
        fail_msg("%s: its documentation is no sentence", o->path);
    if (number && (!o->min || !o->max))
        fail_msg("%s: a number without bounds", o->path);
    if (o->type == OPT_COUNT && !o->unit)
        fail_msg("%s: a count of what?", o->path);
    if (number && !o->def && !(o->flags & OPT_REQUIRED))
        fail_msg("%s: a number neither required nor with a default", o->path);
    if ((o->flags & OPT_REQUIRED) && o->def)
        fail_msg("%s: required, so its default is never used", o->path);
    if (o->type == OPT_LISTEN && (o->flags & OPT_RELOAD) && !(o->flags & OPT_PEER))
        fail_msg("%s: a socket is made from it, no reload can take it over", o->path);
}

static void check_table(const struct option *table)
{
    for (const struct option *o = table; o->path; o++) {
        check_row(o);
        for (const struct option *other = table; other < o; other++)
            assert_string_not_equal(o->path, other->path);
        if (o->type == OPT_ITEMS)
            check_table(o->items->options);
    }
}

static void test_rows(void **state CD_UNUSED)
{
    check_table(root_options);
    check_table(rules_file_options);
    check_table(policies_file_options);
    check_table(calendars_file_options);
    assert_true(rows > 150);
}

/* Sets min, max and default of each number in a configuration: a default outside its bounds panics. */
static void test_bounds(void **state CD_UNUSED)
{
    struct config c;
    struct buf why;
    memset(&c, 0, sizeof c);
    buf_init(&why, CD_KIB(4));
    options_default(root_options, &c);
    for (const struct option *o = root_options; o->path; o++) {
        if (!o->min)
            continue;
        assert_true(option_set_text(o, o->min, &c, &why));
        assert_true(option_set_text(o, o->max, &c, &why));
    }
    options_free(root_options, &c);
    buf_free(&why);
}

static void test_document_is_current(void **state CD_UNUSED)
{
    struct buf out;
    size_t n = 0;
    const char *why = NULL;
    char *kept = file_read(CD_SOURCE_DIR "/docs/configuration.md", CD_MIB(1), &n, &why);
    if (!kept)
        fail_msg("docs/configuration.md: %s", why);
    buf_init(&out, CD_MIB(1));
    config_describe(DESCRIBE_MARKDOWN, &out);
    assert_false(out.failed);
    if (n != out.len || memcmp(kept, buf_str(&out), n) != 0)
        fail_msg("docs/configuration.md is out of date: cmake --build build/release --target reference");
    assert_null(strstr(buf_str(&out), "(null)"));
    free(kept);
    buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows), cmocka_unit_test(test_bounds),
                                       cmocka_unit_test(test_document_is_current)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
