/* Certificates kept fresh: what is shown of several, what is taken over when files change, and every way in which new files can be
 * no good: then the old certificate stays, with a count. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>
#include <time.h>

#include "daemon/core/clock.h"
#include "daemon/core/log.h"
#include "daemon/core/metrics.h"
#include "daemon/net/tls.h"
#include "tests/unit/net/make_cert.h"

static struct event_base *base;
static struct config cfg;
static struct cfg_certificate pairs[2];
static struct tls *tls;

static int setup(void **state)
{
    (void)state;
    certs_begin();
    log_set_level(LOG_L_ERROR - 1); /* refusals are what these tests are about */
    base = event_base_new();
    cfg = (struct config){.certificates = pairs, .ncertificates = 1, .tls_min_version = TLS1_2_VERSION, .tls_poll_us = CD_MSEC(10)};
    pairs[0] = (struct cfg_certificate){.certificate = cert_path("a.pem"), .key = cert_path("a.key")};
    pairs[1] = (struct cfg_certificate){.certificate = cert_path("b.pem"), .key = cert_path("b.key")};
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    tls_free(&tls);
    event_base_free(base);
    for (size_t i = 0; i < 2; i++) {
        free(pairs[i].certificate);
        free(pairs[i].key);
    }
    certs_end();
    return 0;
}

static void put_pair(const char *name, const struct made *m)
{
    CD_CLEANUP_FREE char *pem = cd_asprintf("%s.pem", name), *key = cd_asprintf("%s.key", name);
    cert_put(pem, m);
    key_put(key, m);
}

/* Is this what a client gets? */
static bool shown(const struct made *m)
{
    SSL_CTX *ctx = tls_context(tls);
    bool found = false;
    if (ctx)
        for (int r = SSL_CTX_set_current_cert(ctx, SSL_CERT_SET_FIRST); r == 1 && !found;
             r = SSL_CTX_set_current_cert(ctx, SSL_CERT_SET_NEXT))
            found = X509_cmp(SSL_CTX_get0_certificate(ctx), m->cert) == 0;
    return found;
}

static bool begun(const struct made *m)
{
    return X509_cmp_current_time(X509_get0_notBefore(m->cert)) < 0;
}

static int64_t failures(void)
{
    return metrics_get(M_TLS_RELOAD_FAILURES);
}

static void wait_until_shown(const struct made *m)
{
    int64_t end = clock_mono_us() + CD_SEC(20);
    while (!shown(m) && clock_mono_us() < end)
        event_base_loop(base, EVLOOP_ONCE);
    assert_true(shown(m));
}

static void wait_for_failure(int64_t before)
{
    int64_t end = clock_mono_us() + CD_SEC(20);
    while (failures() == before && clock_mono_us() < end)
        event_base_loop(base, EVLOOP_ONCE);
    assert_int_equal(failures(), before + 1);
}

static void a_change_is_taken_over(void **state)
{
    (void)state;
    struct made old = cert_make("EC", "old", NULL, -DAY_S, DAY_S), new = cert_make("EC", "new", NULL, -DAY_S, 2 * DAY_S);
    put_pair("a", &old);
    tls = tls_new(base, &cfg);
    assert_true(shown(&old));
    SSL_CTX *before = tls_context(tls);
    SSL *live = SSL_new(before);
    int64_t loads = metrics_get(M_TLS_RELOADS), failed = failures();
    put_pair("a", &new);
    wait_until_shown(&new);
    assert_ptr_not_equal(tls_context(tls), before);
    assert_ptr_equal(SSL_get_SSL_CTX(live), before); /* kept by the session */
    assert_int_equal(metrics_get(M_TLS_RELOADS), loads + 1);
    assert_int_equal(failures(), failed);
    SSL_free(live);
    /* nothing changes: nothing is read */
    for (int i = 0; i < 3; i++)
        event_base_loop(base, EVLOOP_ONCE);
    assert_int_equal(metrics_get(M_TLS_RELOADS), loads + 1);
    /* asked to: at once */
    put_pair("a", &old);
    tls_reload(tls);
    assert_true(shown(&old));
    made_free(&old);
    made_free(&new);
}

