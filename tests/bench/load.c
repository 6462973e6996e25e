/* complaint-load: puts load on a complaintd, or on another mail server, and prints one line of JSON about it.
 *
 * Closed loop: each connection sends its next one as soon as it has its answer. Open loop (--rate): they fall
 * due at random (exponential gaps) whatever the server does, and a latency counts from when it was due. It
 * ends after --count answers, after --limit seconds, or when nothing is answered for --stall seconds; what
 * has no answer then is an error. */
#include "tests/bench/load.h"

#include <arpa/inet.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "daemon/core/clock.h"

static const char usage[] =
    "usage: complaint-load smtp|http|web|line --peer 127.0.0.1:PORT [OPTION...]\n"
    "  --count N          how many mails, SMS or SUBMITs (1000)\n"
    "  --connections N    at a time (1)\n"
    "  --size BYTES       of a mail, or of the text of a SUBMIT or POST (1500)\n"
    "  --seed N           other texts, Message-IDs and keys (1)\n"
    "  --senders N        different senders (1000)\n"
    "  --rate R           open loop: R a second, whatever the server does\n"
    "  --new              smtp: a new connection for each mail\n"
    "  --pipelining       smtp: MAIL, RCPT and DATA in one go\n"
    "  --rcpt ADDRESS     smtp: the recipient (care@example.com)\n"
    "  --url URL          http: the public URL of the webhook, which is signed\n"
    "  --account SID --number PHONE\n"
    "                     http: AccountSid and To\n"
    "  --token TOKEN      http: the key of signatures; line: for AUTH; web: bearer\n"
    "  --window N         line: SUBMITs without an answer on a connection (50)\n"
    "  --log FILE         a line for each accepted one: channel, key and mark, with tabs between\n"
    "  --stall S --limit S\n"
    "                     ends after so many seconds without an answer (30), or in all (600)\n";

/* ---- what modes ask for ---- */

static void arm(struct load *l, int64_t now)
{
    int64_t wait = CD_MAX(l->due_us - now, INT64_C(0));
    struct timeval tv = {wait / 1000000, wait % 1000000};
    if (l->taken < l->o.count && !TAILQ_EMPTY(&l->idle))
        evtimer_add(l->arrival, &tv);
}

static void leave_idle(struct load_conn *c)
{
    if (c->idle)
        TAILQ_REMOVE(&c->load->idle, c, entry);
    c->idle = false;
}

bool load_take(struct load_conn *c, struct load_job *ret)
{
    struct load *l = c->load;
    int64_t now = clock_mono_us();
    if (l->taken == l->o.count) {
        leave_idle(c);
        return false;
    }
    if (l->o.rate > 0 && l->due_us > now) {
        if (!c->idle)
            TAILQ_INSERT_TAIL(&l->idle, c, entry);
        c->idle = true;
        arm(l, now);
        return false;
    }
    leave_idle(c);
    *ret = (struct load_job){l->taken++, l->o.rate > 0 ? l->due_us : now};
    if (l->o.rate > 0) {
        double u = ((double)(text_random(&l->gaps) >> 11) + 1) / 9007199254740993.0;
        l->due_us += (int64_t)(-log(u) / l->o.rate * 1e6);
    }
    return true;
}

static void on_arrival(evutil_socket_t fd, short what, void *arg)
{
    struct load *l = arg;
    int64_t now = clock_mono_us();
    struct load_conn *c;
    (void)fd;
    (void)what;
    while (l->due_us <= now && l->taken < l->o.count && (c = TAILQ_FIRST(&l->idle))) {
        leave_idle(c);
        l->o.mode->wake(c);
    }
    arm(l, now);
}

void load_answered(struct load_conn *c, const struct load_job *job, enum report_result r, const char *text)
{
    struct load *l = c->load;
    report_add(&l->report, r, job->since_us, text);
    if (l->report.log && r == REPORT_ACCEPTED) {
        struct text_item item;
        l->o.mode->key(&l->o, job->i, &item);
        fprintf(l->report.log, "%s\t%s\t%s\n", l->o.mode->channel, item.key, item.mark);
    }
    if (report_done(&l->report) == l->o.count)
        event_base_loopbreak(l->base);
}

