/* TLS towards the relay, by libesmtp and by libcurl: the certificate must be right and the server's name is
 * sent; what stands before the handshake counts for nothing. Also the place where libesmtp looks for
 * certificates of its own. */
#include "tests/unit/mail_out/fixture.h"

#include <sys/stat.h>

static void test_36_starttls_many_sessions(void **state)
{
    (void)state;
    t.cfg.mail_relay_tls = (char *)"starttls";
    t.cfg.mail_relay_host = (char *)"localhost";
    t.cfg.mail_relay_ca_file = t.ca;
    start("tls");
    for (int i = 0; i < 4;
         i++) { /* a session each: the second one is where the library's own context crashes */
        send_to("ok@x.example");
        run(CD_SEC(20));
        expect((unsigned)i, SEND_SENT, "250");
    }
    CD_CLEANUP_FREE char *mail = sink_mail(4);
    assert_non_null(strstr(mail, "\"tls\": true"));
    assert_non_null(strstr(mail, "\"sni\": \"localhost\""));
    assert_non_null(strstr(mail, "\"version\": \"TLSv1.2\""));
}

static void test_36_certificate_of_another(void **state)
{
    (void)state;
    t.cfg.mail_relay_tls = (char *)"starttls";
    t.cfg.mail_relay_host = (char *)"127.0.0.1"; /* not in the certificate */
    t.cfg.mail_relay_ca_file = t.ca;
    start("tls");
    send_to("ok@x.example");
    run(CD_SEC(20));
    expect(0, SEND_RETRY, "");
    CD_CLEANUP_FREE char *mail = sink_mail(1);
    assert_string_equal(mail, "");
}

static void test_36_certificate_of_nobody(void **state)
{
    (void)state;
    t.cfg.mail_relay_tls = (char *)"starttls";
    t.cfg.mail_relay_host = (char *)"localhost"; /* no CA given: the system's do not know it */
    start("tls");
    send_to("ok@x.example");
    run(CD_SEC(20));
    expect(0, SEND_RETRY, "");
}

static void test_36_tls_required_but_not_offered(void **state)
{
    (void)state;
    t.cfg.mail_relay_tls = (char *)"starttls";
    start("plain");
    send_to("ok@x.example");
    run(CD_SEC(20));
    expect(0, SEND_RETRY, "");
    CD_CLEANUP_FREE char *mail = sink_mail(1);
    assert_string_equal(mail, "");
}

/* Text in front of TLS must never count as an answer inside it. */
static void test_36_reply_injection(void **state)
{
    (void)state;
    t.cfg.mail_relay_tls = (char *)"starttls";
    t.cfg.mail_relay_host = (char *)"localhost";
    t.cfg.mail_relay_ca_file = t.ca;
    start("inject");
    send_to("ok@x.example");
    run(CD_SEC(20));
    expect(0, SEND_RETRY, "injection");
}

/* The mail is not given to the relay, whoever carries it. */
static void refused_in(const char *mode, const char *host, const char *ca)
{
    t.cfg.mail_relay_tls = (char *)"starttls";
    t.cfg.mail_relay_host = (char *)host;
    t.cfg.mail_relay_ca_file = (char *)ca;
    start(mode);
    send_to("ok@x.example");
    send_to("客户@x.example");
    run(CD_SEC(20));
    expect(0, SEND_RETRY, "");
    expect(1, SEND_RETRY, "");
    CD_CLEANUP_FREE char *mail = sink_mail(1);
    assert_string_equal(mail, "");
}

static void test_36_certificate_that_ran_out(void **state)
{
    (void)state;
    refused_in("expired", "localhost", t.ca);
    expect(1, SEND_RETRY, "expired");
}

static void test_36_certificate_of_another_utf8(void **state)
{
    (void)state;
    refused_in("tls", "127.0.0.1", t.ca);
}

static void test_36_certificate_of_nobody_utf8(void **state)
{
    (void)state;
    refused_in("tls", "localhost", "");
    expect(1, SEND_RETRY, "self-signed");
}

static void test_36_tls_not_offered_utf8(void **state)
{
    (void)state;
    refused_in("plain", "localhost", "");
}

static void test_36_reply_injection_utf8(void **state)
{
    (void)state;
    t.cfg.mail_relay_tls = (char *)"starttls";
    t.cfg.mail_relay_host = (char *)"localhost";
    t.cfg.mail_relay_ca_file = t.ca;
    start("inject");
    send_to("客户@x.example");
    run(CD_SEC(20));
    expect(0, SEND_RETRY, "");
}

static void starttls_utf8(void **state)
{
    (void)state;
    t.cfg.mail_relay_tls = (char *)"starttls";
    t.cfg.mail_relay_host = (char *)"localhost";
    t.cfg.mail_relay_ca_file = t.ca;
    start("tls");
    send_to("客户@例子.中国");
    send_to("ok@x.example");
    send_to("用户@x.example");
    run(CD_SEC(20));
    for (unsigned i = 0; i < 3; i++)
        expect(i, SEND_SENT, "250");
    CD_CLEANUP_FREE char *ascii = sink_mail(1), *first = sink_mail(2), *second = sink_mail(3);
    assert_non_null(strstr(ascii, "ok@x.example"));
    assert_non_null(strstr(first, "\"utf8\": true"));
    assert_non_null(strstr(first, "\"to\": [\"客户@xn--fsqu00a.xn--fiqs8s\"]"));
    assert_non_null(strstr(first, "\"sni\": \"localhost\""));
    assert_non_null(strstr(first, "\r\nTo: 客户@xn--fsqu00a.xn--fiqs8s\r\n"));
    assert_non_null(strstr(first, "\r\n\r\nDear Ann,\r\n=2E\r\nQUIT\r\n"));
    assert_non_null(strstr(second, "\"to\": [\"用户@x.example\"]"));
}

/* What libesmtp makes of $HOME: every error of stat() but "not there" would end the session. */
static void home_is_no_folder(void **state)
{
    CD_CLEANUP_FREE char *file = cd_asprintf("%s/file", t.dir), *below = cd_asprintf("%s/file/state", t.dir);
    const char *const homes[] = {file, below, "/nowhere/at/all", "/dev/null"};
    FILE *f = fopen(file, "w");

    (void)state;
    fclose(f);
    t.cfg.mail_relay_tls = (char *)"starttls";
    t.cfg.mail_relay_host = (char *)"localhost";
    t.cfg.mail_relay_ca_file = t.ca;
    sink_start("tls");
    for (unsigned i = 0; i < ARRAY_LEN(homes); i++) {
        t.cfg.state_dir = (char *)homes[i];
        assert_int_equal(mail_out_start(&t.host, &t.out), 0);
        send_to("ok@x.example");
        run(CD_SEC(20));
        expect(i, SEND_SENT, "250");
        mail_out_stop(&t.out);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
        T(test_36_starttls_many_sessions),
        T(test_36_certificate_of_another),
        T(test_36_certificate_of_nobody),
        T(test_36_tls_required_but_not_offered),
        T(test_36_reply_injection),
        T(test_36_certificate_that_ran_out),
        T(test_36_certificate_of_another_utf8),
        T(test_36_certificate_of_nobody_utf8),
        T(test_36_tls_not_offered_utf8),
        T(test_36_reply_injection_utf8),
        T(starttls_utf8),
        T(home_is_no_folder),
    };
    if (argc > 1 && str_eq(argv[1], "--worker=mail"))
        return mail_worker_main();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
