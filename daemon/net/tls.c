/* See tls.h. Owns what the files held when they were last sound, the context made of it and the timer. A change is read when the
 * files have stood still from one look to the next: certificate and key are two files and come one after the other. */
#include "daemon/net/tls.h"

#include <openssl/err.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "daemon/core/clock.h"
#include "daemon/core/err.h"
#include "daemon/core/log.h"
#include "daemon/core/metrics.h"
#include "daemon/net/tls_material.h"

#define WHY_BYTES 512
/* No finite-field Diffie-Hellman: one small packet of a peer could make this thread work some 15 ms (CVE-2002-20001). */
#define GROUPS "X25519:P-256:X448:P-384:P-521"
#define CIPHERS "ECDHE+AESGCM:ECDHE+CHACHA20:HIGH:!kDHE:!aNULL:!eNULL:!PSK:!SRP:!DSS:!MD5"

/* What shows that a file is another one: by rename, by writing, or by a link that points elsewhere. */
struct stamp {
    dev_t dev;
    ino_t ino;
    off_t size;
    struct timespec mtime, ctime;
};

struct pair {
    char *cert_file, *key_file;
    struct tls_material held;    /* sound when it was read; cert NULL: never yet */
    struct stamp seen[2], tried[2]; /* at the last look; when it was last read */
    int64_t again_s;             /* what was refused may be taken from then on; 0: never */
};

struct tls {
    struct pair *pairs;
    size_t npairs;
    int min_version;
    SSL_CTX *ctx;
    unsigned shown; /* a bit for each pair in ctx */
    struct event *look;
};

/* Opportunistic peers that find nothing in common go on in the clear, so all that is not broken is offered. Tickets and sessions are
 * off: one mail server comes back seldom, and a ticket key that all instances share would undo forward secrecy. */
static SSL_CTX *context_new(int min_version)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    if (!ctx)
        return NULL;
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET | SSL_OP_CIPHER_SERVER_PREFERENCE |
                                 SSL_OP_PRIORITIZE_CHACHA | SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_clear_mode(ctx, SSL_MODE_AUTO_RETRY); /* a peer that only renews keys gets one record a turn, not the loop */
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(ctx, 0);
    if (!SSL_CTX_set_min_proto_version(ctx, min_version) ||
        !SSL_CTX_set1_groups_list(ctx, GROUPS) || !SSL_CTX_set_cipher_list(ctx, CIPHERS)) {
        SSL_CTX_free(ctx);
        return NULL;
    }
    return ctx;
}

static bool context_add(SSL_CTX *ctx, const struct tls_material *m)
{
    return SSL_CTX_use_cert_and_key(ctx, m->cert, m->key, m->chain, 1) == 1;
}

static void say_why(char *why, const char *file)
{
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    snprintf(why, WHY_BYTES, "%s: %s", file, reason ? reason : "TLS cannot be set up");
    ERR_clear_error();
}

/* ---- which are shown ---- */

static int64_t now_s(void)
{
    return clock_real_us() / CD_SEC(1);
}

static bool valid_now(const struct tls_material *m)
{
    int64_t now = now_s();
    return m->cert && m->not_before_s <= now && now <= m->not_after_s;
}

/* A context has one place for each kind of key: the first that is valid gets it. When none is, the one that lasts longest: many
 * senders do not look, and for the others nothing is lost. */
static unsigned choose(const struct tls *t)
{
    unsigned chosen = 0;
    for (size_t i = 0; i < t->npairs; i++) {
        const struct tls_material *m = &t->pairs[i].held;
        bool best = m->cert != NULL;
        for (size_t k = 0; k < t->npairs && best; k++) {
            const struct tls_material *o = &t->pairs[k].held;
            if (k == i || !o->cert || EVP_PKEY_get_base_id(o->key) != EVP_PKEY_get_base_id(m->key))
                continue;
            bool mv = valid_now(m), ov = valid_now(o);
            if (mv != ov)
                best = mv;
            else if (mv || o->not_after_s == m->not_after_s)
                best = i < k;
            else
                best = m->not_after_s > o->not_after_s;
        }
        if (best)
            chosen |= 1u << i;
    }
    return chosen;
}

static void show(struct tls *t, bool anyway)
{
    unsigned chosen = choose(t);
    if (!chosen || (chosen == t->shown && !anyway))
        return;
    ERR_clear_error();
    SSL_CTX *ctx = context_new(t->min_version);
    for (size_t i = 0; i < t->npairs && ctx; i++)
        if (chosen & 1u << i && !context_add(ctx, &t->pairs[i].held)) {
            SSL_CTX_free(ctx);
            ctx = NULL;
        }
    if (!ctx) { /* each of them stood the test alone: memory */
        char why[WHY_BYTES];
        say_why(why, "context");
        metrics_inc(M_TLS_RELOAD_FAILURES);
        log_event(LOG_L_ERROR, EV_TLS_LOAD_FAILED, "error=%s kept=%s", log_quote(why), t->ctx ? "yes" : "no");
        return;
    }
    SSL_CTX_free(t->ctx); /* sessions that began with it hold it */
    t->ctx = ctx;
    t->shown = chosen;
}

