/* Fuzz target: text in any character set. Input: the name of the set as a sender declares it, a line end, the text. Without a line
 * end none is declared. */
#include "tests/fuzz/fuzz.h"

#include "channels/mail/charset.h"

int LLVMFuzzerInitialize(int *argc CD_UNUSED, char ***argv CD_UNUSED)
{
    FUZZ_CHECK(charset_prepare() > 0);
    return 0;
}

static void check_text(const char *s, size_t n)
{
    FUZZ_CHECK(strlen(s) == n && utf8_valid(s, n));
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        FUZZ_CHECK((c >= 0x20 && c != 0x7f) || c == '\t' || c == '\n' || c == '\r');
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const uint8_t *lf = n ? memchr(data, '\n', n) : NULL;
    char *declared = lf ? cd_strndup((const char *)data, (size_t)(lf - data)) : NULL;
    const uint8_t *text = lf ? lf + 1 : data;
    size_t len = n - (size_t)(text - data), out_len = 0;
    struct charset_note note;
    char *out = charset_to_utf8(declared, text, len, &out_len, &note);
    check_text(out, out_len);
    FUZZ_CHECK(out_len <= len * 4 + 64);
    FUZZ_CHECK(memchr(note.used, '\0', sizeof note.used) && note.used[0]);
    for (const char *c = note.used; *c; c++)
        FUZZ_CHECK(*c > ' ' && *c < 0x7f); /* it goes into reasons that people read */
    fuzz_good = !note.unknown && !note.misfit && !note.lost;
    /* the same again, whatever the converter was left with */
    size_t again_len = 0;
    char *again = charset_to_utf8(declared, text, len, &again_len, &note);
    FUZZ_CHECK(str_eq(out, again));
    free(again);
    free(out);
    (void)charset_known(declared ? declared : "");
    free(declared);
    return 0;
}
