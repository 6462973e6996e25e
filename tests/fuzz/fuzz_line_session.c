/* Fuzz target: the real session of the line protocol on a socket pair, behind it a front that keeps what it is given and answers when
 * the input says so. The first byte sets options, the second cuts what is sent into pieces; the rest is sent as it is, except for the bytes of
 * enum op, which no UTF-8 text holds: those make something happen at that point. Every answer is judged by what a client may rely on. */
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "channels/line/line_session.h"
#include "daemon/core/log.h"
#include "daemon/core/metrics.h"
#include "daemon/net/tls.h"
#include "tests/unit/net/make_cert.h"

#define MAX_KEPT 64

enum op {
    OP_PAUSE = 0xf8,      /* let the server run and read its answers */
    OP_STORED = 0xf9,     /* the oldest SUBMIT without an outcome is stored */
    OP_RETRY = 0xfa,      /* … is not, for now */
    OP_REPLY = 0xfb,      /* the latest request is answered, with two rows */
    OP_EVENT = 0xfc,      /* the feed has an event for each subscriber */
    OP_CAUGHT_UP = 0xfd,  /* … and no more */
    OP_DRAIN = 0xfe,      /* the server is told to end */
    OP_HALF_CLOSE = 0xff, /* the client has said all it had to say */
};

static struct front {
    struct envelope *envelopes[MAX_KEPT];
    struct ack requests[MAX_KEPT];
    struct feed_reader *reader; /* one session has one subscription at most */
    size_t nenvelopes, nrequests, first, events;
} front;

static struct event_base *base;
static struct config cfg;
static struct channel_host host;
static struct line_server srv;
static struct tls *tls;
static struct cfg_certificate certificate;

static struct client {
    int fd;
    bool gone, secret, half_closed, drained;
    struct buf heard;
    size_t lines, answers, refs; /* line ends sent; OK and ERR heard; the latest reference heard */
} client;

/* ---- the front ---- */

static int fake_submit(void *arg CD_UNUSED, struct envelope *e)
{
    FUZZ_CHECK(e->channel == CH_LINE && e->key && *e->key && e->client && e->desks.n == 1 && e->raw.len > 0 && !client.secret);
    if (front.nenvelopes == MAX_KEPT)
        return -1;
    front.envelopes[front.nenvelopes++] = e;
    return 0;
}

static bool fake_ready(void *arg CD_UNUSED, size_t bytes CD_UNUSED)
{
    return true;
}

static enum gate_mode fake_gate(void *arg CD_UNUSED)
{
    return GATE_NORMAL;
}

static void reply(struct ack slot)
{
    struct reply r = {.ok = true, .rows = json_pack("[{s:i},{s:i}]", "n", 1, "n", 2), .body = json_pack("{s:i}", "rows", 2)};
    line_on_reply(&srv, slot, &r);
    json_decref(r.rows);
    json_decref(r.body);
}

static void fake_request(void *arg CD_UNUSED, const struct request *rq)
{
    FUZZ_CHECK(rq->role > ROLE_NONE && rq->actor && json_is_object(rq->args) && rq->desks && !client.secret);
    FUZZ_CHECK(front.nrequests < MAX_KEPT); /* line.max_in_flight is less */
    front.requests[front.nrequests++] = rq->slot;
}

static void fake_feed_add(void *arg CD_UNUSED, struct feed_reader *r)
{
    FUZZ_CHECK(!front.reader && !r->paused && !client.secret);
    front.reader = r;
}

static void fake_feed_resume(void *arg CD_UNUSED, struct feed_reader *r)
{
    FUZZ_CHECK(front.reader == r && r->paused);
    r->paused = false;
}

static void fake_feed_remove(void *arg CD_UNUSED, struct feed_reader *r)
{
    FUZZ_CHECK(front.reader == r);
    front.reader = NULL;
}

static bool resolve(enum ack_verdict verdict)
{
    if (front.first == front.nenvelopes)
        return false;
    struct envelope *e = front.envelopes[front.first++];
    struct ack_result r = {.verdict = verdict, .outcome = OUT_NEW, .reason = verdict == ACK_STORED ? NULL : "busy"};
    snprintf(r.ref, sizeof r.ref, "%zu", front.first);
    line_on_ack(&srv, e->ack, &r);
    envelope_free(&e);
    return true;
}

static bool answer_request(void)
{
    if (!front.nrequests)
        return false;
    reply(front.requests[--front.nrequests]);
    return true;
}

