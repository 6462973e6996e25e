/* Files that old programs write into the text itself, uuencoded: they become attachments, with their place, and leave the text. What only
 * looks like one stays text. */
#include <string.h>

#include "channels/mail/decode_impl.h"

#define MAX_UU_FILES 50 /* in one text */
#define MAX_UU_NAME 255

struct uu {
    const uint8_t *begin, *end; /* with the lines "begin" and "end" */
    const uint8_t *name;
    size_t nname;
};

static const uint8_t *next_line(const uint8_t *p, const uint8_t *end)
{
    const uint8_t *nl = memchr(p, '\n', (size_t)(end - p));
    return nl ? nl + 1 : end;
}

/* "begin 644 name" */
static bool is_begin(const uint8_t *p, const uint8_t *end, struct uu *u)
{
    static const char word[] = "begin ";
    const uint8_t *line = next_line(p, end), *q = p + sizeof word - 1;
    if ((size_t)(line - p) < sizeof word + 5 || memcmp(p, word, sizeof word - 1) != 0)
        return false;
    size_t digits = 0;
    while (q < line && *q >= '0' && *q <= '7')
        q++, digits++;
    if (digits < 3 || digits > 4 || *q != ' ')
        return false;
    q++;
    while (line > q && (line[-1] == '\n' || line[-1] == '\r' || line[-1] == ' '))
        line--;
    u->name = q;
    u->nname = (size_t)(line - q);
    return u->nname > 0 && u->nname <= MAX_UU_NAME;
}

/* A line of data: its first character says how many bytes it has; spaces at its end may be lost. */
static bool is_data(const uint8_t *p, const uint8_t *line)
{
    while (line > p && (line[-1] == '\n' || line[-1] == '\r'))
        line--;
    size_t n = (size_t)(line - p), bytes = n > 0 ? (*p - 32u) & 63 : 0;
    for (size_t i = 0; i < n; i++)
        if (p[i] < 32 || p[i] > 96)
            return false;
    return n > 0 && bytes <= 45 && n <= (bytes + 2) / 3 * 4 + 2;
}

/* The file that begins at p, if its lines up to "end" are what they should be. */
static bool read_file(const uint8_t *p, const uint8_t *end, struct uu *u)
{
    size_t lines = 0;
    if (!is_begin(p, end, u))
        return false;
    u->begin = p;
    for (p = next_line(p, end); p < end; lines++) {
        const uint8_t *line = next_line(p, end);
        if (lines > 0 && line - p >= 3 && memcmp(p, "end", 3) == 0 && (line - p == 3 || p[3] == '\r' || p[3] == '\n')) {
            u->end = line;
            return true;
        }
        if (!is_data(p, line))
            return false;
        p = line;
    }
    return false;
}

static void attach(struct decoding *d, const struct leaf *around, const uint8_t *text, const struct uu *u)
{
    char *raw = cd_strndup((const char *)u->name, u->nname);
    struct leaf l = {.part = around->part,
                     .filename = decode_safe_name(d, raw),
                     .encoding = GMIME_CONTENT_ENCODING_UUENCODE,
                     .offset = around->offset + (size_t)(u->begin - text),
                     .length = (size_t)(u->end - u->begin)};
    l.type = cd_strdup(decode_type_by_name(l.filename));
    leaf_attach(d, &l);
    leaf_free(&l);
    free(raw);
}

bool decode_uu_files(struct decoding *d, const struct leaf *l, const uint8_t *p, size_t n, struct buf *rest)
{
    const uint8_t *end = p + n, *text = p, *kept = p;
    unsigned found = 0;
    if (!d->places || !memmem(p, n, "begin ", 6))
        return false;
    while (p < end && found < MAX_UU_FILES) {
        struct uu u;
        if (!read_file(p, end, &u)) {
            p = next_line(p, end);
            continue;
        }
        attach(d, l, text, &u);
        buf_append(rest, kept, (size_t)(u.begin - kept));
        kept = p = u.end;
        found++;
    }
    if (found > 0)
        buf_append(rest, kept, (size_t)(end - kept));
    return found > 0;
}
