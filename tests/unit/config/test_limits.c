/* Limits of the loader, each reached; and garbage, which costs faults and nothing else. */
#include "tests/unit/config/fixture.h"

#include "daemon/core/clock.h"
#include "daemon/core/str.h"

/* Loads c.yaml, which must fail; frees nothing of the faults. */
static void load_bad(struct faults *f)
{
    assert_null(load_file("c.yaml", f));
    assert_true(f->n > 0);
}

static bool has_fault(const struct faults *f, int line, int column, const char *text)
{
    for (size_t i = 0; i < f->n; i++)
        if (f->v[i].line == line && f->v[i].column == column && strstr(f->v[i].text, text))
            return true;
    return false;
}

static void put_buf(const char *name, struct buf *b)
{
    assert_false(b->failed);
    put_bytes(name, buf_str(b), b->len);
    buf_free(b);
}

/* Where checkers are (config/checks.c). */
static void test_scan(void **state CD_UNUSED)
{
    static const struct {
        const char *text;
        int column;
        const char *fault;
    } bad[] = {
        {"scan: {rspamd: {url: \"http://mail.example:11333\"}}\n", 22, "neither http:// to this host nor https://"},
        {"scan: {rspamd: {url: \"ftp://127.0.0.1\"}}\n", 22, "neither http:// to this host nor https://"},
        {"scan: {rspamd: {url: \"https://\"}}\n", 22, "neither http:// to this host nor https://"},
        {"scan: {rspamd: {url: \"http://127.0.0.1:11333/\"}}\n", 22, "ends with a slash"},
        {"scan: {clamd: {address: [\"127.0.0.1:3310\", \"127.0.0.1:3311\"]}}\n", 44, "is one address"},
        {"scan: {clamd: {address: [clamd.example]}}\n", 26, "write a numeric address and a port"},
        {"scan: {authserv_from: [10.0.0.0/8]}\n", 23, "no effect without scan.trusted_authserv_ids"},
        {"scan: {in_flight: 65}\n", 19, "64"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct faults f = {0};
        put_bytes("c.yaml", bad[i].text, strlen(bad[i].text));
        load_bad(&f);
        if (!has_fault(&f, 1, bad[i].column, bad[i].fault))
            fail_msg("%s: %d:%d %s", bad[i].text, f.v[0].line, f.v[0].column, f.v[0].text);
        faults_free(&f);
    }
}

static void test_file_size(void **state CD_UNUSED)
{
    struct buf b;
    struct faults f = {0};
    buf_init(&b, CD_MIB(8));
    buf_append_str(&b, "instance: main\n");
    while (b.len <= CD_MIB(4))
        buf_append_str(&b, "# a comment that makes the file longer and longer\n");
    put_buf("c.yaml", &b);
    load_bad(&f);
    assert_non_null(strstr(f.v[0].text, "can't be read (too big): name a readable file of at most 4 MB"));
    faults_free(&f);
}

static void put_rules(size_t n)
{
    struct buf b;
    buf_init(&b, CD_MIB(4));
    buf_append_str(&b, "rules:\n");
    for (size_t i = 0; i < n; i++)
        buf_printf(&b, "- {id: r%zu, when: {any: [\"word%zu\", other]}, then: {category: fire, tags: [t]}}\n",
                   i, i);
    put_buf("rules/many.yaml", &b);
    put("c.yaml", CONFIG "categories: [{name: fire}]\nrules: [rules/*.yaml]\n");
}

static void test_rules(void **state CD_UNUSED)
{
    struct faults f = {0};
    put_rules(20000);
    int64_t start = clock_mono_us();
    struct config *c = load_file("c.yaml", &f);
    assert_non_null(c);
    assert_int_equal(c->rules.n, 20000);
    assert_true(clock_mono_us() - start < CD_SEC(30));
    config_free(&c);
    put_rules(20001);
    load_bad(&f);
    assert_int_equal(f.n, 1);
    assert_true(has_fault(&f, 2, 1, "more than 20000 entries in rules: write fewer"));
    faults_free(&f);
}

static void test_depth_and_nodes(void **state CD_UNUSED)
{
    struct buf b;
    struct faults f = {0};
    put("c.yaml", "desks: [[[[[[[[[[[[[[[[[[[[[x]]]]]]]]]]]]]]]]]]]]]\n");
    load_bad(&f);
    assert_int_equal(f.n, 1);
    assert_true(has_fault(&f, 1, 23, "nested more than 16 deep"));
    faults_free(&f);
    buf_init(&b, CD_MIB(4));
    for (int i = 0; i < 1000000; i++) /* only brackets: what costs parsers most */
        buf_append_char(&b, '[');
    put_buf("c.yaml", &b);
    load_bad(&f);
    faults_free(&f);
    buf_init(&b, CD_MIB(4));
    buf_append_str(&b, "desks: [");
    for (int i = 0; i < 900000; i++)
        buf_append_str(&b, "1,\n");
    buf_append_str(&b, "]\n");
    put_buf("c.yaml", &b);
    load_bad(&f);
    assert_int_equal(f.n, 1);
    assert_non_null(strstr(f.v[0].text, "more than 800000 values in one file: split the file"));
    faults_free(&f);
}

static void test_faults_are_all_counted(void **state CD_UNUSED)
{
    struct buf b;
    struct faults f = {0};
    buf_init(&b, CD_MIB(4));
    for (int i = 0; i < 150; i++)
        buf_printf(&b, "wrong%d: 1\n", i);
    put_buf("c.yaml", &b);
    load_bad(&f);
    assert_int_equal(f.n, 100);
    assert_int_equal(f.dropped, 50);
    assert_int_equal(f.v[99].line, 100);
    buf_init(&b, CD_MIB(4));
    faults_print(&f, &b);
    assert_non_null(strstr(buf_str(&b), "\n50 more faults are not shown: mend these first\n"));
    buf_free(&b);
    faults_free(&f);
    f.max = 2;
    load_bad(&f);
    assert_int_equal(f.n, 2);
    assert_int_equal(f.dropped, 148);
    faults_free(&f);
}

static void test_keys_and_lists(void **state CD_UNUSED)
{
    struct buf b;
    struct faults f = {.max = 1000};
    buf_init(&b, CD_MIB(4));
    for (int i = 0; i < 201; i++)
        buf_printf(&b, "k%d: 1\n", i);
    put_buf("c.yaml", &b);
    load_bad(&f);
    assert_true(has_fault(&f, 1, 1, "201 keys in one group: write at most 200"));
    assert_int_equal(f.n, 201);
    faults_free(&f);
    buf_init(&b, CD_MIB(4));
    buf_append_str(&b, "trusted_clients: [");
    for (int i = 0; i < 1001; i++)
        buf_append_str(&b, "127.0.0.1,");
    buf_append_str(&b, "]\nsms:\n  providers:\n");
    for (int i = 0; i < 101; i++)
        buf_append_str(&b, "  - {}\n");
    put_buf("c.yaml", &b);
    load_bad(&f);
    assert_int_equal(f.n, 2);
    assert_true(has_fault(&f, 1, 18, "trusted_clients has 1001 entries: write at most 1000"));
    assert_true(has_fault(&f, 4, 3, "more than 100 entries in sms.providers"));
    faults_free(&f);
}

static void append_list(struct buf *b, size_t n, const char *entry)
{
    for (size_t i = 0; i < n; i++)
        buf_printf(b, "%s%s", i ? "," : "", entry);
}

static void test_phrases(void **state CD_UNUSED)
{
    struct buf b;
    struct faults f = {0};
    buf_init(&b, CD_MIB(4));
    buf_append_str(&b, "rules:\n- id: a\n  then: {tags: [t]}\n  when:\n    any: [");
    append_list(&b, 5001, "x");
    buf_append_str(&b, "]\n    all: [");
    append_list(&b, 50, "[x]");
    buf_append_str(&b, "]\n    text: [\"");
    append_list(&b, 251, "x");
    buf_append_str(&b, "\"]\n");
    put_buf("rules/r.yaml", &b);
    put("c.yaml", CONFIG "rules: [rules/r.yaml]\n");
    load_bad(&f);
    assert_true(has_fault(&f, 5, 10, "when.any is too long: write a list of 1 to 5000 phrases"));
    assert_true(has_fault(&f, 6, 207, "a rule has more than 50 lists of phrases: write two rules"));
    assert_true(has_fault(&f, 7, 11, "a rule has more than 50 lists of phrases"));
    faults_free(&f);
    buf_init(&b, CD_MIB(4));
    buf_append_str(&b, "rules:\n- id: a\n  then: {tags: [t]}\n  when: {text: [\"");
    append_list(&b, 251, "x");
    buf_append_str(&b, "\"]}\n");
    put_buf("rules/r.yaml", &b);
    load_bad(&f);
    assert_int_equal(f.n, 1);
    assert_true(has_fault(&f, 4, 17, "a phrase of when.text is longer than 500 bytes"));
    faults_free(&f);
}

static void test_secrets_and_templates(void **state CD_UNUSED)
{
    struct buf b;
    struct faults f = {0};
    for (int i = 0; i < 2; i++) {
        buf_init(&b, CD_MIB(1));
        buf_append_str(&b, "Subject: {{ref}}\n\n");
        while (b.len <= CD_KIB(64))
            buf_append_str(&b, "more and more text of the file\n");
        put_buf(i ? "secret" : "templates/escalation.mail.de.txt", &b);
    }
    put("c.yaml", CONFIG "database: {dsn_file: secret}\n");
    load_bad(&f);
    assert_int_equal(f.n, 2);
    assert_true(
        has_fault(&f, 7, 22, "can't be read (too big): make it, readable for the daemon, of at most 64 kB"));
    assert_true(has_fault(&f, 1, 1,
                          "the template can't be read (too big): make it a text of at most 64 kB in UTF-8"));
    faults_free(&f);
    put("c.yaml", "database: {dsn_file: /dev/zero}\nrules: [/dev/null]\n");
    load_bad(&f);
    assert_int_equal(f.n, 2);
    faults_free(&f);
}

/* A small generator, so that a failure can be repeated. */
static uint32_t next_random(uint32_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 17;
    *x ^= *x << 5;
    return *x;
}

static const char whole[] = CONFIG
    "log: {level: info, pii: false}\n"
    "trusted_clients: [127.0.0.0/8, \"::1\"]\n"
    "http: {listen: [\"127.0.0.1:80\", \"[::1]:80\"], max_body: 64kB}\n"
    "contacts:\n  - {name: boss, mail: b@example.com, sms: \"+8613800138000\", webhook: chat}\n"
    "webhooks: [{name: chat, url: \"https://x.example/y\", secret: s}]\n"
    "clients:\n  - name: c\n    token: \"long-enough\"\n    role: agent\n"
    "sms: {providers: [{name: m, public_url: \"https://x\", account_sid: A, auth_token: t, from: f}]}\n"
    "categories: [{name: fire, team: general}]\nrules: [rules/*.yaml]\n"
    "notify: {poll: 1s, paused: true, max_attempts: 3}\n";

/* Bytes that matter to YAML, so that changes reach further than the first syntax error. */
static char random_byte(uint32_t *x)
{
    static const char bytes[] = "[]{}:,-&*!|>'\"%@`#? \n\t\\~01ax\xc3\xa9\xff";
    return next_random(x) % 8 ? bytes[next_random(x) % (sizeof bytes)] : (char)next_random(x);
}

static void spoil(uint32_t *x, const char *name, const char *text)
{
    size_t n = strlen(text);
    char *p = cd_alloc(n + 1);
    memcpy(p, text, n);
    for (uint32_t k = next_random(x) % 6; k > 0; k--)
        p[next_random(x) % n] = random_byte(x);
    if (next_random(x) % 8 == 0)
        n = next_random(x) % n;
    put_bytes(name, p, n);
    free(p);
}

static void test_garbage(void **state CD_UNUSED)
{
    static const char rules[] =
        "rules:\n  - {id: a, when: {any: [x, y], regex: [\"a|b\"], all: [[p], [q]], desk: [care]},"
        " unless: [z],\n     then: {category: fire, priority: high, tags: [t]}}\n"
        "tests:\n  - {text: x, expect: {category: fire}}\n";
    static const char policy[] = POLICY
        "    ladder:\n      - {level: 1, at: receipt, offset: 5min, tell: [{contact: team, by: [mail]}],"
        " stops_on: [ack], repeat: {times: 1, every: 1h}}\n";
    uint32_t x = 2463534242u;
    int good = 0;
    for (int i = 0; i < 1500; i++) {
        struct faults f = {0};
        spoil(&x, "c.yaml", whole);
        spoil(&x, "rules/r.yaml", rules);
        spoil(&x, "policies/standard.yaml", policy);
        spoil(&x, "templates/escalation.sms.en.txt", "{{ref}} level {{level}}\n");
        struct config *c = load_file("c.yaml", &f);
        assert_true(c || f.n > 0);
        for (size_t k = 0; k < f.n; k++) {
            assert_true(utf8_valid(f.v[k].text, strlen(f.v[k].text)));
            assert_null(strpbrk(f.v[k].text, "\r\n"));
        }
        good += c != NULL;
        config_free(&c);
        faults_free(&f);
    }
    assert_true(good > 0); /* the texts are right before they are spoiled */
}

#define T(f) cmocka_unit_test_setup_teardown(f, folder_make, folder_remove)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_scan),
        T(test_file_size),
        T(test_rules),
        T(test_depth_and_nodes),
        T(test_faults_are_all_counted),
        T(test_keys_and_lists),
        T(test_phrases),
        T(test_secrets_and_templates),
        T(test_garbage),
    };
    unsetenv("CREDENTIALS_DIRECTORY");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
