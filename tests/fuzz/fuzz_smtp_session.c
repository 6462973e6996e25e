/* Fuzz target: the real SMTP or LMTP session on a socket pair, behind it a front that keeps what it is given and answers when the input says
 * so. The first byte sets options, the second cuts what is sent into pieces; the rest is sent as it is, except for the bytes of
 * enum op, which no UTF-8 text holds: those make something happen at that point. Everything the server answers is read and judged
 * by what a client may rely on. */
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "channels/mail/smtp.h"
#include "daemon/core/log.h"
#include "daemon/core/metrics.h"
#include "daemon/intake/handle.h"
#include "daemon/net/tls.h"
#include "tests/fuzz/config_folder.h"
#include "tests/unit/net/make_cert.h"

#define REPLY_LINE_MAX 512 /* RFC 5321 4.5.3.1.5 */
#define MAX_KEPT 256

enum op {
    OP_PAUSE = 0xf8,         /* let the server run and read its answers */
    OP_STORED = 0xf9,        /* the oldest message without an outcome is stored */
    OP_RETRY = 0xfa,         /* … is not, for now */
    OP_STORED_LATEST = 0xfb, /* the latest one is stored */
    OP_REJECTED = 0xfc,
    OP_WEATHER = 0xfd,    /* the next of enum weather */
    OP_DRAIN = 0xfe,      /* the server is told to end */
    OP_HALF_CLOSE = 0xff, /* the client has said all it had to say */
};
enum weather { FAIR, TIGHT, SHED, NOT_READY, NOT_TAKEN, WEATHERS };

struct kept {
    struct envelope *env; /* NULL once it has an outcome */
    char id[UUID_TEXT_SIZE];
    bool stored, answered;
};
static struct front {
    struct kept v[MAX_KEPT];
    size_t n;
    enum weather weather;
} front;

static struct event_base *base;
static const struct config *defaults;
static struct config cfg;
static struct channel_host host;
static struct smtp_server *srv;
static struct tls *tls;
static struct cfg_certificate certificate;
static bool talk; /* CD_FUZZ_TALK is set: answers are printed */

/* The client and what it has been told so far. */
static struct client {
    int fd;
    bool gone;           /* the server closed, or we did */
    struct buf heard;    /* not judged yet */
    size_t lines, dots;  /* sent: line ends, and what may be ends of data */
    uint8_t last[4];     /* bytes sent */
    size_t replies, allowed; /* allowed: besides one a line */
    char code[4];        /* of the reply that is being read */
    bool multi;          /* more lines of it must come */
    bool lmtp;
    unsigned rcpts;      /* accepted since MAIL */
    unsigned due;        /* answers to the message that 354 let begin, still to come */
    struct kept *told;   /* whose outcome the last of them told */
    bool over;           /* 221, 421 or 554 5.5.0: nothing may follow */
    bool secret;         /* STARTTLS was granted: what follows is not for us, and nothing said in the clear may have an effect */
} client;

/* ---- the front ---- */

static void check_envelope(const struct envelope *e)
{
    FUZZ_CHECK(e->sender && (!*e->sender || mail_address_valid(e->sender, strlen(e->sender), true)));
    FUZZ_CHECK(e->recipients.n > 0 && e->recipients.n <= cfg.mail_max_recipients && e->desks.n > 0);
    for (size_t i = 0; i < e->recipients.n; i++)
        FUZZ_CHECK(config_desk_by_address(&cfg, e->recipients.v[i]) && !fuzz_has_control(e->recipients.v[i]));
    FUZZ_CHECK(e->key && *e->key && e->channel == CH_MAIL && e->received_at_us > 0);
    FUZZ_CHECK(str_starts(buf_str(&e->raw), "Return-Path: <"));
    FUZZ_CHECK(e->raw.len <= cfg.mail_max_message_bytes + SMTP_TRACE_BYTES);
    FUZZ_CHECK(front.n < client.dots); /* one message an end of data */
    FUZZ_CHECK(!client.secret);
}

static int fake_submit(void *arg CD_UNUSED, struct envelope *e)
{
    check_envelope(e);
    if (front.weather == NOT_TAKEN || front.n == MAX_KEPT)
        return -1;
    struct kept *k = &front.v[front.n++];
    *k = (struct kept){.env = e};
    uuid_format(&e->id, k->id);
    gate_enter(envelope_bytes(e));
    return 0;
}

