/* Folding, compiling, word edges, limits and the serialized form of the pattern matcher. */
#include "tests/unit/triage/fixture.h"

#include <stdio.h>

#include "daemon/core/err.h"

static void assert_folds(const char *from, const char *to)
{
    size_t n = 0;
    char *s = match_fold(from, strlen(from), &n);
    assert_string_equal(s, to);
    assert_int_equal(n, strlen(to));
    free(s);
}

static void test_fold(void **state CD_UNUSED)
{
    assert_folds("", "");
    assert_folds("  Charged\tTWICE \r\n again  ", "charged twice again");
    assert_folds("ＢＩＬＬ　１２３", "bill 123");
    assert_folds("Straße STRASSE", "strasse strasse");
    assert_folds("École", "école");
    assert_folds("E\xcc\x81"
                 "cole",
                 "école"); /* the accent as a character of its own */
    assert_folds("don’t “stop” – now", "don't \"stop\" - now");
    assert_folds("ﬁre\xc2\xad"
                 "fly\xe2\x80\x8b!",
                 "firefly!");
    assert_folds("ΣΊΣΥΦΟΣ", "σίσυφοσ");
    assert_folds("ｶﾞｽ 漏れ", "ガス 漏れ");
    assert_folds("质量　太差！", "质量 太差!");
    /* a run of ASCII ends before the character that a mark belongs to; white space counts across runs */
    assert_folds("ABE\xcc\x81"
                 "X  \n\xe8\xb4\xa8 \n Z\x7fQ",
                 "ab\xc3\xa9x \xe8\xb4\xa8 z q");
}

static void test_fold_line_breaks(void **state CD_UNUSED)
{
    assert_folds("质\n量", "质量");
    assert_folds("质 \r\n 量", "质量");
    assert_folds("质\n\n量", "质 量"); /* a new paragraph is no broken line */
    assert_folds("质 量", "质 量");
    assert_folds("caught\nfire", "caught fire");
    assert_folds("退款\nplease", "退款 please");
    assert_folds("한국\n어", "한국 어"); /* Korean writes spaces */
}

static void test_fold_bad_bytes(void **state CD_UNUSED)
{
    size_t n;
    assert_folds("a\xff"
                 "b\xc3",
                 "a\xef\xbf\xbd"
                 "b\xef\xbf\xbd");
    assert_folds("\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"); /* a surrogate */
    char *s = match_fold("a\0b", 3, &n);
    assert_string_equal(s, "a b");
    free(s);
}

/* A long run of combining marks is cut in pieces: it must neither hang nor grow without bound. */
static void test_fold_marks(void **state CD_UNUSED)
{
    size_t n = CD_KIB(64), got = 0;
    char *s = cd_alloc(n + 1);
    for (size_t i = 0; i + 4 <= n; i += 4)
        memcpy(s + i, "\xcc\x95\xcc\x9b", 4);
    char *folded = match_fold(s, n, &got);
    assert_true(got > 0 && got <= n * 20);
    free(folded);
    free(s);
}

/* One phrase against one text. */
static bool matches(const char *phrase, bool regex, const char *text)
{
    struct fixture x;
    fixture_init(&x);
    struct cfg_rule *r = add_rule(&x, "r");
    add_phrase(&r->all[r->nall++], RF_ANY, regex, phrase);
    assert_int_equal(fixture_compile(&x), 0);
    struct record *rec = record_of("", text);
    matcher_run(x.m, rec, CD_KIB(32));
    bool found = rec->nhits == 1;
    assert_true(rec->nhits <= 1);
    record_free(&rec);
    fixture_free(&x);
    return found;
}

static void test_word_edges_ascii(void **state CD_UNUSED)
{
    assert_true(matches("bill", false, "My BILL, again"));
    assert_true(matches("bill", false, "bill"));
    assert_false(matches("bill", false, "a billboard"));
    assert_false(matches("bill", false, "a handbill"));
    assert_false(matches("bill", false, "bill7"));
    assert_true(matches("bill", false, "a billboard, and the bill")); /* a later one counts */
    assert_true(matches("bill", false, "pay-bill_now"));
    assert_true(matches("caught fire", false, "it caught\n  fire."));
    assert_true(matches("can't log in", false, "I can’t log in"));
    assert_true(matches("c++", false, "the c++x book")); /* no word at that end */
}

