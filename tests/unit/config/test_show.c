/* The values in use, as config_show() gives them: each option by its row, secrets never. */
#include "tests/unit/config/fixture.h"

#include "config/load.h"

struct wanted {
    const char *path, *value;
    bool reloads;
    int seen;
};

struct check {
    struct wanted *v;
    size_t n, rows;
    struct buf text;
};

static void visit(void *arg, const struct config_value *v)
{
    struct check *c = arg;
    c->rows++;
    buf_printf(&c->text, "%s=%s default %s\n", v->path, v->value, v->def);
    if (v->secret)
        assert_true(!*v->value || strcmp(v->value, "(secret)") == 0);
    for (size_t i = 0; i < c->n; i++) {
        if (strcmp(c->v[i].path, v->path) != 0)
            continue;
        assert_string_equal(v->value, c->v[i].value);
        assert_int_equal(v->reloads, c->v[i].reloads);
        c->v[i].seen++;
    }
}

static void test_values(void **state CD_UNUSED)
{
    struct wanted wanted[] = {
        {"instance", "main", false, 0},
        {"log.level", "info", true, 0},
        {"log.pii", "false", true, 0},
        {"database.dsn", "(secret)", false, 0},
        {"database.commit_budget", "1500ms", true, 0},
        {"database.batch_bytes", "4MB", true, 0},
        {"database.batch_rows", "7", true, 0},
        {"trusted_clients", "10.0.0.0/8, ::1/128", true, 0},
        {"webhooks[w].url", "https://hooks.example.com/x?y@z", true, 0},
        {"mail.relays[1].host", "one.example.com", true, 0},
        {"mail.relays[1].password", "(secret)", true, 0},
        {"mail.relays[2].password", "", true, 0},
    };
    struct check c = {.v = wanted, .n = ARRAY_LEN(wanted)};
    struct config *cfg = load_good("database: {dsn: \"host=/x password=hidden-word\", batch_rows: 7}\n"
                                   "trusted_clients: [10.0.0.0/8, \"::1\"]\n"
                                   "mail:\n"
                                   "  relays:\n"
                                   "    - {host: one.example.com, tls: starttls, user: u, password: hidden-word}\n"
                                   "    - {host: two.example.com}\n"
                                   "webhooks: [{name: w, url: \"https://hooks.example.com/x?y@z\", secret: hidden-word-hidden-word}]\n");
    buf_init(&c.text, CD_MIB(1));
    config_show(cfg, visit, &c);
    config_free(&cfg);
    assert_false(c.text.failed);
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++)
        if (wanted[i].seen != 1)
            fail_msg("%s was given %d times:\n%s", wanted[i].path, wanted[i].seen, buf_str(&c.text));
    assert_null(strstr(buf_str(&c.text), "hidden-word"));
    assert_non_null(strstr(buf_str(&c.text), "webhooks[w].url=https://hooks.example.com/x?y@z"));
    size_t own = 0;
    for (const struct option *o = root_options; o->path; o++)
        own += o->type != OPT_ITEMS && o->type != OPT_CUSTOM;
    assert_true(c.rows > own);
    buf_free(&c.text);
}

/* A list as it is when nothing was written has no rows and no entries. */
static void test_defaults(void **state CD_UNUSED)
{
    struct check c = {.v = NULL};
    struct config *cfg = load_good("instance: other\n");
    buf_init(&c.text, CD_MIB(1));
    config_show(cfg, visit, &c);
    config_free(&cfg);
    assert_non_null(strstr(buf_str(&c.text), "trusted_clients= default"));
    assert_null(strstr(buf_str(&c.text), "mail.relays["));
    buf_free(&c.text);
}

/* A guess at a token could be tried on its digest, wherever that came from. */
static void test_tokens(void **state CD_UNUSED)
{
#define HASH "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
    struct wanted wanted[] = {
        {"clients[clear].token", "", true, 0},
        {"clients[clear].token_sha256", "(secret)", true, 0},
        {"clients[hashed].token", "", true, 0},
        {"clients[hashed].token_sha256", "(secret)", true, 0},
    };
    struct check c = {.v = wanted, .n = ARRAY_LEN(wanted)};
    struct config *cfg = load_good(CONFIG "clients:\n"
                                          "  - {name: clear, token: hidden-word}\n"
                                          "  - {name: hashed, token_sha256: " HASH "}\n");
    buf_init(&c.text, CD_MIB(1));
    config_show(cfg, visit, &c);
    config_free(&cfg);
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++)
        assert_int_equal(wanted[i].seen, 1);
    assert_null(strstr(buf_str(&c.text), "hidden-word"));
    assert_null(strstr(buf_str(&c.text), HASH));
    assert_null(strstr(buf_str(&c.text), "7b426ad1d26dc08ed037cbd90e7e88734ac7a2514ac811d4bb59b8ab99394d8d"));
    buf_free(&c.text);
}

#define T(f) cmocka_unit_test_setup_teardown(f, folder_make, folder_remove)
int main(void)
{
    const struct CMUnitTest tests[] = {T(test_values), T(test_defaults), T(test_tokens)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