static bool fake_ready(void *arg CD_UNUSED, size_t bytes CD_UNUSED)
{
    return front.weather != NOT_READY;
}

static enum gate_mode fake_gate(void *arg CD_UNUSED)
{
    return front.weather == TIGHT ? GATE_TIGHT : front.weather == SHED ? GATE_SHED : GATE_NORMAL;
}

static struct kept *waiting(bool latest)
{
    for (size_t i = 0; i < front.n; i++) {
        struct kept *k = &front.v[latest ? front.n - 1 - i : i];
        if (k->env)
            return k;
    }
    return NULL;
}

static bool resolve(bool latest, enum ack_verdict verdict)
{
    struct kept *k = waiting(latest);
    if (!k)
        return false;
    struct envelope *e = k->env;
    struct ack_result r = {.verdict = verdict, .envelope_id = e->id, .reason = verdict == ACK_STORED ? NULL : "busy"};
    k->env = NULL;
    k->stored = verdict == ACK_STORED;
    gate_leave(envelope_bytes(e));
    ack_resolve(e->ack, &r);
    envelope_free(&e);
    return true;
}

/* ---- what the client is told ---- */

/* The outcome of a message is told once, in the order of the messages, and "taken" only of one that is stored. */
static void judge_taken(const char *text)
{
    const char *id = strstr(text, "id ");
    FUZZ_CHECK(id && strlen(id) >= 3 + UUID_TEXT_SIZE - 1);
    if (client.told) { /* the same for each recipient */
        FUZZ_CHECK(strncmp(client.told->id, id + 3, UUID_TEXT_SIZE - 1) == 0);
        return;
    }
    for (size_t i = front.n; i-- > 0;) {
        struct kept *k = &front.v[i];
        if (strncmp(k->id, id + 3, UUID_TEXT_SIZE - 1) != 0) {
            FUZZ_CHECK(!k->answered); /* a later one */
            continue;
        }
        FUZZ_CHECK(k->stored && !k->answered);
        k->answered = true;
        client.told = k;
        return;
    }
    FUZZ_CHECK(!"the id is of no message");
}

/* An answer to a message that 354 let begin: SMTP gives one, LMTP one for each RCPT that was accepted. */
static void judge_outcome(const char *text)
{
    FUZZ_CHECK(client.code[0] != '3');
    FUZZ_CHECK(!client.told || client.code[0] == '2');
    if (client.code[0] == '2')
        judge_taken(text);
    client.due--;
}

static void judge_other(const char *text)
{
    FUZZ_CHECK(!strstr(text, "Ok: id"));
    client.secret = str_eq(client.code, "220");
    client.rcpts = str_starts(text, "250 2.1.0") ? 0 : client.rcpts + str_starts(text, "250 2.1.5");
    if (!str_eq(client.code, "354"))
        return;
    FUZZ_CHECK(client.rcpts > 0);
    client.due = client.lmtp ? client.rcpts : 1;
    client.allowed += client.due - 1;
    client.told = NULL;
}

static void judge_reply(const char *text)
{
    bool greeting = client.replies++ == 0;
    /* 554 5.5.0: who talks out of turn is told so, asked or not, and cut off */
    client.over = str_eq(client.code, "221") || str_eq(client.code, "421") || str_starts(text, "554 5.5.0");
    client.allowed += greeting || client.over;
    if (greeting)
        FUZZ_CHECK(str_eq(client.code, "220") || client.over);
    else if (client.due && !client.over)
        judge_outcome(text);
    else if (!client.over)
        judge_other(text);
    FUZZ_CHECK(client.replies <= client.allowed + client.lines);
    /* RFC 2034: the class of the enhanced code is that of the code */
    FUZZ_CHECK(strlen(text) < 6 || text[5] != '.' || text[4] == text[0]);
}

