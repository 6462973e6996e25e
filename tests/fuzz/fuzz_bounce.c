/* Fuzz target: delivery reports. The input is read three times, as fields of a report, as a report in words and as the header of a
 * returned mail; all of it goes into one record, as with a mail that has the three parts. */
#include "tests/fuzz/fuzz.h"

#include "channels/mail/bounce.h"
#include "daemon/intake/handle.h"

#define FINISHED 2

static void check_line(const char *s, size_t most)
{
    if (!s)
        return;
    FUZZ_CHECK(strlen(s) <= most && utf8_valid(s, strlen(s)));
    for (const char *p = s; *p; p++)
        FUZZ_CHECK((unsigned char)*p >= ' ' && *p != 127);
}

static void check_address(const char *s)
{
    if (s)
        FUZZ_CHECK(mail_address_valid(s, strlen(s), true));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct record *r = record_new(), *back = NULL;
    struct strlist ours = {0};
    struct buf frame;
    size_t copy, clean;
    char *text = utf8_clean((const char *)data, n, NULL), *to;
    clean = strlen(text);
    strlist_add(&ours, "care@example.com");
    bounce_fields(r, (const char *)data, n); /* raw: parts are read as they came */
    bounce_text(r, text, clean, &ours, &copy);
    FUZZ_CHECK(copy <= clean);
    bounce_returned(r, (const char *)data, n, &to);
    bounce_returned(r, text + copy, clean - copy, NULL);
    check_address(to);
    for (size_t i = 0; i < r->nbounces; i++) {
        struct bounce *b = &r->bounces[i];
        check_address(b->recipient);
        check_line(b->diagnostic, BOUNCE_MAX_DIAGNOSTIC);
        if (i >= FINISHED) /* each costs a search for hundreds of phrases */
            continue;
        bounce_finish(b, text);
        FUZZ_CHECK(b->status && strspn(b->status, "0123456789.") == strlen(b->status) && strchr("245", b->status[0]));
        FUZZ_CHECK(b->action && *b->action && b->reason && *b->reason);
    }
    check_address(r->bounced_sender);
    check_line(r->bounced_id, 255);
    free(r->text);
    r->text = cd_strdup("");
    free(r->subject);
    r->subject = cd_strdup("");
    buf_init(&frame, CD_MIB(4));
    record_write(r, &frame);
    FUZZ_CHECK(!frame.failed && record_read(frame.data, frame.len, &back) == 0);
    fuzz_good = r->nbounces > 0 && r->bounces[0].recipient && r->bounced_id;
    record_free(&back);
    record_free(&r);
    buf_free(&frame);
    strlist_free(&ours);
    free(text);
    free(to);
    return 0;
}
