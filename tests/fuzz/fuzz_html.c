/* Fuzz target: HTML to text. The first byte chooses whether there is little room for the result; the rest is the HTML, made valid
 * UTF-8 as its caller does. */
#include "tests/fuzz/fuzz.h"

#include "channels/mail/html.h"

#define LITTLE 50

int LLVMFuzzerInitialize(int *argc CD_UNUSED, char ***argv CD_UNUSED)
{
    html_prepare();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct fuzz_in in = {data, n};
    struct buf out;
    char charset[64];
    bool cut;
    size_t cap = fuzz_u8(&in) & 1 ? LITTLE : CD_MIB(8);
    memset(charset, 'x', sizeof charset);
    html_meta_charset(in.p, in.n, charset);
    FUZZ_CHECK(strnlen(charset, sizeof charset) < sizeof charset);
    char *html = utf8_clean((const char *)in.p, in.n, NULL);
    buf_init(&out, cap);
    buf_append_str(&out, "before"); /* it appends */
    html_to_text(html, strlen(html), &out, &cut);
    FUZZ_CHECK(out.len <= cap && str_starts(buf_str(&out), "before"));
    FUZZ_CHECK(cut || !out.failed);
    FUZZ_CHECK(utf8_valid(buf_str(&out), out.len) && strlen(buf_str(&out)) == out.len);
    fuzz_good = out.len > strlen("before") && !cut;
    buf_free(&out);
    free(html);
    return 0;
}
