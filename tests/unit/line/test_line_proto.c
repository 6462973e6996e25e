/* The grammar of the line protocol: splitting at every byte, limits, faults of a line, answers as one line
 * each. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "channels/line/line_proto.h"
#include "daemon/core/err.h"

/* Feeds `in` in pieces of `step` bytes and writes what came out: lines in <>, too long lines as !. */
static void split_all(const char *in, size_t max, size_t step, struct buf *out)
{
    struct line_splitter s;
    size_t n = strlen(in), at = 0, limit = 0;

    line_splitter_init(&s, max);
    while (at < n) {
        limit = CD_MAX(limit, CD_MIN(n, at + step));
        size_t used = 0, nline = 0;
        const char *line = NULL;
        enum line_split r = line_split(&s, in + at, limit - at, &used, &line, &nline);
        if (r == LINE_READY)
            buf_printf(out, "<%.*s>", (int)nline, line);
        else if (r == LINE_TOO_LONG)
            buf_append_char(out, '!');
        at += used;
        if (at == limit)
            limit = CD_MIN(n, at + step);
    }
    assert_true(s.pending.len <= max + 1);
    line_splitter_free(&s);
}

static void splits_the_same_at_every_step(void **state CD_UNUSED)
{
    const char *in =
        "PING\r\n\nABCDEFGH\nABCDEFGH\r\nABCDEFGHI\nAB\n123456789012345678901234567890\r\nZ\r\r\nEND";
    for (size_t step = 1; step <= strlen(in); step++) {
        struct buf out;
        buf_init(&out, 1000);
        split_all(in, 8, step, &out);
        assert_string_equal(buf_str(&out), "<PING><><ABCDEFGH><ABCDEFGH>!<AB>!<Z\r>");
        buf_free(&out);
    }
}

static void long_line_costs_no_memory(void **state CD_UNUSED)
{
    struct line_splitter s;
    static char junk[100000];
    size_t used = 0, n = 0;
    const char *line = NULL;

    memset(junk, 'x', sizeof junk);
    line_splitter_init(&s, 1000);
    assert_int_equal(line_split(&s, junk, sizeof junk, &used, &line, &n), LINE_TOO_LONG);
    assert_int_equal(used, sizeof junk);
    for (int i = 0; i < 20; i++)
        assert_int_equal(line_split(&s, junk, sizeof junk, &used, &line, &n), LINE_NEED_MORE);
    assert_int_equal(s.pending.len, 0);
    assert_int_equal(line_split(&s, "x\nPING\nQ", 8, &used, &line, &n), LINE_READY);
    assert_memory_equal(line, "PING", 4);
    assert_int_equal(used, 7);
    line_splitter_free(&s);
}

static void expect_fault(const char *line, size_t n, const char *code)
{
    struct line_request rq;
    struct line_error err = {0};
    /* a copy of its exact size, so that the sanitizer sees a read past the line */
    char *copy = malloc(n ? n : 1);
    assert_non_null(copy);
    memcpy(copy, line, n);
    assert_int_equal(line_parse(copy, n, &rq, &err), CD_EINVAL);
    assert_string_equal(err.code, code);
    assert_true(strlen(err.message) > 0);
    free(copy);
}
#define FAULT(line, code) expect_fault(line, sizeof(line) - 1, code)

static void bad_lines_have_codes(void **state CD_UNUSED)
{
    FAULT("", "bad-line");
    FAULT(" PING", "bad-line");
    FAULT("PING{}", "bad-line");
    FAULT("PING\t{}", "bad-line");
    FAULT("ABCDEFGHIJKLMNOPQ {}", "bad-line");
    FAULT("{\"a\":1}", "bad-line");
    FAULT("GET / HTTP/1.1", "bad-json");
    FAULT("SHOW {", "bad-json");
    FAULT("SHOW {\"a\":1}{}", "bad-json");
    FAULT("SHOW {\"a\":1,\"a\":2}", "bad-json");
    FAULT("SHOW [1]", "bad-json");
    FAULT("SHOW \"x\"", "bad-json");
    FAULT("SHOW {\"a\":\"\\u0000\"}", "bad-json");
    FAULT("SHOW {\"a\":\"\\ud800\"}", "bad-json");
    FAULT("SHOW {\"a\":99999999999999999999999}", "bad-json");
    FAULT("SHOW {\"a\":\"\xc3\"}", "bad-utf8");
    FAULT("SHOW {\"a\":\"\xed\xa0\x80\"}", "bad-utf8");
    FAULT("SHOW {\"a\":\"\0\"}", "bad-utf8");
    FAULT("\xff\xfe", "bad-utf8");
}

