/* Fuzz target: an envelope read from bytes, as a worker reads it from the front, or the front from the table of pending ones. What is
 * accepted is written as the same bytes again. */
#include "tests/fuzz/fuzz.h"

#include "daemon/intake/envelope.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct envelope *e = NULL;
    if (envelope_read(data, n, &e) < 0) {
        FUZZ_CHECK(!e);
        return 0;
    }
    fuzz_good = true;
    FUZZ_CHECK(e->channel < CH_COUNT && e->raw.len <= n && !e->raw.failed);
    FUZZ_CHECK(strlen(buf_str(&e->raw)) <= e->raw.len);
    FUZZ_CHECK(envelope_bytes(e) >= e->raw.len);
    struct buf b, head;
    buf_init(&b, n + 1024);
    buf_init(&head, n + 1024);
    envelope_write(e, &b);
    envelope_write_head(e, &head);
    FUZZ_CHECK(!b.failed && head.len + e->raw.len == b.len && memcmp(head.data, b.data, head.len) == 0);
    struct envelope *again = NULL;
    struct buf second;
    buf_init(&second, n + 1024);
    FUZZ_CHECK(envelope_read(b.data, b.len, &again) == 0);
    envelope_write(again, &second);
    FUZZ_CHECK(b.len == second.len && memcmp(b.data, second.data, b.len) == 0);
    buf_free(&second);
    buf_free(&head);
    buf_free(&b);
    envelope_free(&again);
    envelope_free(&e);
    return 0;
}
