/* ISO-2022-JP as Japanese mail programs write it: with the characters of NEC and IBM (circled numbers, company marks, rare names)
 * that are not in the standard's set, and with half-width kana. The C library has no converter for that; but the same codes shifted are
 * CP932, for which it has one. Pure. */
#include <string.h>

#include "channels/mail/charset.h"
#include "channels/mail/charset_names.h"
#include "daemon/core/buf.h"

enum jis_mode { JIS_ASCII, JIS_KANA, JIS_KANJI };

/* The escape sequence at p: its length, 0 when it is none of these. */
static size_t escape(const char *p, size_t n, enum jis_mode *mode)
{
    static const struct {
        const char *text;
        enum jis_mode mode;
    } sequences[] = {{"\033$B", JIS_KANJI}, {"\033$@", JIS_KANJI}, {"\033$(D", JIS_KANJI}, {"\033(B", JIS_ASCII}, {"\033(J", JIS_ASCII}, {"\033(I", JIS_KANA}};
    for (size_t i = 0; i < ARRAY_LEN(sequences); i++) {
        size_t len = strlen(sequences[i].text);
        if (n >= len && memcmp(p, sequences[i].text, len) == 0) {
            *mode = sequences[i].mode;
            return len;
        }
    }
    return 0;
}

static void put_kanji(struct buf *out, unsigned row, unsigned cell)
{
    unsigned lead = (row + 1) / 2 + (row <= 0x5e ? 0x70 : 0xb0);
    unsigned trail = row % 2 ? cell + (cell >= 0x60 ? 0x20 : 0x1f) : cell + 0x7e;
    buf_append_char(out, (char)lead);
    buf_append_char(out, (char)trail);
}

char *charset_from_jis(const char *p, size_t n, size_t *ret_n)
{
    struct buf sjis;
    struct charset_note note;
    enum jis_mode mode = JIS_ASCII;
    char *s = NULL;
    buf_init(&sjis, n + 1);
    size_t i = 0;
    while (i < n && !sjis.failed) {
        size_t len = p[i] == '\033' ? escape(p + i, n - i, &mode) : 0;
        if (len > 0) {
            i += len;
        } else if (mode == JIS_KANJI && i + 1 < n && p[i] > ' ' && p[i] < 127 && p[i + 1] > ' ' && p[i + 1] < 127) {
            put_kanji(&sjis, (unsigned char)p[i], (unsigned char)p[i + 1]);
            i += 2;
        } else if (mode == JIS_KANJI && p[i] > ' ') {
            break; /* half a character */
        } else {
            if (p[i] == '\n')
                mode = JIS_ASCII; /* a shift ends with its line */
            buf_append_char(&sjis, (char)(mode == JIS_KANA && p[i] > ' ' && p[i] < 0x60 ? p[i] | 0x80 : p[i]));
            i++;
        }
    }
    if (!sjis.failed && i == n)
        s = charset_to_utf8("cp932", buf_str(&sjis), sjis.len, ret_n, &note);
    buf_free(&sjis);
    if (s && (note.lost || note.misfit)) {
        free(s);
        s = NULL;
    }
    return s;
}