/* A link that points elsewhere, as certbot's do. */
static void a_link_is_followed(void **state)
{
    (void)state;
    struct made old = cert_make("EC", "old", NULL, -DAY_S, DAY_S), new = cert_make("EC", "new", NULL, -DAY_S, DAY_S);
    put_pair("1", &old);
    put_pair("2", &new);
    CD_CLEANUP_FREE char *a = cert_path("a.pem"), *k = cert_path("a.key");
    assert_int_equal(symlink("1.pem", a) | symlink("1.key", k), 0);
    tls = tls_new(base, &cfg);
    assert_true(shown(&old));
    unlink(a);
    unlink(k);
    assert_int_equal(symlink("2.pem", a) | symlink("2.key", k), 0);
    wait_until_shown(&new);
    made_free(&old);
    made_free(&new);
}

static void broken_files_keep_the_old_one(void **state)
{
    (void)state;
    struct made old = cert_make("EC", "old", NULL, -DAY_S, DAY_S), new = cert_make("EC", "new", NULL, -DAY_S, DAY_S);
    struct made expired = cert_make("EC", "expired", NULL, -2 * DAY_S, -60), weak = {0};
    put_pair("a", &old);
    tls = tls_new(base, &cfg);
    enum { WRONG_KEY, EXPIRED, CUT, CUT_CHAIN, CUT_KEY, EMPTY, GONE, PASSPHRASE, WRONG_CHAIN, WEAK, CASES };
    for (int c = 0; c < CASES; c++) {
        X509 *both[2] = {new.cert, expired.cert};
        int64_t before = failures();
        put_pair("a", c == EXPIRED ? &expired : &new);
        CD_CLEANUP_FREE char *pem = cert_path("a.pem");
        switch (c) {
        case WRONG_KEY:
            key_put("a.key", &expired);
            break;
        case CUT:
            cut("a.pem", size_of("a.pem") / 2);
            break;
        case CUT_CHAIN: /* in the first line of the second certificate */
            cert_put("a.pem", &new);
            long one = size_of("a.pem");
            pem_put("a.pem", both, 2, NULL, NULL);
            cut("a.pem", one + 8);
            break;
        case CUT_KEY:
            cut("a.key", size_of("a.key") / 2);
            break;
        case EMPTY:
            cut("a.pem", 0);
            break;
        case GONE:
            unlink(pem);
            break;
        case PASSPHRASE:
            pem_put("a.key", NULL, 0, new.key, "secret");
            break;
        case WRONG_CHAIN: /* the second one did not sign the first */
            pem_put("a.pem", both, 2, NULL, NULL);
            break;
        case WEAK: /* what OpenSSL itself refuses to show */
            weak = cert_make("EC", "weak", NULL, -DAY_S, DAY_S);
            EVP_PKEY_free(weak.key);
            weak.key = EVP_RSA_gen(512);
            X509_set_pubkey(weak.cert, weak.key);
            X509_sign(weak.cert, weak.key, EVP_sha256());
            put_pair("a", &weak);
            break;
        default:
            break;
        }
        wait_for_failure(before);
        assert_true(shown(&old));
        for (int i = 0; i < 4; i++) /* said once, not at every look */
            event_base_loop(base, EVLOOP_ONCE);
        assert_int_equal(failures(), before + 1);
    }
    /* the gauge is of what is shown */
    struct buf text;
    buf_init(&text, CD_MIB(1));
    metrics_render(&text);
    CD_CLEANUP_FREE char *row = cd_asprintf("\ncomplaintd_tls_cert_not_after_seconds{certificate=\"%s\"} ", pairs[0].certificate);
    const char *at = strstr(buf_str(&text), row);
    assert_non_null(at);
    assert_true(llabs(strtoll(at + strlen(row), NULL, 10) - (time(NULL) + DAY_S)) < 300);
    buf_free(&text);
    put_pair("a", &new);
    wait_until_shown(&new);
    made_free(&old);
    made_free(&new);
    made_free(&expired);
    made_free(&weak);
}

