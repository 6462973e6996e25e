/* Subjects: what mail programs put in front, and how far two are from each other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/triage/match.h"
#include "daemon/triage/subject.h"

static void expect_stripped(const char *subject, const char *want)
{
    char *folded = match_fold(subject, strlen(subject), NULL);
    if (strcmp(subject_strip(folded), want) != 0)
        fail_msg("\"%s\" became \"%s\", not \"%s\"", subject, subject_strip(folded), want);
    free(folded);
}

static void prefixes_go(void **state)
{
    (void)state;
    static const char *const front[] = {
        "Re: ", "RE: ", "re:", "Re : ", "Re[2]: ", "RE(3): ", "Re^4: ", "Aw: ", "AW: AW: ", "Antw.: ", "Antwort: ", "SV: ", "VS: ", "Odp: ",
        "YNT: ", "Atb: ", "Rif: ", "R: ", "RES: ", "Réf. : ", "RÉP : ", "BLS: ", "TL: ", "Trả lời: ", "Ответ: ", "Отв: ", "ΑΠ: ", "תשובה: ",
        "Fwd: ", "FW: ", "WG: ", "Re: Fwd: RE: ", "TR: ", "ENC: ", "RV: ", "VB: ", "PD: ", "I: ", "İLT: ", "Пересл: ", "ΠΡΘ: ", "Továbbítás: ",
        "回复: ", "回复：", "回覆：", "答复: ", "答覆：", "转发：", "轉寄: ", "返信: ", "転送： ", "회신: ", "전달: ", "[support] Re: ", "Re: [support] ",
        "【外部】", "[EXTERNAL] ", "  "};
    for (size_t i = 0; i < ARRAY_LEN(front); i++) {
        char text[200];
        snprintf(text, sizeof text, "%sBroken kettle", front[i]);
        expect_stripped(text, "broken kettle");
    }
}

static void what_is_no_prefix_stays(void **state)
{
    (void)state;
    expect_stripped("Reminder: pay", "reminder: pay");
    expect_stripped("Regarding the kettle", "regarding the kettle");
    expect_stripped("Re kettle", "re kettle");
    expect_stripped("Re[]: kettle", "re[]: kettle");
    expect_stripped("Re[12345]: kettle", "re[12345]: kettle");
    expect_stripped("[open", "[open");
    /* nothing but prefixes is a subject, too */
    expect_stripped("Re:", "re:");
    expect_stripped("Re: [kettle]", "[kettle]");
    expect_stripped("", "");
}

static int drift(const char *a, const char *b)
{
    struct subject_words x, y;
    subject_read(a, &x);
    subject_read(b, &y);
    assert_int_equal(subject_drift(&x, &y), subject_drift(&y, &x));
    return subject_drift(&x, &y);
}

static void distances(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b;
        int drift;
    } cases[] = {
        {"Broken kettle", "Re: Broken kettle", 0},
        {"Broken kettle", "AW: BROKEN  Kettle!!", 0},
        {"Broken kettle", "Re: Broken kettle - still no refund", 0},
        {"Broken kettle", "Wrong invoice", 100},
        {"Broken kettle from Leeds", "Wrong invoice from Leeds", 50},
        {"My kettle is on it", "My invoice is on it", 100}, /* short words carry no matter */
        {"Größe falsch", "Re: GRÖSSE FALSCH", 0},
        {"账单重复扣款", "回复：账单重复扣款", 0},
        {"账单重复扣款", "答复: 关于账单重复扣款的问题", 0},
        {"账单重复扣款", "快递员态度恶劣", 100},
        {"請求書の間違い", "返信: 請求書の間違い", 0},
        {"キャンセル", "ｷｬﾝｾﾙ", 0},
        {"요금 청구 오류", "회신: 요금 청구 오류", 0},
        {"Неверный счёт", "Ответ: неверный счёт", 0},
        {"Order 4711", "Order 4712", 50},
        {"A7", "A7", 0},
        {"", "Broken kettle", -1},
        {"Hi", "Broken kettle", -1},
        {"!!!", "???", -1},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        if (drift(cases[i].a, cases[i].b) != cases[i].drift)
            fail_msg("\"%s\" and \"%s\": %d, not %d", cases[i].a, cases[i].b, drift(cases[i].a, cases[i].b), cases[i].drift);
    struct subject_words none;
    subject_read(NULL, &none);
    assert_int_equal(none.n, 0);
}

static void long_ones_are_bounded(void **state)
{
    (void)state;
    struct subject_words w;
    char *text = malloc(200001);
    size_t n = 0;
    for (unsigned i = 0; n + 20 < 200000; i++)
        n += (size_t)sprintf(text + n, "word%u ", i);
    subject_read(text, &w);
    assert_int_equal(w.n, SUBJECT_MAX_WORDS);
    memset(text, '[', 200000);
    text[200000] = '\0';
    subject_read(text, &w);
    assert_int_equal(w.n, 0);
    for (n = 0; n + 4 < 200000; n += 4)
        memcpy(text + n, "re: ", 4);
    text[n] = '\0';
    subject_read(text, &w);
    assert_true(w.n <= 1);
    for (n = 0; n + 3 < 200000; n += 3) /* a cut in the middle of a character must not be read past */
        memcpy(text + n, "\xe8\xb4\xa6", 3);
    text[n] = '\0';
    subject_read(text, &w);
    assert_int_equal(w.n, 1);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prefixes_go),
        cmocka_unit_test(what_is_no_prefix_stays),
        cmocka_unit_test(distances),
        cmocka_unit_test(long_ones_are_bounded),
    };
    return cmocka_run_group_tests_name("subject", tests, NULL, NULL);
}
