/* Fuzz target: the body of a complaint by HTTP, as the front looks at it and as the worker reads it; and the head of a request. Input:
 * one byte of options (1: a form, 2: the head of a request instead), for a form one byte that is the length of its boundary and the
 * boundary, then the body. */
#include "tests/fuzz/record_check.h"

#include "channels/json_read.h"
#include "channels/submit.h"
#include "channels/web/fence.h"
#include "channels/web/form.h"
#include "channels/web/intake.h"
#include "channels/web/refusal.h"

#define MAX_JSON CD_KIB(256)
#define MAX_FILES 50
#define JUDGED_JSON CD_KIB(16) /* longer fields than the front's check allows are cut off by no one here */

static struct config cfg;
static struct cfg_desk desk = {.name = (char *)"care", .phone_country = (char *)"86"};

int LLVMFuzzerInitialize(int *argc CD_UNUSED, char ***argv CD_UNUSED)
{
    json_object_seed(1); /* the library takes the first seed only: the same tables in each run */
    cfg.desks = &desk;
    cfg.ndesks = 1;
    return 0;
}

/* Parts lie in the body, one behind the other, with a delimiter between them. */
static void check_form(const char *p, size_t n, const char *boundary)
{
    struct form f;
    struct form_part part;
    struct form_head h;
    const char *last = p;

    if (!form_init(&f, p, n, boundary)) {
        FUZZ_CHECK(f.fault && !form_next(&f, &part));
        return;
    }
    while (form_next(&f, &part)) {
        FUZZ_CHECK(part.head >= last && part.head + part.nhead <= part.body && part.body + part.nbody <= p + n);
        FUZZ_CHECK(!memmem(part.body, part.nbody, f.delimiter, f.ndelimiter) && part.nhead <= FORM_MAX_HEAD + 4);
        FUZZ_CHECK(memcmp(part.body + part.nbody, f.delimiter, f.ndelimiter) == 0);
        last = part.body + part.nbody;
        if (form_head_read(&part, &h) < 0)
            continue;
        FUZZ_CHECK(h.name);
        fuzz_check_text(h.name);
        fuzz_check_text(h.filename);
        FUZZ_CHECK(!h.type || (strchr(h.type, '/') && !fuzz_has_control(h.type)));
        form_head_free(&h);
    }
    FUZZ_CHECK(f.fault || !f.next);
}

/* The same form with another boundary has the same digest. */
static void check_digest(const json_t *complaint, const char *p, size_t n, const char *boundary, const uint8_t digest[SHA256_SIZE])
{
    static const char other[] = "another-boundary-of-another-length";
    uint8_t again[SHA256_SIZE];
    struct form f;
    struct form_part part;
    struct buf b;

    if (!boundary || memmem(p, n, other, sizeof other - 1))
        return;
    buf_init(&b, 2 * n + CD_KIB(64) + n * sizeof other);
    FUZZ_CHECK(form_init(&f, p, n, boundary));
    while (form_next(&f, &part)) {
        buf_printf(&b, "--%s\r\n", other);
        buf_append(&b, part.head, part.nhead);
        buf_append_str(&b, "\r\n");
        buf_append(&b, part.body, part.nbody);
        buf_append_str(&b, "\r\n");
    }
    buf_printf(&b, "--%s--", other);
    FUZZ_CHECK(!b.failed && !f.fault);
    intake_body_digest(complaint, b.data, b.len, other, again);
    FUZZ_CHECK(memcmp(again, digest, SHA256_SIZE) == 0);
    buf_free(&b);
}

