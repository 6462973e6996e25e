/* mail.relay and mail.relays: one or the other, and what a relay must have. */
#include "tests/unit/config/fixture.h"

static void test_one(void **state CD_UNUSED)
{
    struct config *c = load_good("mail: {relay: {host: relay.example.com, port: 587, tls: starttls}}\n");
    assert_int_equal(config_relays(c), 1);
    struct cfg_relay r = config_relay(c, 0);
    assert_string_equal(r.host, "relay.example.com");
    assert_int_equal(r.port, 587);
    assert_string_equal(r.tls, "starttls");
    assert_string_equal(r.user, "");
    config_free(&c);
    c = load_good("mail: {relays: []}\n"); /* none is the default one */
    assert_int_equal(config_relays(c), 1);
    assert_string_equal(config_relay(c, 0).host, "127.0.0.1");
    config_free(&c);
}

static void test_several(void **state CD_UNUSED)
{
    put("ca.pem", "certificates\n");
    put("password", "secret\n");
    struct config *c = load_good("mail:\n"
                                 "  relays:\n"
                                 "    - {host: one.example.com, tls: starttls, user: u, password_file: password, ca_file: ca.pem}\n"
                                 "    - {host: two.example.com, port: 2525}\n");
    assert_int_equal(config_relays(c), 2);
    struct cfg_relay one = config_relay(c, 0), two = config_relay(c, 1);
    assert_string_equal(one.host, "one.example.com");
    assert_int_equal(one.port, 25);
    assert_string_equal(one.password, "secret");
    assert_int_equal(two.port, 2525);
    assert_string_equal(two.tls, "none");
    assert_string_equal(two.ca_file, "");
    config_free(&c);
}

static void test_relay_faults(void **state CD_UNUSED)
{
    assert_faults("mail:\n"
                  "  relay: {host: a.example.com}\n"
                  "  relays:\n"
                  "    - {host: b.example.com, user: u}\n"
                  "    - {host: c.example.com, password: p, ca_file: none.pem}\n"
                  "    - {host: B.example.com, port: 25}\n"
                  "    - {port: 25}\n",
                  "c.yaml:2:17: mail.relay and mail.relays are both given: make it an entry of mail.relays\n"
                  "c.yaml:4:7: relay 'b.example.com' has a user but no password: write password_file: PATH beside it\n"
                  "c.yaml:4:7: the password for relay 'b.example.com' would cross the network in clear: write tls: starttls\n"
                  "c.yaml:5:7: relay 'c.example.com' has a password but no user: write user: NAME beside it\n"
                  "c.yaml:5:7: none.pem can't be read: name a file of certificates (PEM)\n"
                  "c.yaml:6:7: relay 'B.example.com' is there already: keep one of them\n"
                  "c.yaml:7:7: this relay has no host: write `host:` and a host name, such as mail.example.com\n");
    assert_faults("mail: {relays: [{host: a}, {host: b}, {host: c}, {host: d}, {host: e}, {host: f}, {host: g}, {host: h}, {host: i}]}\n",
                  "c.yaml:1:16: more than 8 entries in mail.relays: write fewer\n");
    assert_faults("mail: {relay_batch: 51, relay_down_after: 0}\n",
                  "c.yaml:1:21: mail.relay_batch is 51, which is too big: write 1 to 50\n"
                  "c.yaml:1:43: mail.relay_down_after is 0, which is too small: write 1 to 100\n");
}

static void test_reload(void **state CD_UNUSED)
{
    struct config *live = load_good("mail: {relays: [{host: a.example.com}]}\n");
    struct config *fresh = load_good("mail: {relays: [{host: a.example.com}, {host: b.example.com}]}\n");
    struct strlist changed = {0}, restart = {0};
    config_take(live, fresh, &changed, &restart);
    assert_int_equal(restart.n, 0);
    assert_int_equal(changed.n, 1);
    assert_string_equal(changed.v[0], "mail.relays");
    assert_string_equal(config_relay(live, 1).host, "b.example.com");
    assert_int_equal(config_relays(fresh), 1);
    strlist_free(&changed);
    strlist_free(&restart);
    config_free(&live);
    config_free(&fresh);
}

#define T(f) cmocka_unit_test_setup_teardown(f, folder_make, folder_remove)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_one),
        T(test_several),
        T(test_relay_faults),
        T(test_reload),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
