/* Fuzz target: a phrase of the rules is made ready, compiled, and matched. The first byte says whether it is a regular expression;
 * then the phrase up to a line end, then the text. Folding is tried on both. A literal phrase must be found in itself. Counted
 * repeats are made ready but not compiled: what the library makes of "(a{9}){9}" takes seconds, and rules are their owner's affair. */
#include "tests/fuzz/fuzz.h"

#include "daemon/core/err.h"
#include "daemon/triage/match.h"
#include "daemon/triage/pattern.h"

#define COMPILED_MAX 40 /* bytes of an expression */

static void check_fold(const char *s, size_t n)
{
    size_t len = 0, again_len = 0;
    char *folded = match_fold(s, n, &len);
    FUZZ_CHECK(strlen(folded) == len && utf8_valid(folded, len));
    FUZZ_CHECK(!fuzz_has_control(folded) && folded[0] != ' ' && (!len || folded[len - 1] != ' '));
    char *again = match_fold(folded, len, &again_len);
    FUZZ_CHECK(utf8_valid(again, again_len));
    free(again);
    free(folded);
}

/* Hits in the text; -1 when the phrase cannot be compiled. */
static long hits(struct cfg_phrase *ph, const char *text)
{
    struct cfg_condition_group group = {.v = ph, .n = 1};
    struct cfg_rule rule = {.id = (char *)"fuzz", .all = &group, .nall = 1};
    struct cfg_rules rules = {.v = &rule, .n = 1};
    struct faults faults = {0};
    struct matcher *m = NULL;
    struct buf b;
    long n = -1;
    buf_init(&b, CD_MIB(64));
    int rc = match_compile(&rules, &b, &faults);
    FUZZ_CHECK((rc == 0) == (faults.n == 0));
    if (rc == 0) {
        struct record *r = record_new();
        free(r->text);
        r->text = utf8_clean(text, strlen(text), NULL);
        FUZZ_CHECK(matcher_new(b.data, b.len, &m) == 0);
        matcher_run(m, r, CD_MIB(1));
        n = (long)r->nhits;
        for (size_t i = 0; i < r->nhits; i++) {
            FUZZ_CHECK(r->hits[i].pattern == 0 && r->hits[i].field == MF_TEXT);
            fuzz_check_text(r->hits[i].word);
        }
        matcher_free(&m);
        record_free(&r);
    }
    faults_free(&faults);
    buf_free(&b);
    return n;
}

static void check_pattern(struct cfg_phrase *ph, const char *text)
{
    struct pattern p;
    const char *why = NULL;
    if (pattern_make(ph, &p, &why) < 0) {
        FUZZ_CHECK(why && *why && !p.text);
        return;
    }
    FUZZ_CHECK(p.text && p.len > 0 && p.len <= PATTERN_MAX_BYTES && strlen(p.text) == p.len);
    FUZZ_CHECK(utf8_valid(p.text, p.len) && !(p.flags & ~PAT_FLAGS_ALL) && p.field == ph->field);
    FUZZ_CHECK(!!(p.flags & PAT_REGEX) == ph->regex);
    pattern_done(&p);
    if (ph->regex && (strlen(ph->text) > COMPILED_MAX || strchr(ph->text, '{')))
        return;
    long n = hits(ph, text);
    fuzz_good = n > 0;
    if (ph->regex)
        return;
    FUZZ_CHECK(n >= 0);
    FUZZ_CHECK(hits(ph, ph->text) == 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct fuzz_in in = {data, n};
    struct cfg_phrase ph = {.field = RF_TEXT, .regex = fuzz_u8(&in) & 1};
    const uint8_t *lf = in.n ? memchr(in.p, '\n', in.n) : NULL;
    size_t len = lf ? (size_t)(lf - in.p) : in.n;
    char *text = lf ? cd_strndup((const char *)lf + 1, in.n - len - 1) : cd_strdup("");
    check_fold((const char *)in.p, in.n);
    ph.text = cd_strndup((const char *)in.p, len);
    check_pattern(&ph, text);
    free(ph.text);
    free(text);
    return 0;
}
