#pragma once
/* What must hold of every record that a decoder makes: it goes through its frame unchanged in what the front reads, and it fits its
 * envelope. For targets that end in a decoder. */
#include "tests/fuzz/fuzz.h"

#include "daemon/intake/record.h"

CD_UNUSED static struct buf record_frame(const struct record *r)
{
    struct buf b;
    buf_init(&b, CD_MIB(64));
    record_write(r, &b);
    FUZZ_CHECK(!b.failed);
    return b;
}

CD_UNUSED static void check_record_texts(const struct record *r)
{
    const char *const lines[] = {r->degraded_reason, r->no_answer_reason, r->name,         r->email,        r->phone,
                                 r->reply_to,        r->subject,          r->language,     r->message_id,   r->in_reply_to,
                                 r->said_channel,    r->category,         r->priority,     r->external_id,   r->representative};
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        fuzz_check_text(lines[i]);
        FUZZ_CHECK(!lines[i] || !fuzz_has_control(lines[i]));
    }
    fuzz_check_text(r->text);
    fuzz_check_text(r->text_new);
    fuzz_check_text(r->text_quoted);
    fuzz_check_text(r->remedy_sought);
    FUZZ_CHECK(r->subject && r->text && r->language && r->cls < MC_COUNT);
    FUZZ_CHECK(r->references.n <= RECORD_MAX_THREAD_IDS && r->nrefs <= RECORD_MAX_REFS &&
               r->nattachments <= RECORD_MAX_ATTACHMENTS && r->nhits <= RECORD_MAX_HITS);
    for (size_t i = 0; i < r->nattachments; i++) {
        const char *name = r->attachments[i].filename;
        fuzz_check_text(name);
        FUZZ_CHECK(name && !fuzz_has_control(name) && !strpbrk(name, "/\\"));
    }
}

/* As the front takes it. */
CD_UNUSED static void check_record(const struct record *r, const struct envelope *e)
{
    struct record *back = NULL;
    struct buf frame = record_frame(r);
    FUZZ_CHECK(record_read(frame.data, frame.len, &back) == 0);
    FUZZ_CHECK(record_fits(back, e));
    check_record_texts(back);
    FUZZ_CHECK(str_eq(back->text, r->text) && str_eq(back->email, r->email) && str_eq(back->phone, r->phone));
    FUZZ_CHECK(back->nattachments == r->nattachments && back->nrefs == r->nrefs);
    record_free(&back);
    buf_free(&frame);
}
