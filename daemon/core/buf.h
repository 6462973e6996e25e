#pragma once
/* A growing byte buffer that is born with a cap. Appending over the cap or without memory fails with CD_ENOMEM, leaves the
 * content as it was and sets `failed`, so that a series of appends can be checked once at its end. */
#include "daemon/core/base.h"

struct buf {
    uint8_t *data; /* NUL-terminated one past len whenever not NULL */
    size_t len, size, cap;
    bool failed;
};

void buf_init(struct buf *b, size_t cap);
void buf_free(struct buf *b);  /* frees and resets; cap stays */
void buf_reset(struct buf *b); /* keeps the memory */
int buf_reserve(struct buf *b, size_t more) CD_MUSTUSE;
int buf_append(struct buf *b, const void *p, size_t n); /* result may be ignored when `failed` is checked later */
int buf_append_str(struct buf *b, const char *s);
int buf_append_char(struct buf *b, char c);
int buf_append_int(struct buf *b, int64_t v); /* in decimal digits */
int buf_printf(struct buf *b, const char *fmt, ...) CD_PRINTF(2, 3);
void buf_consume(struct buf *b, size_t n); /* drops n bytes from the front */
/* The content as a C string, never NULL; valid until the next change. */
const char *buf_str(const struct buf *b);
/* Hands the memory over (free() it); the buffer is empty afterwards. NULL when empty. */
char *buf_steal(struct buf *b);
