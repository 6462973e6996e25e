#pragma once
/* Decoding of a mail written in a test; each record also goes through its own frame format, as it would to
 * the front. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "channels/mail/decode.h"
#include "daemon/core/err.h"

struct decoded {
    struct envelope *e;
    struct record *r;
    int result;
};

static struct decoded decode_bytes(const void *raw, size_t n, const char *sender)
{
    struct decoded d = {.e = envelope_new(CH_MAIL, CD_MIB(64)), .r = record_new()};
    struct buf frame;
    struct record *back = NULL;
    assert_int_equal(buf_append(&d.e->raw, raw, n), 0);
    d.e->sender = cd_strdup(sender);
    strlist_add(&d.e->recipients, "care@example.com");
    d.result = mail_decode(d.e, d.r);
    if (d.result < 0)
        return d;
    buf_init(&frame, CD_MIB(64));
    record_write(d.r, &frame);
    assert_false(frame.failed);
    assert_int_equal(record_read(frame.data, frame.len, &back), 0);
    assert_true(record_fits(back, d.e));
    assert_string_equal(back->text, d.r->text);
    assert_string_equal(back->subject, d.r->subject);
    record_free(&back);
    buf_free(&frame);
    return d;
}

static CD_UNUSED struct decoded decode(const char *raw)
{
    return decode_bytes(raw, strlen(raw), "anna@example.net");
}

static CD_UNUSED void done(struct decoded *d)
{
    record_free(&d->r);
    envelope_free(&d->e);
}

static CD_UNUSED int prepare(void **state CD_UNUSED)
{
    return mail_decode_prepare();
}
