/* Fuzz target: references typed by people, and references found in their texts. */
#include "tests/fuzz/fuzz.h"

#include "daemon/core/ref.h"

#define MAX_FOUND 8

static void check_form(const char *ref)
{
    char again[REF_TEXT_SIZE], wrong[REF_TEXT_SIZE], out[REF_TEXT_SIZE];
    FUZZ_CHECK(strlen(ref) == REF_TEXT_SIZE - 1 && ref[0] == 'C' && ref[1] == '-' && ref[6] == '-' && ref[11] == '-');
    FUZZ_CHECK(ref_parse(ref, strlen(ref), again) == 0 && str_eq(ref, again));
    /* one wrong symbol, two neighbours swapped: both are noticed */
    for (size_t i = 2; i < REF_TEXT_SIZE - 1; i++) {
        if (ref[i] == '-')
            continue;
        memcpy(wrong, ref, sizeof wrong);
        wrong[i] = ref[i] == '7' ? '8' : '7';
        FUZZ_CHECK(ref_parse(wrong, strlen(wrong), out) < 0);
        if (i + 1 >= REF_TEXT_SIZE - 1 || ref[i + 1] == '-' || ref[i] == ref[i + 1])
            continue;
        memcpy(wrong, ref, sizeof wrong);
        wrong[i] = ref[i + 1];
        wrong[i + 1] = ref[i];
        FUZZ_CHECK(ref_parse(wrong, strlen(wrong), out) < 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const char *s = (const char *)data;
    char one[REF_TEXT_SIZE], found[MAX_FOUND][REF_TEXT_SIZE];
    if (ref_parse(s, n, one) == 0) {
        fuzz_good = true;
        check_form(one);
    }
    for (size_t max = 0; max <= MAX_FOUND; max += MAX_FOUND / 2) {
        size_t k = ref_find(s, n, found, max);
        FUZZ_CHECK(k <= max);
        for (size_t i = 0; i < k; i++) {
            check_form(found[i]);
            for (size_t j = 0; j < i; j++)
                FUZZ_CHECK(!str_eq(found[i], found[j]));
        }
        fuzz_good = fuzz_good || k > 0;
    }
    return 0;
}