static void test_word_edges_unicode(void **state CD_UNUSED)
{
    assert_true(matches("école", false, "l'École"));
    assert_false(matches("cole", false, "école"));
    assert_false(matches("col", false, "colère"));
    assert_false(matches("жалоба", false, "жалобам"));
    assert_true(matches("жалоба", false, "ЖАЛОБА!"));
    assert_true(matches("strasse", false, "Hauptstr. Straße"));
    assert_false(matches("cafe", false, "cafe\xcc\x81s"));
}

static void test_word_edges_cjk(void **state CD_UNUSED)
{
    assert_true(matches("质量", false, "这质量差"));
    assert_true(matches("app", false, "我的APP闪退"));
    assert_false(matches("app", false, "我的happy时光"));
    assert_true(matches("服务态度", false, "服务\n态度"));
    assert_true(matches("환불", false, "환불이 안 됩니다"));
    assert_true(matches("ガス", false, "ｶﾞｽくさい"));
    assert_false(matches("退款", false, "退 款"));
}

static void test_stems(void **state CD_UNUSED)
{
    assert_true(matches("refund*", false, "refunds refunded"));
    assert_true(matches("refund*", false, "Refund"));
    assert_false(matches("refund*", false, "prerefund"));
    assert_true(matches("5 *", false, "5 *")); /* no word before the star: a star */
    struct fixture x;
    fixture_init(&x);
    add_group(add_rule(&x, "r"), RF_ANY, "refund*", NULL);
    assert_int_equal(fixture_compile(&x), 0);
    struct record *rec = record_of("", "still not Refunded, is it");
    matcher_run(x.m, rec, CD_KIB(32));
    assert_int_equal(rec->nhits, 1);
    assert_string_equal(rec->hits[0].word, "refunded");
    record_free(&rec);
    fixture_free(&x);
}

static void test_regex(void **state CD_UNUSED)
{
    assert_true(matches("Charg(ed|ing) (twice|two times)", true, "you CHARGED\nTwo Times"));
    assert_true(matches("\\bbill\\b", true, "my bill!"));
    assert_false(matches("\\bbill\\b", true, "billboard"));
    assert_false(matches("\\bbill", true, "handbill"));
    assert_true(matches("bill\\b", true, "handbill"));
    assert_true(matches("\\bbill\\b", true, "billboard bill"));
    assert_true(matches("\\d{3} EUR", true, "120 eur"));
    assert_false(matches("\\D{3}x", true, "120x"));
    assert_true(matches("[A-Z]{2}[0-9]", true, "ab7"));
    assert_true(matches("(?:重复|多次)扣[款费]", true, "重复扣费"));
    assert_true(matches("等了.{1,3}天", true, "等了二十多天"));
    assert_false(matches("等了.{1,3}天", true, "等了二十多多天"));
    assert_true(matches("价格（含税）", true, "价格(含税)")); /* the wide bracket is no group */
    assert_true(matches("^urgent", true, "Urgent: help"));
    assert_true(matches("\\bstraße\\b", true, "die STRASSE"));
}

static void assert_refused(const char *regex, const char *why)
{
    struct fixture x;
    fixture_init(&x);
    struct cfg_rule *r = add_rule(&x, "r");
    add_phrase(&r->all[r->nall++], RF_ANY, true, regex);
    assert_int_equal(fixture_compile(&x), CD_ECONFIG);
    assert_int_equal(x.faults.n, 1);
    assert_string_equal(x.faults.v[0].file, "rules.yaml");
    assert_non_null(strstr(x.faults.v[0].text, why));
    assert_int_equal(x.compiled.len, 0);
    fixture_free(&x);
}

static void test_regex_refused(void **state CD_UNUSED)
{
    assert_refused("a(?=b)", "look-around");
    assert_refused("(a)\\1", "look-around");
    assert_refused("a*", "match nothing");
    assert_refused("(a", "look-around");
    assert_refused("a\\bb", "beginning or end");
    assert_refused("\\bfoo|bar\\b", "(?:");
    assert_refused("\\Qx\\E", "not supported");
    assert_refused("a\\", "backslash");
    assert_refused("\\p{L", "brace");
    assert_refused("", "empty");
    assert_refused("\xff", "UTF-8");
}

