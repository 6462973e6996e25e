/* make_frames DIR: writes the seeds of the targets `record` and `envelope` below DIR, with the writers themselves. To be run when
 * their format has changed: replay.c then finds fault with the seeds named good-*. */
#include "tests/fuzz/fuzz.h"

#include "daemon/intake/record.h"

static void save(const char *dir, const char *name, struct buf *b)
{
    char *path = cd_asprintf("%s/%s", dir, name);
    FILE *f = fopen(path, "we");
    if (!f || b->failed || fwrite(b->data, 1, b->len, f) != b->len || fclose(f) != 0) {
        fprintf(stderr, "make_frames: cannot write %s\n", path);
        exit(1);
    }
    free(path);
    buf_free(b);
}

static void save_record(const char *dir, const char *name, struct record *r)
{
    struct buf b;
    buf_init(&b, CD_MIB(1));
    record_write(r, &b);
    save(dir, name, &b);
    record_free(&r);
}

static struct record *full_record(void)
{
    struct record *r = record_new();
    free(r->subject);
    free(r->text);
    r->flags = REC_DEGRADED | REC_NO_AUTO_ANSWER;
    r->cls = MC_AUTO_REPLY;
    r->degraded_reason = cd_strdup("header over budget");
    r->no_answer_reason = cd_strdup("Auto-Submitted");
    r->remedy_sought = cd_strdup("My money\nback");
    r->representative = cd_strdup("{\"name\":\"Li\"}");
    r->name = cd_strdup("Zo\xc3\xab \xe6\x9d\x8e");
    r->email = cd_strdup("zoe@example.net");
    r->phone = cd_strdup("+8613800138000");
    r->reply_to = cd_strdup("answers@example.net");
    r->subject = cd_strdup("Refund for C-0000-0000-0000");
    r->text = cd_strdup("The kettle\nleaks.\n");
    r->text_new = cd_strdup("The kettle");
    r->text_quoted = cd_strdup("leaks.\n");
    r->message_id = cd_strdup("m1@example.net");
    r->in_reply_to = cd_strdup("m0@example.net");
    strlist_add(&r->references, "m-1@example.net");
    strlist_add(&r->references, "m0@example.net");
    r->sent_at_us = CD_SEC(1700000000);
    ref_new(r->refs[r->nrefs++]);
    struct attachment *a = record_add_attachment(r);
    free(a->filename);
    a->filename = cd_strdup("kettle.jpg");
    a->content_type = cd_strdup("image/jpeg");
    a->encoding = cd_strdup("base64");
    a->offset = 4;
    a->length = 8;
    a->size_bytes = 6;
    a->is_inline = true;
    a->kind = AT_INLINE;
    a->magic_type = cd_strdup("image/png");
    a->content_id = cd_strdup("c1@example.net");
    a->inner = cd_strdup("tnef:1");
    record_add_hit(r, 3, 1, "leaks", 5);
    r->said_channel = cd_strdup("phone");
    r->category = cd_strdup("defect");
    r->priority = cd_strdup("high");
    r->external_id = cd_strdup("K-17");
    r->charset_note = cd_strdup("gb2312 read as gb18030");
    r->security = cd_strdup("pgp-signed");
    record_add_signal(r, "auto-submitted");
    record_add_signal(r, "null-sender");
    r->hops = 2;
    struct bounce *b = record_add_bounce(r);
    b->recipient = cd_strdup("gone@example.net");
    b->status = cd_strdup("5.1.1");
    b->action = cd_strdup("failed");
    b->diagnostic = cd_strdup("550 no such user");
    b->reason = cd_strdup("user-unknown");
    r->bounced_id = cd_strdup("m9@example.com");
    r->bounced_sender = cd_strdup("care@example.com");
    struct auth_result *auth = record_add_auth(r);
    auth->server = cd_strdup("mx.example.com");
    auth->spf = AUTH_PASS;
    auth->dkim = AUTH_FAIL;
    auth->dmarc = AUTH_OTHER;
    return r;
}

static void save_envelope(const char *dir, const char *name, struct envelope *e)
{
    struct buf b;
    buf_init(&b, CD_MIB(1));
    envelope_write(e, &b);
    save(dir, name, &b);
    envelope_free(&e);
}

static struct envelope *full_envelope(void)
{
    struct envelope *e = envelope_new(CH_MAIL, 1000);
    memset(&e->id, 7, sizeof e->id);
    e->received_at_us = CD_SEC(1700000000);
    e->client = cd_strdup("192.0.2.7");
    e->sender = cd_strdup("zoe@example.net");
    strlist_add(&e->recipients, "care@example.com");
    strlist_add(&e->recipients, "shop@example.com");
    strlist_add(&e->desks, "care");
    strlist_add(&e->desks, "shop");
    e->key = cd_strdup("m1@example.net");
    buf_append_str(&e->raw, "From: zoe@example.net\r\nSubject: Kettle\r\n\r\nIt leaks.\r\n");
    e->from_pending = true;
    e->worker_deaths = 1;
    return e;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s tests/fuzz/seeds\n", argv[0]);
        return 2;
    }
    char *records = cd_asprintf("%s/record", argv[1]), *envelopes = cd_asprintf("%s/envelope", argv[1]);
    struct envelope *bare = envelope_new(CH_LINE, 100);
    memset(&bare->id, 9, sizeof bare->id);
    save_record(records, "good-empty", record_new());
    save_record(records, "good-full", full_record());
    save_envelope(envelopes, "good-bare", bare);
    save_envelope(envelopes, "good-full", full_envelope());
    free(records);
    free(envelopes);
    return 0;
}
