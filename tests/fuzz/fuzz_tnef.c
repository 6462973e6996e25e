/* Fuzz target: what comes inside attachments and is read. The first byte chooses: 't' winmail.dat (channels/mail/tnef.h), 'r' RTF, 'p' compressed
 * RTF, 'c' a calendar, 'u' uuencode. The rest is the input. */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "channels/mail/calendar.h"
#include "channels/mail/content.h"
#include "channels/mail/rtf.h"
#include "channels/mail/tnef.h"

#define MAX_TEXT CD_MIB(1)

static void check_text_out(struct buf *out)
{
    FUZZ_CHECK(out->len <= MAX_TEXT);
    FUZZ_CHECK(utf8_valid(buf_str(out), out->len));
    fuzz_good = out->len > 0;
    buf_free(out);
}

static void check_utf8(const char *s)
{
    FUZZ_CHECK(!s || utf8_valid(s, strlen(s)));
}

static void tnef(const uint8_t *data, size_t n)
{
    struct tnef *t = tnef_open(data, n);
    if (!t)
        return;
    size_t sum = 0;
    for (size_t i = 0; i < t->nmembers; i++) {
        const struct tnef_member *m = &t->members[i];
        check_utf8(m->name);
        check_utf8(m->type);
        check_utf8(m->content_id);
        for (size_t k = 0; k < m->n; k++) /* every byte is there */
            sum += m->data[k];
    }
    FUZZ_CHECK(t->nmembers <= TNEF_MAX_MEMBERS && sum <= n * 255);
    FUZZ_CHECK((t->form == TNEF_NO_TEXT) == (t->text == NULL));
    fuzz_good = t->nmembers > 0 && !t->damaged;
    tnef_close(&t);
}

static void count(void *arg, const void *p, size_t n)
{
    FUZZ_CHECK(p || n == 0);
    *(size_t *)arg += n;
}

static void uu(const uint8_t *data, size_t n)
{
    size_t whole = 0, got;
    uint8_t *own;
    bool cut;
    content_decode("x-uuencode", data, n, count, &whole);
    FUZZ_CHECK(whole <= 2 * n + 1);
    content_bytes("x-uuencode", data, n, 2 * n + 1, &got, &own, &cut);
    FUZZ_CHECK(got == whole && !cut);
    free(own);
    fuzz_good = whole > 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct charset_note note;
    struct buf out;
    size_t got;
    fuzz_good = false;
    if (n == 0)
        return 0;
    buf_init(&out, MAX_TEXT);
    switch (*data) {
    case 't':
        tnef(data + 1, n - 1);
        break;
    case 'r':
        rtf_to_text(data + 1, n - 1, "windows-1252", &out);
        check_text_out(&out);
        break;
    case 'p': {
        uint8_t *rtf = tnef_unpack_rtf(data + 1, n - 1, MAX_TEXT, &got);
        FUZZ_CHECK(!rtf || got <= MAX_TEXT);
        fuzz_good = rtf && got > 0;
        free(rtf);
        break;
    }
    case 'c':
        calendar_to_text(data + 1, n - 1, NULL, &out, &note);
        check_text_out(&out);
        break;
    case 'u':
        uu(data + 1, n - 1);
        break;
    default:
        break;
    }
    buf_free(&out);
    return 0;
}
