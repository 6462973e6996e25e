#pragma once
/* The encoding of frames between front and workers: little-endian integers, strings and bytes with a 32-bit length.
 * The reader trusts nothing: every length is checked, the first fault makes all further reads return zero or NULL. */
#include "daemon/core/buf.h"

void wire_u8(struct buf *b, uint8_t v);
void wire_u32(struct buf *b, uint32_t v);
void wire_u64(struct buf *b, uint64_t v);
void wire_bytes(struct buf *b, const void *p, size_t n);
void wire_str(struct buf *b, const char *s); /* NULL is kept as NULL */

struct wire_reader {
    const uint8_t *p, *end;
    bool failed;
};
void wire_reader_init(struct wire_reader *r, const void *p, size_t n);
uint8_t wire_read_u8(struct wire_reader *r);
uint32_t wire_read_u32(struct wire_reader *r);
uint64_t wire_read_u64(struct wire_reader *r);
/* A view into the frame; NULL and 0 on failure. */
const uint8_t *wire_read_bytes(struct wire_reader *r, size_t *ret_n);
/* A new string (free it); NULL when NULL was written or on failure. A NUL byte inside, a length over `max` or, with `utf8`,
 * invalid UTF-8 is a failure. */
char *wire_read_str(struct wire_reader *r, size_t max, bool utf8);
/* A count of elements, failing when over `max`. */
uint32_t wire_read_count(struct wire_reader *r, uint32_t max);