static void give_event(void)
{
    struct feed_reader *r = front.reader;
    char row[40];
    if (!r || r->paused)
        return;
    front.events++;
    const struct feed_event e = {.at = {.xid = front.events}, .kind = "received", .desks = front.events % 2 ? "care" : "care\nshop", .row = row,
                                 .nrow = (size_t)snprintf(row, sizeof row, "{\"event\":%zu}", front.events)};
    r->from_now = false;
    if (r->give(r, &e))
        r->at = e.at;
    else
        r->paused = true;
}

static bool catch_up(void)
{
    if (!front.reader || front.reader->paused)
        return false;
    front.reader->caught_up(front.reader);
    return true;
}

/* ---- what the client is told ---- */

static void judge_body(const char *text, bool final)
{
    json_error_t e;
    json_t *o = json_loads(text, JSON_REJECT_DUPLICATES, &e);
    FUZZ_CHECK(json_is_object(o));
    const char *ref = final ? json_string_value(json_object_get(o, "ref")) : NULL;
    if (ref) { /* the answers of SUBMITs keep their order */
        size_t n = strtoul(ref, NULL, 10);
        FUZZ_CHECK(n > client.refs && n <= front.first);
        client.refs = n;
    }
    json_decref(o);
}

static void judge_line(const char *line, size_t n)
{
    char *text = cd_strndup(line, n);
    bool ok = str_starts(text, "OK {"), row = str_starts(text, "ROW {"), err = str_starts(text, "ERR {");
    FUZZ_CHECK(strlen(text) == n && utf8_valid(text, n) && (ok || row || err));
    for (size_t i = 0; i < n; i++) /* a DEL from the request may stand in a message: JSON allows it */
        FUZZ_CHECK((unsigned char)text[i] >= ' ');
    judge_body(strchr(text, ' ') + 1, ok);
    client.answers += ok || err;
    FUZZ_CHECK(client.answers <= client.lines + 1); /* one a line; of a line that is too long it comes before its end */
    free(text);
}

/* What comes when TLS was granted is a handshake's. */
static void judge(void)
{
    const char *lf;
    while (!client.secret && client.heard.len && (lf = memchr(client.heard.data, '\n', client.heard.len)) != NULL) {
        const char *line = (const char *)client.heard.data;
        judge_line(line, (size_t)(lf - line));
        buf_consume(&client.heard, (size_t)(lf - line) + 1);
        struct line_session *s = TAILQ_FIRST(&srv.sessions);
        client.secret = s && s->conn.shaking && evbuffer_get_length(s->conn.out) == 0 && client.heard.len == 0;
    }
    if (client.secret)
        buf_reset(&client.heard);
}

static void turn(void)
{
    char chunk[8192];
    ssize_t r;
    for (int i = 0; i < 4; i++)
        event_base_loop(base, EVLOOP_NONBLOCK);
    while ((r = recv(client.fd, chunk, sizeof chunk, MSG_DONTWAIT)) > 0) {
        buf_append(&client.heard, chunk, (size_t)r);
        event_base_loop(base, EVLOOP_NONBLOCK);
    }
    client.gone = client.gone || r == 0 || (errno != EAGAIN && errno != EWOULDBLOCK);
    judge();
}

/* ---- what the client does ---- */

static void say(const uint8_t *p, size_t n, struct fuzz_steps *steps)
{
    for (size_t at = 0, k; at < n && !client.gone; at += k) {
        k = fuzz_step(steps, n - at);
        for (size_t i = 0; i < k; i++)
            client.lines += p[at + i] == '\n';
        if (client.half_closed || send(client.fd, p + at, k, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)k)
            return;
        turn();
    }
}