/* Every bad phrase is told, each with its own place. */
static void test_all_faults(void **state CD_UNUSED)
{
    struct fixture x;
    fixture_init(&x);
    struct cfg_rule *r = add_rule(&x, "r");
    struct cfg_condition_group *g = &r->all[r->nall++];
    char *big = cd_alloc(1100);
    memset(big, 'a', 1099);
    add_phrase(g, RF_ANY, true, "good");
    add_phrase(g, RF_ANY, true, "(bad");
    add_phrase(g, RF_ANY, false, " \t ");
    add_phrase(g, RF_ANY, true, "x(?!y)");
    add_phrase(g, RF_ANY, false, big);
    assert_int_equal(fixture_compile(&x), CD_ECONFIG);
    assert_int_equal(x.faults.n, 4);
    int lines = 0;
    for (size_t i = 0; i < x.faults.n; i++)
        lines |= 1 << x.faults.v[i].line;
    assert_int_equal(lines, 1 << 2 | 1 << 3 | 1 << 4 | 1 << 5);
    free(big);
    fixture_free(&x);
}

static void test_fields(void **state CD_UNUSED)
{
    struct fixture x;
    fixture_init(&x);
    struct cfg_rule *r = add_rule(&x, "r");
    add_group(r, RF_SUBJECT, "refund", NULL);
    add_group(r, RF_TEXT, "refund", NULL);
    add_group(r, RF_ANY, "refund", NULL);
    assert_int_equal(fixture_compile(&x), 0);
    assert_int_equal(match_pattern_count(&x.c.rules), 3);
    struct record *rec = record_of("Refund", "a refund, REFUND and refund");
    matcher_run(x.m, rec, CD_KIB(32));
    assert_int_equal(rec->nhits, 4); /* each once a field */
    assert_non_null(find_hit(rec, 0, MF_SUBJECT));
    assert_non_null(find_hit(rec, 1, MF_TEXT));
    assert_non_null(find_hit(rec, 2, MF_SUBJECT));
    assert_string_equal(find_hit(rec, 2, MF_TEXT)->word, "refund");
    record_free(&rec);
    fixture_free(&x);
}

static void test_quoted_text_is_not_matched(void **state CD_UNUSED)
{
    struct fixture x;
    fixture_init(&x);
    add_group(add_rule(&x, "r"), RF_ANY, "refund", "leaks", NULL);
    assert_int_equal(fixture_compile(&x), 0);
    struct record *rec = record_of("Kettle", "It leaks.\n\n> You get a refund.");
    rec->text_new = cd_strdup("It leaks.");
    rec->text_quoted = cd_strdup("> You get a refund.");
    matcher_run(x.m, rec, CD_KIB(32));
    assert_int_equal(rec->nhits, 1);
    assert_string_equal(rec->hits[0].word, "leaks");
    record_free(&rec);
    rec = record_of("Kettle", "> It leaks: refund.");
    rec->text_new = cd_strdup(""); /* an answer that says nothing */
    rec->text_quoted = cd_strdup("> It leaks: refund.");
    matcher_run(x.m, rec, CD_KIB(32));
    assert_int_equal(rec->nhits, 0);
    record_free(&rec);
    fixture_free(&x);
}

static void test_no_patterns(void **state CD_UNUSED)
{
    struct fixture x;
    fixture_init(&x);
    assert_int_equal(fixture_compile(&x), 0);
    struct record *rec = record_of("a", "b");
    matcher_run(x.m, rec, CD_KIB(32));
    assert_int_equal(rec->nhits, 0);
    record_free(&rec);
    fixture_free(&x);
}

static void test_match_bytes(void **state CD_UNUSED)
{
    struct fixture x;
    fixture_init(&x);
    add_group(add_rule(&x, "r"), RF_TEXT, "needle", "质量", NULL);
    assert_int_equal(fixture_compile(&x), 0);
    struct record *rec = record_of("", "haystack 质量 needle");
    matcher_run(x.m, rec, 16); /* cuts 9 + 6 bytes + the space */
    assert_int_equal(rec->nhits, 1);
    assert_true(rec->flags & REC_TRUNCATED_MATCH);
    record_free(&rec);
    rec = record_of("", "haystack 质量 needle");
    matcher_run(x.m, rec, 14); /* in the middle of a character */
    assert_int_equal(rec->nhits, 0);
    record_free(&rec);
    rec = record_of("", "haystack 质量 needle");
    matcher_run(x.m, rec, strlen(rec->text));
    assert_int_equal(rec->nhits, 2);
    assert_false(rec->flags & REC_TRUNCATED_MATCH);
    record_free(&rec);
    fixture_free(&x);
}

