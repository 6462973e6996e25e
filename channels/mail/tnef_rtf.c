/* Compressed RTF (MS-OXRTFCP) undone: literals and references into a ring of 4096 bytes that begins with words usual
 * in RTF. What ends early gives what was there. The caller's `max` bounds the result, the input bounds the time. */
#include <string.h>

#include "channels/mail/tnef.h"

#define HEADER 16
#define PACKED 0x75465a4cu
#define STORED 0x414c454du
#define RING 4096

static const char dictionary[] =
    "{\\rtf1\\ansi\\mac\\deff0\\deftab720{\\fonttbl;}{\\f0\\fnil \\froman \\fswiss \\fmodern \\fscript \\fdecor MS Sans SerifSymbolArialTimes "
    "New RomanCourier{\\colortbl\\red0\\green0\\blue0\r\n\\par \\pard\\plain\\f0\\fs20\\b\\i\\u\\tab\\tx";

struct unpack {
    const uint8_t *p, *end;
    uint8_t ring[RING];
    size_t at; /* in the ring */
    struct buf out;
};

static uint32_t get32(const uint8_t *p)
{
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void put(struct unpack *u, uint8_t c)
{
    u->ring[u->at] = c;
    u->at = (u->at + 1) % RING;
    buf_append_char(&u->out, (char)c);
}

/* Two bytes: where in the ring, and how much. false at the end, which refers to the place that is written next. */
static bool copy_reference(struct unpack *u)
{
    if (u->end - u->p < 2)
        return false;
    size_t from = (size_t)u->p[0] << 4 | u->p[1] >> 4, n = (u->p[1] & 15u) + 2;
    u->p += 2;
    if (from == u->at)
        return false;
    for (; n > 0; n--, from = (from + 1) % RING)
        put(u, u->ring[from]);
    return true;
}

uint8_t *tnef_unpack_rtf(const uint8_t *p, size_t n, size_t max, size_t *ret_n)
{
    if (n < HEADER || (get32(p + 8) != PACKED && get32(p + 8) != STORED))
        return NULL;
    struct unpack u = {.p = p + HEADER, .end = p + n, .at = sizeof dictionary - 1};
    size_t want = CD_MIN((size_t)get32(p + 4), max);
    bool more = true;
    buf_init(&u.out, max + 32);
    memcpy(u.ring, dictionary, u.at);
    if (get32(p + 8) == STORED)
        buf_append(&u.out, u.p, CD_MIN(want, n - HEADER));
    while (get32(p + 8) == PACKED && more && u.p < u.end && u.out.len < want) {
        uint8_t flags = *u.p++; /* of what follows, a bit each: reference or literal */
        for (int bit = 0; bit < 8 && more && u.p < u.end && u.out.len < want; bit++, flags >>= 1) {
            if (flags & 1)
                more = copy_reference(&u);
            else
                put(&u, *u.p++);
        }
    }
    *ret_n = CD_MIN(u.out.len, want);
    char *s = buf_steal(&u.out);
    return s ? (uint8_t *)s : cd_alloc(1);
}
