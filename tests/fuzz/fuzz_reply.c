/* Fuzz target: new text apart from quoted text. All of the input is a body. */
#include "tests/fuzz/fuzz.h"

#include "tests/unit/mail_decode/reply_check.h"

#define WHOLE_MOST 2000 /* bytes of a text whose lines are looked for in all ways; of a longer one they are counted */

static size_t visible(const char *s, size_t n)
{
    size_t seen = 0;
    for (size_t i = 0; i < n; i++)
        seen += (unsigned char)s[i] > ' ';
    return seen;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct buf new_text, quoted;
    char *text = utf8_clean((const char *)data, n, NULL);
    size_t len = strlen(text);
    buf_init(&new_text, len + len / 2 + 2);
    buf_init(&quoted, len + len / 2 + 2);
    bool separated = reply_split(text, len, &new_text, &quoted);
    FUZZ_CHECK(!new_text.failed && !quoted.failed);
    FUZZ_CHECK(separated == (quoted.len > 0) && (separated || new_text.len == 0));
    if (separated) {
        FUZZ_CHECK(new_text.len <= len && quoted.len <= len);
        FUZZ_CHECK(utf8_valid(buf_str(&new_text), new_text.len) && utf8_valid(buf_str(&quoted), quoted.len));
        FUZZ_CHECK(visible(text, len) == visible(buf_str(&new_text), new_text.len) + visible(buf_str(&quoted), quoted.len));
        FUZZ_CHECK(len > WHOLE_MOST || reply_check_whole(text, len, &new_text, &quoted));
    }
    fuzz_good = separated;
    buf_free(&new_text);
    buf_free(&quoted);
    free(text);
    return 0;
}
