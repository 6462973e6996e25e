/* Reliability test 26, smuggling (CVE-2023-51764 and its kin): whatever a sender's gateway may have taken for the end of the data, there is one message, its
 * content is the whole text, and what was odd about it is noted. Each vector, cut in two at every byte and sent byte by byte, through
 * the session itself; in the clear, a session each, and in TLS records, one after the other in one session. */
#include "tests/unit/mail_smtp/smtp_tls_fixture.h"

#define HEAD "Subject: one\r\n\r\nbefore"
#define HIDDEN "MAIL FROM:<evil@x.example>\r\nRCPT TO:<care@example.com>\r\nDATA\r\nSubject: two\r\n\r\nhidden\r\n.\r\n"

static const struct vector {
    const char *name, *bytes;
    size_t n;
    unsigned notes;
} vectors[] = {
#define V(name, bytes, notes) {name, bytes, sizeof bytes - 1, notes}
    V("LF.LF", "\n.\n", NOTE_BARE_LF),
    V("LF.CRLF", "\n.\r\n", NOTE_BARE_LF),
    V("CRLF.LF", "\r\n.\n", NOTE_BARE_LF),
    V("CR.CR", "\r.\r", NOTE_BARE_CR),
    V("CR.CRLF", "\r.\r\n", NOTE_BARE_CR),
    V("CRLF.CR", "\r\n.\r", NOTE_BARE_CR),
    V("LF.CR", "\n.\r", NOTE_BARE_LF | NOTE_BARE_CR),
    V("CR.LF", "\r.\n", NOTE_BARE_LF | NOTE_BARE_CR),
    V("CRCRLF.CRLF", "\r\r\n..\r\n", NOTE_BARE_CR),
    V("CRLF.CRCRLF", "\r\n.\r\r\n", NOTE_BARE_CR),
    V("LFCR.LFCR", "\n\r.\n\r", NOTE_BARE_LF | NOTE_BARE_CR),
    V("CRLF.NULCRLF", "\r\n.\0\r\n", NOTE_NUL),
    V("CRLFNUL.CRLF", "\r\n\0.\r\n", NOTE_NUL),
    V("CRNULLF.CRLF", "\r\0\n.\r\n", NOTE_NUL | NOTE_BARE_CR | NOTE_BARE_LF),
    V("CRLF..CRLF", "\r\n..\r\n", 0), /* transparency, not smuggling */
#undef V
};

static uint8_t sent[512], wanted[1024];
static size_t nsent, nwanted;

static void put(const void *p, size_t n)
{
    memcpy(sent + nsent, p, n);
    nsent += n;
}

/* The text of a vector, and by the letter of RFC 5321 what should come of it: written the simple way, byte by byte. */
static void compose(const struct vector *v)
{
    nsent = nwanted = 0;
    put(HEAD, strlen(HEAD));
    put(v->bytes, v->n);
    put(HIDDEN, strlen(HIDDEN));
    bool begins = true; /* a line, after CR LF */
    for (size_t i = 0; i < nsent - 3; i++) { /* without the end, ". CR LF" */
        if (begins && sent[i] == '.') {
            begins = false;
            continue;
        }
        bool crlf = sent[i] == '\r' && sent[i + 1] == '\n';
        begins = crlf;
        if (sent[i] == '\r' || sent[i] == '\n') {
            wanted[nwanted++] = '\r';
            wanted[nwanted++] = '\n';
            i += crlf;
        } else {
            wanted[nwanted++] = sent[i];
        }
    }
}

static struct peer connected(bool tls)
{
    struct peer p = {-1, NULL};
    if (!tls) {
        p.fd = greeted(false);
        return p;
    }
    p = starttls();
    peer_expect(&p, "EHLO c.example\r\n", "250-");
    return p;
}

static void part(struct peer *p, const void *bytes, size_t n)
{
    if (!p->ssl) {
        say_bytes(p->fd, bytes, n);
        return;
    }
    assert_int_equal(SSL_write(p->ssl, bytes, (int)n), (int)n);
    turn();
}

static const char *answer(struct peer *p)
{
    return p->ssl ? peer_hear(p) : hear(p->fd);
}

