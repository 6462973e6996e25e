/* What complaintctl export writes: cells that a spreadsheet reads as text, and rows of any shape. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "ctl/export.c"

int ctl_connect(const struct ctl_globals *g CD_UNUSED, int timeout_s CD_UNUSED, struct client **ret CD_UNUSED)
{
    return EXIT_NO_DAEMON;
}

int ctl_refused(const struct answer *a CD_UNUSED)
{
    return EXIT_REFUSED;
}

void client_close(struct client **c CD_UNUSED)
{
}

int client_call(struct client *c CD_UNUSED, const char *verb CD_UNUSED, const json_t *args CD_UNUSED, struct answer *ret CD_UNUSED)
{
    return EXIT_AGAIN;
}

void answer_free(struct answer *a CD_UNUSED)
{
}

static void expect_cell(const char *in, const char *want)
{
    struct buf out;
    buf_init(&out, 1000);
    export_csv_cell(in, &out);
    assert_string_equal(buf_str(&out), want);
    buf_free(&out);
}

static void cells(void **state CD_UNUSED)
{
    expect_cell("", "");
    expect_cell("plain", "plain");
    expect_cell("\xe8\xb4\xa6\xe5\x8d\x95", "\xe8\xb4\xa6\xe5\x8d\x95");
    expect_cell("a,b", "\"a,b\"");
    expect_cell("say \"x\"", "\"say \"\"x\"\"\"");
    expect_cell("a\nb", "\"a\nb\"");
    expect_cell(" x", "\" x\"");
    expect_cell("=1+1", "\"'=1+1\"");
    expect_cell("=cmd|' /C calc'!A0\"", "\"'=cmd|' /C calc'!A0\"\"\"");
    expect_cell("@SUM(A1)", "\"'@SUM(A1)\"");
    expect_cell("-2+3", "\"'-2+3\"");
    expect_cell("\t=1", "\"'\t=1\"");
    expect_cell("\r=1", "\"'\r=1\"");
    expect_cell("\n=1", "\"'\n=1\"");
    expect_cell("\xef\xbc\x9d" "1+1", "\"'\xef\xbc\x9d" "1+1\"");
    expect_cell("\xef\xbc\x9a" "x", "\xef\xbc\x9a" "x");
    expect_cell("+8613800138000", "+8613800138000"); /* a number stays one */
    expect_cell("+", "\"'+\"");
    expect_cell("+1+cmd", "\"'+1+cmd\"");
}

static void rows_of_any_shape(void **state CD_UNUSED)
{
    static const char *const rows[] = {"{}", "{\"ref\":7,\"tags\":[\"a\",1,\"b\"],\"subject\":{},\"overdue\":true,\"due\":null}", "[]", "\"x\""};
    struct buf head, out;
    size_t commas = 0;
    buf_init(&head, CD_KIB(4));
    export_csv_head(&head);
    for (const char *p = buf_str(&head); *p; p++)
        commas += *p == ',';
    assert_int_equal(commas, ARRAY_LEN(columns) - 1);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        json_t *row = json_loads(rows[i], JSON_DECODE_ANY, NULL);
        size_t found = 0;
        assert_non_null(row);
        buf_init(&out, CD_KIB(4));
        export_csv_row(row, &out);
        for (const char *p = buf_str(&out); *p; p++)
            found += *p == ',';
        assert_int_equal(found, commas);
        if (i == 1)
            assert_non_null(strstr(buf_str(&out), ",a  b,"));
        buf_free(&out);
        json_decref(row);
    }
    buf_free(&head);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(cells), cmocka_unit_test(rows_of_any_shape)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
