#pragma once
/* The frames between front and worker, the same in both directions: a header of 13 bytes (u32 length, u64
 * job, u8 flags, little- endian) and `length` bytes. With FRAME_MEMFD the bytes are in the descriptor that
 * travels with the header instead. */
#include "daemon/core/base.h"

#define FRAME_HEADER_SIZE 13
#define FRAME_MAX CD_MIB(64)    /* a longer one is a protocol error */
#define FRAME_INLINE CD_KIB(64) /* longer jobs go as a memfd */
#define FRAME_READ CD_KIB(64)   /* asked of the socket at a time */

enum frame_flag {
    FRAME_MORE = 1 << 0,  /* an answer that others of the same job follow */
    FRAME_MEMFD = 1 << 1, /* jobs only */
    FRAME_READY = 1 << 2, /* first frame of a worker: set-up is done, jobs may come */
};

struct frame_header {
    uint32_t length;
    uint64_t job;
    uint8_t flags;
};

static inline void frame_header_write(const struct frame_header *h, uint8_t out[FRAME_HEADER_SIZE])
{
    for (int i = 0; i < 4; i++)
        out[i] = (uint8_t)(h->length >> (8 * i));
    for (int i = 0; i < 8; i++)
        out[4 + i] = (uint8_t)(h->job >> (8 * i));
    out[12] = h->flags;
}

static inline void frame_header_read(const uint8_t *p, struct frame_header *ret)
{
    *ret = (struct frame_header){.flags = p[12]};
    for (int i = 0; i < 4; i++)
        ret->length |= (uint32_t)p[i] << (8 * i);
    for (int i = 0; i < 8; i++)
        ret->job |= (uint64_t)p[4 + i] << (8 * i);
}
