/* What checkers answer, read as they may answer it: rspamd's JSON, clamd's line, and what both together come to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "daemon/scan/checkers.h"

/* ---- rspamd ---- */

static struct scan_result rspamd(int status, const char *body)
{
    struct scan_result r = {0};
    rspamd_read(&(struct http_fetch_result){.outcome = FETCH_ANSWERED, .status = status, .body = body, .nbody = strlen(body), .error = ""}, &r);
    return r;
}

static void actions(void **state)
{
    static const struct {
        const char *action;
        enum scan_verdict verdict;
    } cases[] = {{"no action", SCAN_CLEAN},       {"greylist", SCAN_SUSPECT},   {"add header", SCAN_SUSPECT},    {"rewrite subject", SCAN_SUSPECT},
                 {"soft reject", SCAN_SUSPECT},   {"reject", SCAN_QUARANTINED}, {"quarantine", SCAN_QUARANTINED}, {"discard", SCAN_QUARANTINED},
                 {"somebody's own", SCAN_SUSPECT}, {"", SCAN_SUSPECT}};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char body[200];
        snprintf(body, sizeof body, "{\"is_skipped\":false,\"score\":1.5,\"action\":\"%s\",\"symbols\":{\"A\":{}}}", cases[i].action);
        struct scan_result r = rspamd(200, body);
        assert_int_equal(r.answer[CHECK_RSPAMD].outcome, ASK_ANSWERED);
        assert_int_equal(r.answer[CHECK_RSPAMD].verdict, cases[i].verdict);
        assert_string_equal(r.answer[CHECK_RSPAMD].text, cases[i].action);
        assert_string_equal(r.symbols, "A");
        assert_true(r.score > 1.4 && r.score < 1.6);
        assert_false(r.auth.known);
    }
}

static void odd_answers(void **state)
{
    static const char *const bodies[] = {
        "", "{", "[]", "null", "\"x\"", "{}", "{\"action\":\"no action\"}", "{\"action\":1,\"score\":1}", "{\"action\":\"no action\",\"score\":\"1\"}",
        "{\"action\":\"no action\",\"score\":1,\"symbols\":[]}", "{\"action\":\"no action\",\"score\":1", "{\"action\":\"a\\u0000b\",\"score\":1}",
        "{\"action\":\"\xff\",\"score\":1}", "{\"error\":\"invalid command\"}"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        struct scan_result r = rspamd(200, bodies[i]);
        assert_int_equal(r.answer[CHECK_RSPAMD].outcome, ASK_ODD);
        scan_result_settle(&r);
        assert_int_equal(r.verdict, SCAN_UNSCANNED);
        assert_true(r.again);
    }
    char deep[5000];
    memset(deep, '[', sizeof deep - 1);
    deep[sizeof deep - 1] = '\0';
    assert_int_equal(rspamd(200, deep).answer[CHECK_RSPAMD].outcome, ASK_ODD);
    assert_int_equal(rspamd(500, "{\"action\":\"no action\",\"score\":1}").answer[CHECK_RSPAMD].outcome, ASK_ODD);
    assert_string_equal(rspamd(403, "").answer[CHECK_RSPAMD].text, "HTTP status 403");
    struct scan_result r = {0};
    rspamd_read(&(struct http_fetch_result){.outcome = FETCH_UNKNOWN, .timed_out = true, .error = "timed out"}, &r);
    assert_int_equal(r.answer[CHECK_RSPAMD].outcome, ASK_SLOW);
    rspamd_read(&(struct http_fetch_result){.outcome = FETCH_NOT_SENT, .error = "refused"}, &r);
    assert_int_equal(r.answer[CHECK_RSPAMD].outcome, ASK_DOWN);
    r = rspamd(200, "{\"action\":\"no action\",\"score\":0,\"is_skipped\":true}");
    assert_int_equal(r.answer[CHECK_RSPAMD].outcome, ASK_SKIPPED);
    scan_result_settle(&r);
    assert_int_equal(r.verdict, SCAN_UNSCANNED);
    assert_false(r.again);
}