static void judge_line(const char *line, size_t n)
{
    FUZZ_CHECK(!client.over);
    FUZZ_CHECK(n >= 4 && n + 2 <= REPLY_LINE_MAX && utf8_valid(line, n));
    char *text = cd_strndup(line, n);
    if (talk)
        fprintf(stderr, "S: %s\n", text);
    FUZZ_CHECK(strlen(text) == n && !fuzz_has_control(text));
    FUZZ_CHECK(text[0] >= '2' && text[0] <= '5' && strspn(text, "0123456789") == 3 && (text[3] == ' ' || text[3] == '-'));
    FUZZ_CHECK(!client.multi || strncmp(client.code, text, 3) == 0);
    memcpy(client.code, text, 3);
    client.multi = text[3] == '-';
    if (!client.multi)
        judge_reply(text);
    free(text);
}

static void judge(void)
{
    const char *lf;
    if (client.secret)
        buf_reset(&client.heard);
    while (client.heard.len && (lf = memchr(client.heard.data, '\n', client.heard.len)) != NULL) {
        const char *line = (const char *)client.heard.data;
        FUZZ_CHECK(lf > line && lf[-1] == '\r');
        judge_line(line, (size_t)(lf - line) - 1);
        buf_consume(&client.heard, (size_t)(lf - line) + 1);
        FUZZ_CHECK(!client.secret || client.heard.len == 0);
    }
}

static void turn(void)
{
    char chunk[8192];
    ssize_t r;
    for (int i = 0; i < 3; i++)
        event_base_loop(base, EVLOOP_NONBLOCK);
    while ((r = recv(client.fd, chunk, sizeof chunk, MSG_DONTWAIT)) > 0) {
        buf_append(&client.heard, chunk, (size_t)r);
        event_base_loop(base, EVLOOP_NONBLOCK);
    }
    client.gone = client.gone || r == 0 || (errno != EAGAIN && errno != EWOULDBLOCK);
    judge();
    FUZZ_CHECK(!client.gone || client.heard.len == 0); /* no half line */
}

/* ---- what the client does ---- */

static void note_sent(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        memmove(client.last, client.last + 1, 3);
        client.last[3] = p[i];
        client.lines += p[i] == '\n';
        client.dots += memcmp(client.last, "\n.\r\n", 4) == 0;
    }
}

static void say(const uint8_t *p, size_t n, struct fuzz_steps *steps)
{
    for (size_t at = 0, k; at < n && !client.gone; at += k) {
        k = fuzz_step(steps, n - at);
        note_sent(p + at, k);
        if (send(client.fd, p + at, k, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)k)
            client.gone = true;
        turn();
    }
}

static void act(enum op op)
{
    switch (op) {
    case OP_STORED:
    case OP_STORED_LATEST:
        resolve(op == OP_STORED_LATEST, ACK_STORED);
        break;
    case OP_RETRY:
        resolve(false, ACK_RETRY_LATER);
        break;
    case OP_REJECTED:
        resolve(false, ACK_REJECTED);
        break;
    case OP_WEATHER:
        front.weather = (front.weather + 1) % WEATHERS;
        break;
    case OP_DRAIN:
        smtp_server_drain(srv);
        break;
    case OP_HALF_CLOSE:
        shutdown(client.fd, SHUT_WR);
        break;
    case OP_PAUSE:
        break;
    }
    turn();
}

static void converse(struct fuzz_in *in, struct fuzz_steps *steps)
{
    while (in->n && !client.gone) {
        size_t k = 0;
        while (k < in->n && in->p[k] < OP_PAUSE)
            k++;
        say(in->p, k, steps);
        in->p += k;
        in->n -= k;
        if (in->n)
            act(fuzz_u8(in));
    }
    /* whatever still waits gets its outcome, and so may let more of the input pass */
    do
        turn();
    while (resolve(false, ACK_STORED));
    fuzz_good = front.n > 0;
}

/* ---- begin and end ---- */

static const char main_file[] =
    "hostname: mx.example.com\nmail: {from: care@example.com}\n"
    "desks:\n- {name: care, addresses: [care@example.com]}\n"
    "- {name: shop, addresses: [shop@example.com, laden@shop.example]}\n"
    "teams: [{name: general, mail: team@example.com}]\n"
    "policies: [policies/p.yaml]\ncalendars: [calendars/c.yaml]\ntemplates: templates\n";

/* What set_options() leaves as it is. */
static const struct config *defaults_load(void)
{
    struct faults f = {0};
    config_folder_make();
    config_put("c.yaml", main_file, strlen(main_file));
    char *path = cd_asprintf("%s/c.yaml", config_folder);
    struct config *c = config_load(path, &f);
    FUZZ_CHECK(c);
    strlist_add(&c->desks[0].addresses, "pfl\xc3\xa4ge@example.com");
    free(path);
    return c;
}

