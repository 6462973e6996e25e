/* References: the check symbol catches every single error and every swap of neighbours; slips of the pen are forgiven. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/core/err.h"
#include "daemon/core/ref.h"

static const char alphabet[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
static const int places[] = {2, 3, 4, 5, 7, 8, 9, 10, 12, 13, 14, 15};

static void every_single_error_is_caught(void **state)
{
    char ref[REF_TEXT_SIZE], out[REF_TEXT_SIZE];
    (void)state;
    for (int round = 0; round < 200; round++) {
        ref_new(ref);
        assert_int_equal(ref_parse(ref, strlen(ref), out), 0);
        assert_string_equal(ref, out);
        for (size_t p = 0; p < ARRAY_LEN(places); p++)
            for (size_t a = 0; a < 32; a++) {
                char wrong[REF_TEXT_SIZE];
                memcpy(wrong, ref, sizeof wrong);
                wrong[places[p]] = alphabet[a];
                assert_int_equal(ref_parse(wrong, strlen(wrong), out), alphabet[a] == ref[places[p]] ? 0 : CD_EINVAL);
            }
    }
}

static void every_swap_of_neighbours_is_caught(void **state)
{
    char ref[REF_TEXT_SIZE], out[REF_TEXT_SIZE];
    (void)state;
    for (int round = 0; round < 2000; round++) {
        ref_new(ref);
        for (size_t p = 0; p + 1 < ARRAY_LEN(places); p++) {
            char wrong[REF_TEXT_SIZE];
            memcpy(wrong, ref, sizeof wrong);
            wrong[places[p]] = ref[places[p + 1]];
            wrong[places[p + 1]] = ref[places[p]];
            assert_int_equal(ref_parse(wrong, strlen(wrong), out), strcmp(wrong, ref) == 0 ? 0 : CD_EINVAL);
        }
    }
}

static void slips_are_forgiven(void **state)
{
    char ref[REF_TEXT_SIZE], out[REF_TEXT_SIZE], typed[64];
    (void)state;
    for (int round = 0; round < 500; round++) {
        ref_new(ref);
        size_t n = 0;
        for (const char *p = ref; *p; p++) {
            if (*p == '-' && round % 3 == 0)
                continue;
            char c = *p == '-' && round % 3 == 1 ? ' ' : *p;
            c = c == '0' ? 'o' : c == '1' ? (round % 2 ? 'l' : 'I') : c;
            typed[n++] = c >= 'A' && c <= 'Z' && round % 2 ? (char)(c + 32) : c;
        }
        assert_int_equal(ref_parse(typed, n, out), 0);
        assert_string_equal(out, ref);
        assert_int_equal(ref_parse(ref + 2, strlen(ref + 2), out), 0); /* without "C-" */
        assert_string_equal(out, ref);
    }
    assert_int_equal(ref_parse("", 0, out), CD_EINVAL);
    assert_int_equal(ref_parse("C-U000-0000-0000", 16, out), CD_EINVAL);
}

static void found_in_text(void **state)
{
    char a[REF_TEXT_SIZE], b[REF_TEXT_SIZE], found[3][REF_TEXT_SIZE], text[256];
    (void)state;
    ref_new(a);
    ref_new(b);
    int n = snprintf(text, sizeof text, "Re: [%s] and %s, %s again; XC-%s", a, b, a, a + 2);
    assert_int_equal(ref_find(text, (size_t)n, found, 3), 2);
    assert_string_equal(found[0], a);
    assert_string_equal(found[1], b);
    assert_int_equal(ref_find(text, (size_t)n, found, 1), 1); /* the limit */
    char longer[64];
    n = snprintf(longer, sizeof longer, "%sX", a); /* part of a longer word */
    assert_int_equal(ref_find(longer, (size_t)n, found, 3), 0);
    assert_int_equal(ref_find("C-", 2, found, 3), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_single_error_is_caught),
        cmocka_unit_test(every_swap_of_neighbours_is_caught),
        cmocka_unit_test(slips_are_forgiven),
        cmocka_unit_test(found_in_text),
    };
    return cmocka_run_group_tests_name("ref", tests, NULL, NULL);
}
