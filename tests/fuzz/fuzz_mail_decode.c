/* Fuzz target: a mail becomes a record (channels/mail/decode.h), as in a triage worker. Input: the mail. Also what the front does with
 * the same bytes before: key and digest. */
#include "tests/fuzz/record_check.h"

#include "channels/mail/decode.h"
#include "daemon/intake/keys.h"

int LLVMFuzzerInitialize(int *argc CD_UNUSED, char ***argv CD_UNUSED)
{
    FUZZ_CHECK(mail_decode_prepare() == 0);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct envelope *e = envelope_new(CH_MAIL, n + 1);
    struct record *r = record_new();
    FUZZ_CHECK(!n || buf_append(&e->raw, data, n) == 0);
    e->sender = cd_strdup("anna@example.net");
    strlist_add(&e->recipients, "care@example.com");
    keys_of_mail(e->raw.data, e->raw.len, &e->key, e->digest);
    fuzz_check_text(e->key);
    FUZZ_CHECK(e->key && *e->key && !fuzz_has_control(e->key));
    int rc = mail_decode(e, r);
    FUZZ_CHECK(rc == 0 || n == 0);
    if (rc == 0)
        check_record(r, e);
    fuzz_good = rc == 0 && !(r->flags & REC_DEGRADED);
    record_free(&r);
    envelope_free(&e);
    return 0;
}