static void set_options(uint8_t mode)
{
    bool low = mode & 8;
    cfg = *defaults;
    cfg.intake_max_bytes = low ? 3000 : CD_MIB(64);
    cfg.intake_large_bytes = 1000;
    cfg.intake_tight_timeout_us = cfg.mail_tls_handshake_timeout_us = CD_SEC(1000);
    cfg.mail_command_timeout_us = cfg.mail_data_timeout_us = CD_SEC(1000);
    cfg.mail_max_message_bytes = low ? 400 : CD_MIB(1);
    cfg.mail_max_recipients = low ? 2 : 100;
    cfg.mail_max_errors = cfg.mail_max_junk_commands = low ? 3 : 100;
    cfg.mail_max_mails_per_session = low ? 2 : 0;
    cfg.mail_max_command_bytes = 512;
    cfg.mail_max_pipelined = low ? 1 : 4;
    cfg.mail_max_connections = 50;
    cfg.mail_reject_bare_lf = mode & 1;
    cfg.mail_reject_bare_cr = mode & 2;
    cfg.mail_reject_nul = mode & 4;
    cfg.certificates = &certificate;
    cfg.ncertificates = mode & 64 ? 1 : 0;
    cfg.mail_require_tls = mode & 128;
    host.tls = mode & 64 ? tls : NULL;
}

/* The files are read once and for all. */
static struct tls *tls_make(void)
{
    certs_begin();
    struct made m = cert_make("EC", "mx.example.com", NULL, -DAY_S, DAY_S);
    pem_put("a.pem", &m.cert, 1, m.key, NULL);
    made_free(&m);
    certificate = (struct cfg_certificate){.certificate = cert_path("a.pem"), .key = (char *)""};
    struct config c = {.certificates = &certificate, .ncertificates = 1, .tls_min_version = 0x0303, .tls_poll_us = CD_HOUR(10)};
    struct tls *t = tls_new(base, &c);
    certs_end();
    FUZZ_CHECK(tls_context(t));
    return t;
}

static void begin(bool trusted, bool lmtp)
{
    int fd[2];
    front = (struct front){0};
    client = (struct client){.lmtp = lmtp};
    buf_init(&client.heard, CD_MIB(16));
    gate_init(&(struct gate_limits){.max_items = SIZE_MAX, .max_bytes = cfg.intake_max_bytes, .large_bytes = SIZE_MAX});
    FUZZ_CHECK(smtp_server_new(&host, &srv) == 0);
    FUZZ_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd) == 0);
    client.fd = fd[1];
    smtp_session_new(srv, fd[0], &(struct smtp_client){.text = "192.0.2.7", .trusted = trusted, .lmtp = lmtp});
}

static void end(void)
{
    close(client.fd);
    do /* nobody is there any more to be told of the outcome */
        for (int i = 0; i < 3; i++)
            event_base_loop(base, EVLOOP_NONBLOCK);
    while (resolve(false, ACK_STORED));
    FUZZ_CHECK(srv->nsessions == 0 && smtp_server_idle(srv) && srv->reading_bytes == 0);
    smtp_server_free(&srv);
    FUZZ_CHECK(gate_fits(cfg.intake_max_bytes) && metrics_get(M_INTAKE_READING_BYTES) == 0); /* empty again */
    buf_free(&client.heard);
}

int LLVMFuzzerInitialize(int *argc CD_UNUSED, char ***argv CD_UNUSED)
{
    log_set_level(LOG_L_ERROR - 1);
    talk = getenv("CD_FUZZ_TALK") != NULL;
    base = event_base_new();
    host = (struct channel_host){
        .base = base, .cfg = &cfg, .submit = fake_submit, .ready = fake_ready, .gate = fake_gate};
    tls = tls_make();
    defaults = defaults_load();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct fuzz_in in = {data, n};
    uint8_t mode = fuzz_u8(&in);
    struct fuzz_steps steps = {fuzz_u8(&in)};
    set_options(mode);
    begin(mode & 16, mode & 32);
    turn();
    converse(&in, &steps);
    end();
    return 0;
}