static void a_chain_is_shown_whole(void **state)
{
    (void)state;
    struct made root = cert_make("EC", "root", NULL, -DAY_S, DAY_S), mid = cert_make("RSA", "mid", &root, -DAY_S, DAY_S);
    struct made leaf = cert_make("EC", "leaf", &mid, -DAY_S, DAY_S);
    STACK_OF(X509) *chain = NULL;
    X509 *all[] = {leaf.cert, mid.cert};
    /* certificate, chain and key in one file; no key named */
    free(pairs[0].key);
    pairs[0].key = cd_strdup("");
    pem_put("a.pem", all, 2, leaf.key, NULL);
    tls = tls_new(base, &cfg);
    assert_true(shown(&leaf));
    SSL_CTX_get0_chain_certs(tls_context(tls), &chain);
    assert_int_equal(sk_X509_num(chain), 1);
    assert_int_equal(X509_cmp(sk_X509_value(chain, 0), mid.cert), 0);
    made_free(&root);
    made_free(&mid);
    made_free(&leaf);
}

/* One of each kind of key; of one kind the first that is valid. */
static void two_certificates(void **state)
{
    (void)state;
    struct made ec = cert_make("EC", "ec", NULL, -DAY_S, DAY_S), rsa = cert_make("RSA", "rsa", NULL, -DAY_S, DAY_S);
    struct made ec2 = cert_make("EC", "ec2", NULL, -DAY_S, DAY_S);
    struct made dead = cert_make("EC", "dead", NULL, -2 * DAY_S, -60), deader = cert_make("EC", "deader", NULL, -2 * DAY_S, -DAY_S);
    const struct {
        const struct made *a, *b;
        bool shows_a, shows_b;
    } cases[] = {
        {&ec, &rsa, true, true}, {&ec, &ec2, true, false}, {&dead, &ec, false, true}, {&ec, &dead, true, false}, {&deader, &dead, false, true},
    };
    cfg.ncertificates = 2;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        put_pair("a", cases[i].a);
        put_pair("b", cases[i].b);
        tls_free(&tls);
        tls = tls_new(base, &cfg);
        assert_int_equal(shown(cases[i].a), cases[i].shows_a);
        assert_int_equal(shown(cases[i].b), cases[i].shows_b);
    }
    /* the new one in front serves from its first second on, without being touched */
    struct made later = cert_make("EC", "later", NULL, 2, DAY_S);
    put_pair("a", &later);
    put_pair("b", &ec);
    tls_free(&tls);
    tls = tls_new(base, &cfg);
    assert_true(shown(&ec) || begun(&later));
    wait_until_shown(&later);
    assert_false(shown(&ec));
    /* alone, what is not valid yet waits behind what is */
    cfg.ncertificates = 1;
    struct made soon = cert_make("EC", "soon", NULL, 2, DAY_S);
    put_pair("a", &ec);
    tls_free(&tls);
    tls = tls_new(base, &cfg);
    int64_t before = failures();
    put_pair("a", &soon);
    tls_reload(tls);
    assert_true((failures() == before + 1 && shown(&ec)) || begun(&soon));
    wait_until_shown(&soon);
    const struct made *all[] = {&ec, &rsa, &ec2, &later, &dead, &deader, &soon};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        made_free((struct made *)(uintptr_t)all[i]);
}

static void nothing_at_the_start(void **state)
{
    (void)state;
    struct made ec = cert_make("EC", "ec", NULL, -DAY_S, DAY_S);
    int64_t before = failures();
    tls = tls_new(base, &cfg);
    assert_null(tls_context(tls));
    assert_null(tls_context(NULL));
    assert_int_equal(failures(), before + 1);
    put_pair("a", &ec);
    wait_until_shown(&ec);
    made_free(&ec);
    /* an expired one is better than none */
    struct made dead = cert_make("EC", "dead", NULL, -2 * DAY_S, -60);
    put_pair("a", &dead);
    tls_free(&tls);
    tls = tls_new(base, &cfg);
    assert_true(shown(&dead));
    made_free(&dead);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_change_is_taken_over), T(a_link_is_followed), T(broken_files_keep_the_old_one),
        T(a_chain_is_shown_whole), T(two_certificates),   T(nothing_at_the_start),
    };
    return cmocka_run_group_tests_name("tls", tests, NULL, NULL);
}