/* ---- one pair of files ---- */

static void stamp_of(const char *path, struct stamp *s)
{
    struct stat st;
    memset(s, 0, sizeof *s); /* its padding is compared too */
    if (stat(path, &st) < 0)
        return;
    s->dev = st.st_dev;
    s->ino = st.st_ino;
    s->size = st.st_size;
    s->mtime = st.st_mtim;
    s->ctime = st.st_ctim;
}

static void stamps_of(const struct pair *p, struct stamp ret[2])
{
    stamp_of(p->cert_file, &ret[0]);
    stamp_of(p->key_file, &ret[1]);
}

/* Sound by itself; is it better than what there is? */
static bool acceptable(struct pair *p, const struct tls_material *m, int min_version, char *why)
{
    int64_t now = now_s();
    SSL_CTX *trial = context_new(min_version);
    bool fits = trial && context_add(trial, m);
    SSL_CTX_free(trial);
    if (!fits) {
        say_why(why, p->cert_file);
        return false;
    }
    if (valid_now(m) || !valid_now(&p->held))
        return true;
    if (m->not_before_s > now)
        p->again_s = m->not_before_s;
    snprintf(why, WHY_BYTES, "%s: %s", p->cert_file, m->not_after_s < now ? "has expired" : "is not valid yet");
    return false;
}

static bool pair_read(struct pair *p, int min_version)
{
    struct tls_material m;
    char why[WHY_BYTES] = "", until[CLOCK_TEXT_SIZE];
    stamps_of(p, p->tried); /* before reading: what changes meanwhile is seen as a change */
    p->again_s = 0;
    int r = tls_material_load(p->cert_file, p->key_file, &m, why, sizeof why);
    if (r < 0 || !acceptable(p, &m, min_version, why)) {
        if (!r)
            tls_material_free(&m);
        metrics_inc(M_TLS_RELOAD_FAILURES);
        log_event(LOG_L_ERROR, EV_TLS_LOAD_FAILED, "certificate=%s error=%s kept=%s", log_quote(p->cert_file), log_quote(why),
                  p->held.cert ? "yes" : "no");
        return false;
    }
    tls_material_free(&p->held);
    p->held = m;
    metrics_inc(M_TLS_RELOADS);
    clock_format(m.not_after_s * CD_SEC(1), until);
    log_event(valid_now(&m) ? LOG_L_NOTICE : LOG_L_ERROR, EV_TLS_LOADED, "certificate=%s key=%s not_after=%s valid=%s",
              log_quote(p->cert_file), EVP_PKEY_get0_type_name(m.key), until, valid_now(&m) ? "yes" : "no");
    return true;
}

static bool pair_changed(struct pair *p)
{
    struct stamp now[2];
    stamps_of(p, now);
    bool still = memcmp(now, p->seen, sizeof now) == 0;
    memcpy(p->seen, now, sizeof now);
    if (memcmp(now, p->tried, sizeof now) == 0)
        return p->again_s && now_s() >= p->again_s;
    return still;
}

/* ---- all of them ---- */

static void look(struct tls *t, bool all)
{
    bool fresh = false;
    for (size_t i = 0; i < t->npairs; i++) {
        struct pair *p = &t->pairs[i];
        if ((pair_changed(p) || all) && pair_read(p, t->min_version))
            fresh = true;
        metrics_certificate(i, p->cert_file, p->held.cert ? p->held.not_after_s : 0);
    }
    show(t, fresh);
}

static void on_look(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    look(arg, false);
}

struct tls *tls_new(struct event_base *base, const struct config *c)
{
    struct tls *t = cd_alloc(sizeof *t);
    struct timeval tv = {.tv_sec = c->tls_poll_us / CD_SEC(1), .tv_usec = c->tls_poll_us % CD_SEC(1)};
    t->min_version = c->tls_min_version;
    t->npairs = c->ncertificates;
    t->pairs = cd_alloc((t->npairs + 1) * sizeof *t->pairs);
    for (size_t i = 0; i < t->npairs; i++) {
        const struct cfg_certificate *x = &c->certificates[i];
        t->pairs[i].cert_file = cd_strdup(x->certificate);
        t->pairs[i].key_file = cd_strdup(*x->key ? x->key : x->certificate);
    }
    t->look = event_new(base, -1, EV_PERSIST, on_look, t);
    cd_assert(t->look && (!t->npairs || event_add(t->look, &tv) == 0));
    look(t, true);
    return t;
}

void tls_reload(struct tls *t)
{
    if (t)
        look(t, true);
}

SSL_CTX *tls_context(const struct tls *t)
{
    return t ? t->ctx : NULL;
}

void tls_free(struct tls **pt)
{
    struct tls *t = *pt;
    if (!t)
        return;
    for (size_t i = 0; i < t->npairs; i++) {
        metrics_certificate(i, NULL, 0);
        tls_material_free(&t->pairs[i].held);
        free(t->pairs[i].cert_file);
        free(t->pairs[i].key_file);
    }
    SSL_CTX_free(t->ctx);
    event_free(t->look);
    free(t->pairs);
    free(t);
    *pt = NULL;
}