static void senders(void **state)
{
    static const struct {
        const char *symbols;
        enum auth_verdict spf, dkim, dmarc, arc;
        bool unproven;
    } cases[] = {
        {"\"R_SPF_ALLOW\":{},\"R_DKIM_NA\":{}", AUTH_PASS, AUTH_NONE, AUTH_NONE, AUTH_NONE, false},
        {"\"R_SPF_SOFTFAIL\":{},\"R_DKIM_REJECT\":{},\"R_DKIM_ALLOW\":{}", AUTH_OTHER, AUTH_PASS, AUTH_NONE, AUTH_NONE, false},
        {"\"R_DKIM_ALLOW\":{},\"R_DKIM_REJECT\":{}", AUTH_NONE, AUTH_PASS, AUTH_NONE, AUTH_NONE, false},
        {"\"R_SPF_FAIL\":{},\"DMARC_NA\":{}", AUTH_FAIL, AUTH_NONE, AUTH_NONE, AUTH_NONE, true},
        {"\"R_SPF_ALLOW\":{},\"DMARC_POLICY_QUARANTINE\":{},\"ARC_INVALID\":{}", AUTH_PASS, AUTH_NONE, AUTH_FAIL, AUTH_FAIL, true},
        {"\"R_SPF_NA\":{},\"DMARC_POLICY_ALLOW\":{},\"ARC_ALLOW\":{}", AUTH_NONE, AUTH_NONE, AUTH_PASS, AUTH_PASS, false},
        {"\"R_SPF_DNSFAIL\":{}", AUTH_OTHER, AUTH_NONE, AUTH_NONE, AUTH_NONE, true},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char body[400];
        snprintf(body, sizeof body, "{\"score\":1,\"action\":\"no action\",\"symbols\":{%s}}", cases[i].symbols);
        struct scan_result r = rspamd(200, body);
        scan_result_settle(&r);
        assert_true(r.auth.known);
        assert_int_equal(r.auth.spf, cases[i].spf);
        assert_int_equal(r.auth.dkim, cases[i].dkim);
        assert_int_equal(r.auth.dmarc, cases[i].dmarc);
        assert_int_equal(r.auth.arc, cases[i].arc);
        assert_int_equal(r.unproven, cases[i].unproven);
        assert_int_equal(r.verdict, cases[i].dmarc == AUTH_FAIL ? SCAN_SUSPECT : SCAN_CLEAN);
        assert_int_equal(scan_result_silence(&r) != NULL, cases[i].unproven);
    }
}

/* Many symbols, odd names and long ones: the list stays within its bounds and is still JSON. */
static void many_symbols(void **state)
{
    struct buf b;
    (void)state;
    buf_init(&b, CD_KIB(60));
    buf_append_str(&b, "{\"score\":1,\"action\":\"reject\",\"symbols\":{\"with space\":{},\"new\\nline\":{},\"\":{},\"\\u00e4\":{}");
    for (int i = 0; i < 1000; i++)
        buf_printf(&b, ",\"SYMBOL_%d\":{}", i);
    buf_append_str(&b, "}}");
    struct scan_result r = rspamd(200, buf_str(&b));
    scan_result_settle(&r);
    assert_true(strlen(r.symbols) > 900 && strlen(r.symbols) < sizeof r.symbols);
    assert_non_null(strstr(r.symbols, "SYMBOL_1 "));
    assert_null(strstr(r.symbols, "line"));
    char *text = scan_result_json(&r);
    json_t *o = json_loads(text, 0, NULL);
    assert_non_null(o);
    assert_string_equal(json_string_value(json_object_get(o, "verdict")), "quarantined");
    assert_true(json_array_size(json_object_get(json_object_get(o, "rspamd"), "symbols")) > 50);
    json_decref(o);
    free(text);
    buf_free(&b);
}

/* ---- clamd ---- */

static void clamd_lines(void **state)
{
    static const struct {
        const char *line;
        enum scan_outcome outcome;
        enum scan_verdict verdict;
        const char *text;
    } cases[] = {
        {"stream: OK", ASK_ANSWERED, SCAN_CLEAN, ""},
        {"stream: Eicar-Signature FOUND", ASK_ANSWERED, SCAN_QUARANTINED, "Eicar-Signature"},
        {"stream: X FOUND", ASK_ANSWERED, SCAN_QUARANTINED, "X"},
        {"stream: Heuristics.Encrypted.Zip FOUND", ASK_ANSWERED, SCAN_SUSPECT, "Heuristics.Encrypted.Zip"},
        {"stream: PUA.Doc.Macro FOUND", ASK_ANSWERED, SCAN_SUSPECT, "PUA.Doc.Macro"},
        {"stream: Heuristics.Limits.Exceeded.MaxFileSize FOUND", ASK_TOO_LARGE, SCAN_OFF, "Heuristics.Limits.Exceeded.MaxFileSize"},
        {"INSTREAM size limit exceeded. ERROR", ASK_TOO_LARGE, SCAN_OFF, "INSTREAM size limit exceeded. ERROR"},
        {"instream: Can't allocate memory ERROR", ASK_ODD, SCAN_OFF, "instream: Can't allocate memory ERROR"},
        {"stream:  FOUND", ASK_ODD, SCAN_OFF, "stream:  FOUND"},
        {"stream: FOUND", ASK_ODD, SCAN_OFF, "stream: FOUND"},
        {" FOUND", ASK_ODD, SCAN_OFF, " FOUND"},
        {"stream: OK\n", ASK_ODD, SCAN_OFF, "stream: OK "},
        {"stream: ok", ASK_ODD, SCAN_OFF, "stream: ok"},
        {"UNKNOWN COMMAND", ASK_ODD, SCAN_OFF, "UNKNOWN COMMAND"},
        {"", ASK_ODD, SCAN_OFF, ""},
        {"stream: \xff\x01 FOUND", ASK_ANSWERED, SCAN_QUARANTINED, "\xef\xbf\xbd "},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct scan_answer a;
        clamd_read(cases[i].line, strlen(cases[i].line), &a);
        assert_int_equal(a.outcome, cases[i].outcome);
        assert_int_equal(a.verdict, cases[i].verdict);
        assert_string_equal(a.text, cases[i].text);
    }
    char huge[4000];
    struct scan_answer a;
    memset(huge, 'x', sizeof huge);
    clamd_read(huge, sizeof huge, &a);
    assert_int_equal(a.outcome, ASK_ODD);
    assert_true(strlen(a.text) < sizeof a.text);
    for (size_t n = 0; n < strlen("stream: Eicar FOUND"); n++) { /* cut anywhere it is no finding and no all-clear */
        clamd_read("stream: Eicar FOUND", n, &a);
        assert_int_equal(a.outcome, ASK_ODD);
    }
}

