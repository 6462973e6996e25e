/* Fuzz target: what a checker answers (daemon/scan). Input: a byte that chooses, then rspamd's JSON (even) or clamd's line (odd). Texts that
 * are kept are clean and bounded, the verdict follows from the answer, and the JSON made of it can be read. */
#include "tests/fuzz/fuzz.h"

#include <jansson.h>

#include "daemon/scan/checkers.h"

static void check_text(const char *s, size_t size)
{
    size_t n = strnlen(s, size);
    FUZZ_CHECK(n < size && utf8_valid(s, n));
    for (size_t i = 0; i < n; i++)
        FUZZ_CHECK((unsigned char)s[i] >= ' ' && s[i] != 0x7f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct fuzz_in in = {data, n};
    struct scan_result r = {0};
    enum scan_checker k = fuzz_u8(&in) & 1 ? CHECK_CLAMD : CHECK_RSPAMD;
    char *text = malloc(in.n + 1); /* libcurl's body has a NUL behind it; clamd's line has none that is read */
    if (in.n)
        memcpy(text, in.p, in.n);
    text[in.n] = '\0';
    if (k == CHECK_CLAMD)
        clamd_read(text, in.n, &r.answer[k]);
    else
        rspamd_read(&(struct http_fetch_result){.outcome = FETCH_ANSWERED, .status = 200, .body = text, .nbody = in.n, .error = ""}, &r);
    const struct scan_answer *a = &r.answer[k];
    check_text(a->text, sizeof a->text);
    check_text(r.symbols, sizeof r.symbols);
    FUZZ_CHECK(a->outcome == ASK_ANSWERED || a->outcome == ASK_TOO_LARGE || a->outcome == ASK_SKIPPED || a->outcome == ASK_ODD);
    FUZZ_CHECK((a->outcome == ASK_ANSWERED) == (a->verdict != SCAN_OFF));
    scan_result_settle(&r);
    FUZZ_CHECK(r.verdict >= SCAN_CLEAN && r.verdict < SCAN_VERDICTS);
    FUZZ_CHECK(a->outcome == ASK_ANSWERED || r.verdict == SCAN_UNSCANNED || r.auth.known);
    FUZZ_CHECK(r.verdict < SCAN_SUSPECT || scan_result_silence(&r));
    char *json = scan_result_json(&r);
    json_t *o = json_loads(json, 0, NULL);
    FUZZ_CHECK(json_is_object(o) && json_is_string(json_object_get(o, "verdict")));
    fuzz_good = a->outcome == ASK_ANSWERED;
    json_decref(o);
    free(json);
    free(text);
    return 0;
}