static void on_later(evutil_socket_t fd, short what, void *arg)
{
    struct load_conn *c = arg;
    (void)fd;
    (void)what;
    c->load->o.mode->wake(c);
}

void load_later(struct load_conn *c)
{
    struct timeval tv = {0, 100000};
    event_base_once(c->load->base, -1, EV_TIMEOUT, on_later, c, &tv);
}

static void on_watch(evutil_socket_t fd, short what, void *arg)
{
    struct load *l = arg;
    int64_t now = clock_mono_us();
    (void)fd;
    (void)what;
    if (report_done(&l->report) != l->reported_at_watch ||
        (l->o.rate > 0 && l->taken == report_done(&l->report))) {
        l->reported_at_watch = report_done(&l->report);
        l->quiet_since_us = now;
    }
    if (now - l->quiet_since_us > (int64_t)(l->o.stall_s * 1e6) ||
        now - l->report.begin_us > (int64_t)(l->o.limit_s * 1e6))
        event_base_loopbreak(l->base);
}

/* ---- the run ---- */

static void run(struct load *l, const char *log)
{
    struct event_config *cfg = event_config_new();
    struct timeval second = {1, 0};
    char more[400];

    event_config_set_flag(cfg, EVENT_BASE_FLAG_PRECISE_TIMER);
    event_config_set_flag(cfg, EVENT_BASE_FLAG_NOLOCK);
    l->base = event_base_new_with_config(cfg);
    event_config_free(cfg);
    TAILQ_INIT(&l->idle);
    l->arrival = evtimer_new(l->base, on_arrival, l);
    l->watch = event_new(l->base, -1, EV_PERSIST, on_watch, l);
    event_add(l->watch, &second);
    l->gaps = l->o.text.seed;
    report_begin(&l->report, l->o.count, log);
    l->due_us = l->quiet_since_us = l->report.begin_us;
    for (unsigned i = 0; i < l->o.connections; i++)
        l->o.mode->start(l);
    if (report_done(&l->report) < l->o.count)
        event_base_dispatch(l->base);
    l->report.errors += l->o.count - report_done(&l->report);
    snprintf(more, sizeof more,
             ",\"mode\":\"%s\",\"count\":%llu,\"connections\":%u,\"new\":%s,\"pipelining\":%s,\"window\":%u,"
             "\"size\":%zu,"
             "\"seed\":%llu,\"offered_rate\":%.0f",
             l->o.mode->name, (unsigned long long)l->o.count, l->o.connections,
             l->o.new_each ? "true" : "false", l->o.pipelining ? "true" : "false",
             l->o.mode == &load_line ? l->o.window : 1, l->o.text.size, (unsigned long long)l->o.text.seed,
             l->o.rate);
    report_end(&l->report, more);
}

static void fail(const char *what)
{
    fprintf(stderr, "complaint-load: %s\n%s", what, usage);
    exit(2);
}

static void read_peer(const char *s, struct sockaddr_in *ret)
{
    const char *colon = strrchr(s, ':');
    char host[64];
    if (!colon || (size_t)(colon - s) >= sizeof host)
        fail("--peer: HOST:PORT is wanted");
    snprintf(host, sizeof host, "%.*s", (int)(colon - s), s);
    ret->sin_family = AF_INET;
    ret->sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
    if (inet_pton(AF_INET, host, &ret->sin_addr) != 1 || !ret->sin_port)
        fail("--peer: an IPv4 address and a port are wanted");
}

static double number(const char *name, const char *s, double min, double max)
{
    char *end;
    double v = strtod(s, &end);
    if (end == s || *end || !(v >= min && v <= max)) {
        fprintf(stderr, "complaint-load: --%s: a number from %g to %g is wanted\n", name, min, max);
        exit(2);
    }
    return v;
}

