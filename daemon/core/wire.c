/* Frames. NULL strings are written as the length 0xffffffff. */
#include "daemon/core/wire.h"

#include <string.h>

#include "daemon/core/str.h"

#define NULL_LENGTH 0xffffffffu

void wire_u8(struct buf *b, uint8_t v)
{
    buf_append(b, &v, 1);
}

void wire_u32(struct buf *b, uint32_t v)
{
    uint8_t p[4] = {(uint8_t)v, (uint8_t)(v >> 8), (uint8_t)(v >> 16), (uint8_t)(v >> 24)};
    buf_append(b, p, 4);
}

void wire_u64(struct buf *b, uint64_t v)
{
    wire_u32(b, (uint32_t)v);
    wire_u32(b, (uint32_t)(v >> 32));
}

void wire_bytes(struct buf *b, const void *p, size_t n)
{
    cd_assert(n < NULL_LENGTH);
    wire_u32(b, (uint32_t)n);
    buf_append(b, p, n);
}

void wire_str(struct buf *b, const char *s)
{
    if (s)
        wire_bytes(b, s, strlen(s));
    else
        wire_u32(b, NULL_LENGTH);
}

void wire_reader_init(struct wire_reader *r, const void *p, size_t n)
{
    *r = (struct wire_reader){.p = p, .end = (const uint8_t *)p + n};
}

static const uint8_t *take(struct wire_reader *r, size_t n)
{
    if (r->failed || (size_t)(r->end - r->p) < n) {
        r->failed = true;
        return NULL;
    }
    const uint8_t *p = r->p;
    r->p += n;
    return p;
}

uint8_t wire_read_u8(struct wire_reader *r)
{
    const uint8_t *p = take(r, 1);
    return p ? *p : 0;
}

uint32_t wire_read_u32(struct wire_reader *r)
{
    const uint8_t *p = take(r, 4);
    return p ? (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24 : 0;
}

uint64_t wire_read_u64(struct wire_reader *r)
{
    uint64_t low = wire_read_u32(r);
    return low | (uint64_t)wire_read_u32(r) << 32;
}

const uint8_t *wire_read_bytes(struct wire_reader *r, size_t *ret_n)
{
    uint32_t n = wire_read_u32(r);
    const uint8_t *p = n == NULL_LENGTH ? NULL : take(r, n);
    if (!p)
        r->failed = true;
    *ret_n = p ? n : 0;
    return p;
}

char *wire_read_str(struct wire_reader *r, size_t max, bool utf8)
{
    uint32_t n = wire_read_u32(r);
    if (n == NULL_LENGTH)
        return NULL;
    if (n > max)
        r->failed = true;
    const uint8_t *p = take(r, n);
    if (!p)
        return NULL;
    if (memchr(p, 0, n) || (utf8 && !utf8_valid((const char *)p, n))) {
        r->failed = true;
        return NULL;
    }
    return cd_strndup((const char *)p, n);
}

uint32_t wire_read_count(struct wire_reader *r, uint32_t max)
{
    uint32_t n = wire_read_u32(r);
    if (n > max) {
        r->failed = true;
        return 0;
    }
    return n;
}
