/* Fuzz target: what the front reads from a worker, which may have been taken over. Input: the frame of a record. What is accepted is
 * clean, and stays as it is when written and read again. */
#include "tests/fuzz/record_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct record *r = NULL, *again = NULL;
    struct envelope *e = envelope_new(CH_MAIL, 64);
    if (record_read(data, n, &r) == 0) {
        fuzz_good = true;
        check_record_texts(r);
        FUZZ_CHECK(buf_append(&e->raw, "Subject: x\r\n\r\ny\r\n", 17) == 0);
        if (record_fits(r, e))
            for (size_t i = 0; i < r->nattachments; i++)
                FUZZ_CHECK(r->attachments[i].offset + r->attachments[i].length <= e->raw.len);
        struct buf first = record_frame(r);
        FUZZ_CHECK(record_read(first.data, first.len, &again) == 0);
        struct buf second = record_frame(again);
        FUZZ_CHECK(first.len == second.len && memcmp(first.data, second.data, first.len) == 0);
        buf_free(&first);
        buf_free(&second);
    }
    record_free(&again);
    record_free(&r);
    envelope_free(&e);
    return 0;
}