static const struct option options[] = {
    {"peer", 1, NULL, 'p'},        {"count", 1, NULL, 'n'},
    {"connections", 1, NULL, 'c'}, {"size", 1, NULL, 's'},
    {"seed", 1, NULL, 'e'},        {"rate", 1, NULL, 'r'},
    {"new", 0, NULL, 'N'},         {"pipelining", 0, NULL, 'P'},
    {"rcpt", 1, NULL, 't'},        {"url", 1, NULL, 'u'},
    {"account", 1, NULL, 'a'},     {"number", 1, NULL, 'o'},
    {"token", 1, NULL, 'k'},       {"window", 1, NULL, 'w'},
    {"log", 1, NULL, 'l'},         {"stall", 1, NULL, 'S'},
    {"limit", 1, NULL, 'L'},       {"senders", 1, NULL, 'd'},
    {"help", 0, NULL, 'h'},        {0},
};

/* Texts that are kept as they are; NULL: the option is another. */
static const char **text_option(struct load_options *o, int c)
{
    switch (c) {
    case 't':
        return &o->rcpt;
    case 'u':
        return &o->url;
    case 'a':
        return &o->account;
    case 'o':
        return &o->number;
    case 'k':
        return &o->token;
    default:
        return NULL;
    }
}

static void number_option(struct load_options *o, int c, const char *name, const char *s)
{
    switch (c) {
    case 'n':
        o->count = (uint64_t)number(name, s, 1, 1e8);
        break;
    case 'c':
        o->connections = (unsigned)number(name, s, 1, 20000);
        break;
    case 's':
        o->text.size = (size_t)number(name, s, 1, 1e7);
        break;
    case 'e':
        o->text.seed = (uint64_t)number(name, s, 0, 1e15);
        break;
    case 'd':
        o->text.senders = (unsigned)number(name, s, 1, 1e9);
        break;
    case 'r':
        o->rate = number(name, s, 0, 1e6);
        break;
    case 'w':
        o->window = (unsigned)number(name, s, 1, 100000);
        break;
    case 'S':
        o->stall_s = number(name, s, 1, 1e5);
        break;
    case 'L':
        o->limit_s = number(name, s, 1, 1e6);
        break;
    default:
        fail("unknown option");
    }
}

static const char *read_options(int argc, char **argv, struct load_options *o)
{
    static const struct load_mode *const modes[] = {&load_smtp, &load_http, &load_web, &load_line};
    const char *log = NULL, **text;
    int c, at = 0;
    for (size_t i = 0; argc > 1 && i < ARRAY_LEN(modes); i++)
        if (strcmp(argv[1], modes[i]->name) == 0)
            o->mode = modes[i];
    if (!o->mode)
        fail("smtp, http, web or line?");
    optind = 2;
    while ((c = getopt_long(argc, argv, "", options, &at)) != -1) {
        if ((text = text_option(o, c)))
            *text = optarg;
        else if (c == 'p')
            read_peer(optarg, &o->peer);
        else if (c == 'l')
            log = optarg;
        else if (c == 'N' || c == 'P')
            *(c == 'N' ? &o->new_each : &o->pipelining) = true;
        else if (c == 'h' || c == '?')
            fail("options");
        else
            number_option(o, c, options[at].name, optarg);
    }
    if (!o->peer.sin_port)
        fail("--peer is wanted");
    if (o->mode == &load_http && (!o->url || !o->token))
        fail("http: --url and --token are wanted");
    if ((o->mode == &load_line || o->mode == &load_web) && !o->token)
        fail("line, web: --token is wanted");
    return log;
}

int main(int argc, char **argv)
{
    struct rlimit files;
    struct load l = {.o = {.connections = 1,
                           .window = 50,
                           .count = 1000,
                           .rcpt = "care@example.com",
                           .stall_s = 30,
                           .limit_s = 600,
                           .account = "AC55555555555555555555555555555555",
                           .number = "+18005551212",
                           .text = {.seed = 1, .size = 1500, .senders = TEXT_SENDERS}}};
    const char *log = read_options(argc, argv, &l.o);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    run(&l, log);
    return l.report.accepted ? 0 : 1;
}