static void check_decoded(const char *p, size_t n, bool accepted, bool judged)
{
    struct envelope *e = envelope_new(CH_WEB, n + 1);
    struct record *r = record_new();

    buf_append(&e->raw, p, n);
    strlist_add(&e->desks, "care");
    int rc = web_decode(e, r);
    FUZZ_CHECK(!accepted || rc == 0);
    if (accepted && judged)
        check_record(r, e);
    if (rc == 0) {
        FUZZ_CHECK(record_fits(r, e) && r->text);
        for (size_t i = 0; i < r->nattachments; i++)
            FUZZ_CHECK(r->attachments[i].size_bytes == r->attachments[i].length);
    }
    record_free(&r);
    envelope_free(&e);
}

static void check_body(const char *p, size_t n, const char *boundary)
{
    struct intake_body b;
    json_t *complaint = NULL;
    char message[JSON_READ_MESSAGE] = "";
    bool accepted = false;

    if (boundary)
        check_form(p, n, boundary);
    intake_body_read(p, n, boundary, MAX_JSON, MAX_FILES, &b);
    FUZZ_CHECK(b.problem || (b.json >= p && b.json + b.njson <= p + n));
    FUZZ_CHECK(!b.problem || (b.detail && *b.detail));
    if (!b.problem && !memchr(b.json, '\0', b.njson) && utf8_valid(b.json, b.njson) &&
        json_read_object(b.json, b.njson, &complaint, message) == 0) {
        struct submit_check k = {.cfg = &cfg, .desk = &desk, .keyless = true};
        uint8_t digest[SHA256_SIZE];
        accepted = submit_check(&k, complaint) == 0;
        FUZZ_CHECK(accepted || (k.message[0] && utf8_valid(k.field, strlen(k.field))));
        free(k.phone);
        intake_body_digest(complaint, p, n, boundary, digest);
        check_digest(complaint, p, n, boundary, digest);
        json_decref(complaint);
    } else {
        fuzz_check_text(message);
        CD_CLEANUP_FREE char *text = api_problem_text(b.problem ? b.problem : API_BAD_JSON, b.problem ? b.detail : message, NULL);
        FUZZ_CHECK(strlen(text) > 2);
    }
    fuzz_good |= accepted;
    check_decoded(p, n, accepted, b.njson <= JUDGED_JSON);
}

/* What the fence lets through and the head's reader takes has one meaning. */
static void check_head(const char *p, size_t n)
{
    struct fence f = {0};
    struct web_head h;

    fence_feed(&f, p, n);
    if (f.state != FENCE_DONE || f.fault)
        return;
    struct web_verdict v = web_head_read(p, f.bytes, &h);
    if (!v.problem) {
        FUZZ_CHECK(h.path && h.path[0] == '/' && !strpbrk(h.path, " ?\r\n"));
        FUZZ_CHECK(h.length <= INT64_MAX && h.method < WEB_METHOD_COUNT);
        FUZZ_CHECK(!h.key || !fuzz_has_control(h.key));
        fuzz_good = true;
    } else {
        (void)web_head_chunk_sound(p + f.bytes, n - f.bytes);
        CD_CLEANUP_FREE char *text = refusal_text(&v, &h);
        FUZZ_CHECK(str_starts(text, "HTTP/1.1 4") || str_starts(text, "HTTP/1.1 501 "));
    }
    web_head_free(&h);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct fuzz_in in = {data, n};
    uint8_t options = fuzz_u8(&in);
    CD_CLEANUP_FREE char *boundary = NULL;

    if (options & 1) {
        size_t want = fuzz_u8(&in) % (FORM_MAX_BOUNDARY + 1);
        want = CD_MIN(want, in.n);
        boundary = cd_strndup((const char *)in.p, want);
        in.p += want;
        in.n -= want;
        if (!form_boundary_valid(boundary))
            return 0;
    }
    CD_CLEANUP_FREE char *copy = cd_alloc(CD_MAX(in.n, (size_t)1)); /* exact, so that a byte too far is noticed */
    if (in.n)
        memcpy(copy, in.p, in.n);
    if (options & 2)
        check_head(copy, in.n);
    else
        check_body(copy, in.n, boundary);
    return 0;
}