/* ---- together ---- */

static void the_worst_counts(void **state)
{
    struct scan_result r = {0};
    (void)state;
    scan_result_settle(&r);
    assert_int_equal(r.verdict, SCAN_OFF);
    assert_null(scan_verdict_name(r.verdict));
    r.answer[CHECK_RSPAMD] = (struct scan_answer){.outcome = ASK_ANSWERED, .verdict = SCAN_CLEAN};
    r.answer[CHECK_CLAMD] = (struct scan_answer){.outcome = ASK_SLOW};
    scan_result_settle(&r);
    assert_int_equal(r.verdict, SCAN_UNSCANNED);
    assert_true(r.again);
    assert_null(scan_result_silence(&r));
    r.answer[CHECK_RSPAMD].verdict = SCAN_SUSPECT; /* what is known does not wait for the rest */
    scan_result_settle(&r);
    assert_int_equal(r.verdict, SCAN_SUSPECT);
    assert_true(r.again); /* it may be worse */
    assert_non_null(scan_result_silence(&r));
    r.answer[CHECK_CLAMD] = (struct scan_answer){.outcome = ASK_ANSWERED, .verdict = SCAN_QUARANTINED};
    scan_result_settle(&r);
    assert_int_equal(r.verdict, SCAN_QUARANTINED);
    r.answer[CHECK_RSPAMD] = (struct scan_answer){.outcome = ASK_DOWN};
    scan_result_settle(&r);
    assert_false(r.again);
    r = (struct scan_result){.answer = {[CHECK_CLAMD] = {.outcome = ASK_TOO_LARGE}}};
    scan_result_settle(&r);
    assert_int_equal(r.verdict, SCAN_UNSCANNED);
    assert_false(r.again);
}

/* ---- whom to leave alone ---- */

static void breaker(void **state)
{
    struct breaker b = {0};
    int64_t now = CD_SEC(100);
    (void)state;
    for (int i = 1; i < BREAKER_FAILURES; i++) {
        assert_true(breaker_take(&b, now));
        assert_int_equal(breaker_told(&b, false, now), 0);
    }
    assert_true(breaker_take(&b, now));
    assert_int_equal(breaker_told(&b, true, now), 0); /* begins anew */
    for (int i = 1; i < BREAKER_FAILURES; i++)
        assert_int_equal(breaker_told(&b, false, now), 0);
    assert_int_equal(breaker_told(&b, false, now), 1);
    assert_false(breaker_take(&b, now));
    assert_int_equal(breaker_told(&b, false, now), 0); /* one that was asked before */
    assert_false(breaker_take(&b, now + BREAKER_PAUSE_MIN - 1));
    now += BREAKER_PAUSE_MIN;
    assert_true(breaker_take(&b, now));
    assert_false(breaker_take(&b, now)); /* one probe at a time */
    breaker_untake(&b);
    assert_true(breaker_take(&b, now));
    assert_int_equal(breaker_told(&b, false, now), 0);
    assert_false(breaker_take(&b, now + 2 * BREAKER_PAUSE_MIN - 1));
    for (int i = 0; i < 20; i++) {
        now += BREAKER_PAUSE_MAX;
        assert_true(breaker_take(&b, now));
        assert_int_equal(breaker_told(&b, false, now), 0);
    }
    assert_true(breaker_take(&b, now + BREAKER_PAUSE_MAX));
    assert_int_equal(breaker_told(&b, true, now + BREAKER_PAUSE_MAX), -1);
    assert_true(breaker_take(&b, now));
    assert_true(breaker_take(&b, now));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(actions),      cmocka_unit_test(odd_answers), cmocka_unit_test(senders), cmocka_unit_test(many_symbols),
        cmocka_unit_test(clamd_lines),  cmocka_unit_test(the_worst_counts), cmocka_unit_test(breaker),
    };
    return cmocka_run_group_tests_name("answers", tests, NULL, NULL);
}