static void act(enum op op)
{
    switch (op) {
    case OP_STORED:
        resolve(ACK_STORED);
        break;
    case OP_RETRY:
        resolve(ACK_RETRY_LATER);
        break;
    case OP_REPLY:
        answer_request();
        break;
    case OP_EVENT:
        give_event();
        break;
    case OP_CAUGHT_UP:
        catch_up();
        break;
    case OP_DRAIN:
        client.drained = true;
        line_server_drain(&srv);
        break;
    case OP_HALF_CLOSE:
        client.half_closed = true;
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
    act(OP_HALF_CLOSE);
    bool more; /* whatever still waits gets its outcome, and so may let more of the input pass */
    do {
        turn();
        more = resolve(ACK_STORED);
        more = answer_request() || more;
        more = (catch_up() && !client.gone) || more;
    } while (more);
    turn();
    fuzz_good = client.refs > 0;
}

/* ---- begin and end ---- */

static char care[] = "care", shop[] = "shop", none[] = "", n1[] = "a", n2[] = "b", n3[] = "c", t1[] = "t1", t2[] = "t2", t3[] = "t3";
static char *only_care[] = {care};
static struct cfg_desk desks[] = {{.name = care, .phone_country = none}, {.name = shop, .phone_country = none}};
static struct cfg_client clients[] = {{.name = n1, .token = t1, .role = CFG_ROLE_INTAKE, .desk = none},
                                      {.name = n2, .token = t2, .role = CFG_ROLE_AGENT, .desk = care, .desks = {only_care, 1}},
                                      {.name = n3, .token = t3, .role = CFG_ROLE_ADMIN, .desk = none}};

static void set_options(uint8_t mode)
{
    bool low = mode & 1;
    cfg = (struct config){.desks = desks,
                          .ndesks = 2,
                          .clients = clients,
                          .nclients = 3,
                          .line_max_line_bytes = low ? 100 : 4000,
                          .line_max_connections = 4,
                          .line_max_in_flight = low ? 2 : 20,
                          .line_max_subscriptions = mode & 2 ? 0 : 4,
                          .line_require_tls = mode & 4,
                          .line_idle_timeout_us = CD_SEC(1000),
                          .intake_tight_timeout_us = CD_SEC(1000),
                          .line_subscribe_heartbeat_us = CD_SEC(1000),
                          .line_tls_handshake_timeout_us = CD_SEC(1000)};
    host.tls = mode & 8 ? tls : NULL;
}

/* The files are read once and for all. */
static struct tls *tls_make(void)
{
    certs_begin();
    struct made m = cert_make("EC", "line.example.com", NULL, -DAY_S, DAY_S);
    pem_put("a.pem", &m.cert, 1, m.key, NULL);
    made_free(&m);
    certificate = (struct cfg_certificate){.certificate = cert_path("a.pem"), .key = (char *)""};
    struct config c = {.certificates = &certificate, .ncertificates = 1, .tls_min_version = 0x0303, .tls_poll_us = CD_HOUR(10)};
    struct tls *t = tls_new(base, &c);
    certs_end();
    FUZZ_CHECK(tls_context(t));
    return t;
}

int LLVMFuzzerInitialize(int *argc CD_UNUSED, char ***argv CD_UNUSED)
{
    log_set_level(LOG_L_ERROR - 1);
    json_object_seed(1); /* the library takes the first seed only: the same tables in each run */
    base = event_base_new();
    for (size_t i = 0; i < ARRAY_LEN(clients); i++)
        sha256(clients[i].token, strlen(clients[i].token), clients[i].token_sha256);
    host = (struct channel_host){.base = base, .cfg = &cfg, .submit = fake_submit, .ready = fake_ready, .gate = fake_gate, .request = fake_request,
                                 .feed_add = fake_feed_add, .feed_resume = fake_feed_resume, .feed_remove = fake_feed_remove};
    tls = tls_make();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct fuzz_in in = {data, n};
    uint8_t mode = fuzz_u8(&in);
    struct fuzz_steps steps = {fuzz_u8(&in)};
    int fd[2];

    set_options(mode);
    front = (struct front){0};
    client = (struct client){0};
    buf_init(&client.heard, CD_MIB(16));
    FUZZ_CHECK(line_server_init(&srv, &host) == 0);
    FUZZ_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd) == 0);
    client.fd = fd[1];
    (void)line_session_open(&srv, fd[0], &(struct line_peer){.text = "192.0.2.7", .uid = -1, .local = mode & 16});
    converse(&in, &steps);
    if (!client.secret) { /* all is answered, so it has ended by itself */
        FUZZ_CHECK(srv.nsessions == 0 && client.gone && client.heard.len == 0);
        FUZZ_CHECK(!front.reader && srv.nsubscriptions == 0);
    }
    close(client.fd);
    for (int i = 0; i < 4; i++)
        event_base_loop(base, EVLOOP_NONBLOCK);
    line_server_done(&srv);
    FUZZ_CHECK(srv.nsessions == 0 && !front.reader);
    buf_free(&client.heard);
    return 0;
}