static void test_word_limit(void **state CD_UNUSED)
{
    struct fixture x;
    fixture_init(&x);
    struct cfg_rule *r = add_rule(&x, "r");
    add_phrase(&r->all[r->nall++], RF_ANY, true, "始.*终");
    assert_int_equal(fixture_compile(&x), 0);
    struct record *rec = record_of("", "始一二三四五六七八九十一二三四五六七八九十一二三四五六七八九十终");
    matcher_run(x.m, rec, CD_KIB(32));
    assert_int_equal(rec->nhits, 1);
    assert_int_equal(strlen(rec->hits[0].word), 63); /* 21 characters of 3 bytes */
    record_free(&rec);
    fixture_free(&x);
}

static void test_hit_limit(void **state CD_UNUSED)
{
    static char words[RECORD_MAX_HITS + 100][8];
    struct fixture x;
    struct buf text;
    fixture_init(&x);
    buf_init(&text, CD_MIB(1));
    struct cfg_rule *r = add_rule(&x, "r");
    struct cfg_condition_group *g = &r->all[r->nall++];
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        snprintf(words[i], sizeof(words[i]), "w%zu", i);
        add_phrase(g, RF_ANY, false, words[i]);
        buf_printf(&text, "w%zu ", i);
    }
    assert_int_equal(fixture_compile(&x), 0);
    struct record *rec = record_of("", buf_str(&text));
    matcher_run(x.m, rec, CD_KIB(32));
    assert_int_equal(rec->nhits, RECORD_MAX_HITS);
    assert_true(rec->flags & REC_TRUNCATED_MATCH);
    record_free(&rec);
    buf_free(&text);
    fixture_free(&x);
}

static void test_serialized_damage(void **state CD_UNUSED)
{
    struct fixture x;
    struct matcher *m = NULL;
    fixture_init(&x);
    struct cfg_rule *r = add_rule(&x, "r");
    add_group(r, RF_ANY, "refund", "退款", NULL);
    add_phrase(&r->all[0], RF_ANY, true, "charged (twice|again)");
    assert_int_equal(fixture_compile(&x), 0);
    for (size_t n = 0; n < x.compiled.len; n += n < 400 ? 1 : 37)
        assert_int_equal(matcher_new(x.compiled.data, n, &m), CD_EINVAL);
    for (size_t i = 0; i < x.compiled.len; i += i < 400 ? 1 : 37) {
        x.compiled.data[i] ^= 0x55;
        assert_int_equal(matcher_new(x.compiled.data, x.compiled.len, &m), CD_EINVAL);
        x.compiled.data[i] ^= 0x55;
    }
    assert_int_equal(matcher_new(NULL, 0, &m), CD_EINVAL);
    assert_null(m);
    assert_int_equal(matcher_new(x.compiled.data, x.compiled.len, &m), 0);
    matcher_free(&m);
    matcher_free(&m);
    fixture_free(&x);
}

static void test_output_cap(void **state CD_UNUSED)
{
    struct fixture x;
    fixture_init(&x);
    add_group(add_rule(&x, "r"), RF_ANY, "refund", NULL);
    buf_init(&x.compiled, 64);
    assert_int_equal(match_compile(&x.c.rules, &x.compiled, &x.faults), CD_ENOMEM);
    fixture_free(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fold),
        cmocka_unit_test(test_fold_line_breaks),
        cmocka_unit_test(test_fold_bad_bytes),
        cmocka_unit_test(test_fold_marks),
        cmocka_unit_test(test_word_edges_ascii),
        cmocka_unit_test(test_word_edges_unicode),
        cmocka_unit_test(test_word_edges_cjk),
        cmocka_unit_test(test_stems),
        cmocka_unit_test(test_regex),
        cmocka_unit_test(test_regex_refused),
        cmocka_unit_test(test_all_faults),
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_quoted_text_is_not_matched),
        cmocka_unit_test(test_no_patterns),
        cmocka_unit_test(test_match_bytes),
        cmocka_unit_test(test_word_limit),
        cmocka_unit_test(test_hit_limit),
        cmocka_unit_test(test_serialized_damage),
        cmocka_unit_test(test_output_cap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