/* One message and no more: its content, its notes, one answer, and the session ready for the next. */
static void taken(struct peer *p, const struct vector *v)
{
    if (front.n != 1)
        fail_msg("%s: %zu messages", v->name, front.n);
    const struct envelope *e = front.got[0];
    const uint8_t *text = memmem(e->raw.data, e->raw.len, "Subject: one", 12);
    assert_non_null(text);
    if (e->raw.len - (size_t)(text - e->raw.data) != nwanted || memcmp(text, wanted, nwanted) != 0)
        fail_msg("%s: other content", v->name);
    assert_int_equal(e->notes, v->notes);
    assert_int_equal(e->tls != NULL, p->ssl != NULL);
    assert_string_equal(answer(p), "");
    resolve(0, ACK_STORED);
    assert_true(str_starts(answer(p), "250 2.0.0 Ok: id ") && strchr(heard, '\n')[1] == '\0');
    assert_int_equal(last_session()->state, SMTP_READY);
    envelope_free(&front.got[0]);
    front.n = 0;
}

static void refused(struct peer *p, const struct vector *v, const char *refusal)
{
    if (front.n)
        fail_msg("%s: taken", v->name);
    if (!str_starts(answer(p), refusal) || strchr(heard, '\n')[1])
        fail_msg("%s: %s", v->name, heard);
    assert_int_equal(last_session()->state, SMTP_READY);
}

static void every_split(const struct vector *v, const char *refusal, bool tls)
{
    struct peer p = {-1, NULL};
    compose(v);
    for (size_t cut = 0; cut <= nsent; cut++) { /* nsent: byte by byte */
        if (p.fd < 0)
            p = connected(tls);
        part(&p, TO_RCPT "DATA\r\n", strlen(TO_RCPT "DATA\r\n"));
        assert_non_null(strstr(answer(&p), "\r\n354 "));
        if (cut == nsent) {
            for (size_t i = 0; i < nsent; i++)
                part(&p, sent + i, 1);
        } else {
            if (cut)
                part(&p, sent, cut);
            part(&p, sent + cut, nsent - cut);
        }
        if (refusal)
            refused(&p, v, refusal);
        else
            taken(&p, v);
        if (!tls || cut == nsent) {
            peer_close(&p);
            assert_int_equal(srv->nsessions, 0);
            p.fd = -1;
        }
    }
}

static void all_normalized(bool tls)
{
    start();
    for (size_t i = 0; i < ARRAY_LEN(vectors); i++)
        every_split(&vectors[i], NULL, tls);
}

/* The defaults: a bare CR is refused, a bare LF normalized, NUL kept. */
static void all_by_default(bool tls)
{
    cfg.mail_reject_bare_cr = true;
    cfg.mail_max_errors = 100000;
    cfg.mail_errors_before_delay = 100000;
    start();
    for (size_t i = 0; i < ARRAY_LEN(vectors); i++)
        every_split(&vectors[i], vectors[i].notes & NOTE_BARE_CR ? "550 5.5.2 Message contains a bare CR\r\n" : NULL, tls);
}

static void all_refused(bool tls)
{
    cfg.mail_reject_bare_cr = cfg.mail_reject_bare_lf = cfg.mail_reject_nul = true;
    cfg.mail_max_errors = 100000;
    cfg.mail_errors_before_delay = 100000;
    start();
    for (size_t i = 0; i < ARRAY_LEN(vectors); i++)
        every_split(&vectors[i], !vectors[i].notes ? NULL : vectors[i].notes & NOTE_NUL ? "550 5.6.0 " : "550 5.5.2 ", tls);
}

static void test_26_smuggling_normalized(void **state)
{
    (void)state;
    all_normalized(false);
}

static void test_26_smuggling_normalized_in_tls(void **state)
{
    (void)state;
    all_normalized(true);
}

static void test_26_smuggling_by_default(void **state)
{
    (void)state;
    all_by_default(false);
}

static void test_26_smuggling_by_default_in_tls(void **state)
{
    (void)state;
    all_by_default(true);
}

static void test_26_smuggling_refused(void **state)
{
    (void)state;
    all_refused(false);
}

static void test_26_smuggling_refused_in_tls(void **state)
{
    (void)state;
    all_refused(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TLS_TEST(test_26_smuggling_normalized),        TLS_TEST(test_26_smuggling_by_default),
        TLS_TEST(test_26_smuggling_refused),           TLS_TEST(test_26_smuggling_normalized_in_tls),
        TLS_TEST(test_26_smuggling_by_default_in_tls), TLS_TEST(test_26_smuggling_refused_in_tls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