static void nested(char *out, size_t size, int depth)
{
    int n = snprintf(out, size, "SHOW {\"a\":");
    for (int i = 1; i < depth; i++)
        out[n++] = '[';
    for (int i = 1; i < depth; i++)
        out[n++] = ']';
    out[n++] = '}';
    out[n] = '\0';
}

static void depth_is_limited_and_strings_do_not_count(void **state CD_UNUSED)
{
    struct line_request rq;
    struct line_error err;
    static char line[70000];

    nested(line, sizeof line, JSON_READ_MAX_DEPTH);
    assert_int_equal(line_parse(line, strlen(line), &rq, &err), 0);
    line_request_done(&rq);
    nested(line, sizeof line, JSON_READ_MAX_DEPTH + 1);
    expect_fault(line, strlen(line), "bad-json");
    nested(line, sizeof line, 30000);
    expect_fault(line, strlen(line), "bad-json");
    const char *quoted = "SHOW {\"a\":\"[[[[[[[[[[[[[[[[[[[[\\\"[[[[[[[\"}";
    assert_int_equal(line_parse(quoted, strlen(quoted), &rq, &err), 0);
    line_request_done(&rq);
}

static void good_lines(void **state CD_UNUSED)
{
    struct line_request rq;
    struct line_error err;
    const char *line = "show  {\"ref\":\"\xe6\x8a\x95\xe8\xaf\x89\"}  ";

    assert_int_equal(line_parse(line, strlen(line), &rq, &err), 0);
    assert_string_equal(rq.verb, "SHOW");
    assert_string_equal(json_string_value(json_object_get(rq.args, "ref")), "\xe6\x8a\x95\xe8\xaf\x89");
    assert_int_equal(rq.njson, strlen("{\"ref\":\"......\"}"));
    assert_int_equal(rq.json[0], '{');
    line_request_done(&rq);
    assert_int_equal(line_parse("PING", 4, &rq, &err), 0);
    assert_int_equal(json_object_size(rq.args), 0);
    assert_memory_equal(rq.json, "{}", rq.njson);
    line_request_done(&rq);
}

static void answers_are_one_line_each(void **state CD_UNUSED)
{
    struct buf out;
    json_t *row = json_pack("{s:s}", "text", "a\nb\x7f\xe6\x8a\x95");
    json_t *e = line_error_body("busy", "say \"again\"\n", NULL, true),
           *f = line_error_body("x", "y", "z", false);

    buf_init(&out, 1000);
    line_put_row(&out, row);
    line_put_ok(&out, NULL);
    line_put_err(&out, e);
    line_put_err(&out, f);
    assert_string_equal(buf_str(&out),
                        "ROW {\"text\":\"a\\nb\x7f\xe6\x8a\x95\"}\nOK {}\n"
                        "ERR {\"code\":\"busy\",\"message\":\"say \\\"again\\\"\\n\",\"retry\":true}\n"
                        "ERR {\"code\":\"x\",\"message\":\"y\",\"field\":\"z\",\"retry\":false}\n");
    buf_free(&out);
    buf_init(&out, 10); /* over the cap is seen, not silent */
    line_put_row(&out, row);
    assert_true(out.failed);
    buf_free(&out);
    json_decref(row);
    json_decref(e);
    json_decref(f);
    assert_int_equal(utf8_length("a\xe6\x8a\x95z"), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(splits_the_same_at_every_step),
        cmocka_unit_test(long_line_costs_no_memory),
        cmocka_unit_test(bad_lines_have_codes),
        cmocka_unit_test(depth_is_limited_and_strings_do_not_count),
        cmocka_unit_test(good_lines),
        cmocka_unit_test(answers_are_one_line_each),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
