#pragma once
/* Makes TNEF streams (MS-OXTNEF) for tests, right ones and, through the same calls, such as lie. */
#include <string.h>

#include "daemon/core/buf.h"

#define TNEF_RENDDATA 0x00069002u
#define TNEF_TITLE 0x00018010u
#define TNEF_DATA 0x0006800fu
#define TNEF_MEMBER_PROPS 0x00069005u
#define TNEF_PROPS 0x00069003u
#define TNEF_BODY 0x0002800cu
#define TNEF_CODEPAGE 0x00069007u
#define TNEF_VERSION 0x00089006u

static void put32(struct buf *b, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        buf_append_char(b, (char)(v >> 8 * i));
}

static CD_UNUSED void tnef_begin(struct buf *b)
{
    buf_init(b, CD_MIB(64));
    put32(b, 0x223e9f78);
    buf_append(b, "\x01\x00", 2);
}

/* `said`: the size that is written in front of the n bytes. */
static CD_UNUSED void tnef_attribute_lying(struct buf *b, char level, uint32_t type, const void *p, size_t n, uint32_t said)
{
    unsigned sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += ((const uint8_t *)p)[i];
    buf_append_char(b, level);
    put32(b, type);
    put32(b, said);
    buf_append(b, p, n);
    buf_append_char(b, (char)sum);
    buf_append_char(b, (char)(sum >> 8));
}

static CD_UNUSED void tnef_attribute(struct buf *b, char level, uint32_t type, const void *p, size_t n)
{
    tnef_attribute_lying(b, level, type, p, n, (uint32_t)n);
}

static CD_UNUSED void tnef_property(struct buf *props, uint32_t tag, const void *p, size_t n)
{
    put32(props, tag);
    put32(props, 1);
    put32(props, (uint32_t)n);
    buf_append(props, p, n);
    for (size_t i = n; i % 4; i++)
        buf_append_char(props, '\0');
}

/* ASCII as UTF-16 with its end. */
static CD_UNUSED void tnef_wide(struct buf *props, uint32_t tag, const char *s)
{
    struct buf wide;
    buf_init(&wide, CD_MIB(4));
    for (const char *p = s;; p++) {
        buf_append_char(&wide, *p);
        buf_append_char(&wide, '\0');
        if (!*p)
            break;
    }
    tnef_property(props, tag, wide.data, wide.len);
    buf_free(&wide);
}

static CD_UNUSED void tnef_member(struct buf *b, const char *title, const void *p, size_t n)
{
    static const uint8_t rend[14];
    tnef_attribute(b, 2, TNEF_RENDDATA, rend, sizeof rend);
    tnef_attribute(b, 2, TNEF_TITLE, title, strlen(title) + 1);
    tnef_attribute(b, 2, TNEF_DATA, p, n);
}

/* RTF packed as literals only: eight behind each byte of flags. */
static CD_UNUSED void tnef_pack_rtf(struct buf *out, const char *rtf)
{
    size_t n = strlen(rtf);
    buf_init(out, CD_MIB(4));
    put32(out, 0);
    put32(out, (uint32_t)n);
    put32(out, 0x75465a4c);
    put32(out, 0);
    for (size_t i = 0; i < n; i += 8) {
        buf_append_char(out, '\0');
        buf_append(out, rtf + i, CD_MIN(n - i, (size_t)8));
    }
    const uint32_t size = (uint32_t)out->len - 4;
    for (int i = 0; i < 4; i++)
        out->data[i] = (uint8_t)(size >> 8 * i);
}
