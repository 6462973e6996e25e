/* Defaults, values, secrets, look-ups and templates of a configuration that is right. */
#include "tests/unit/config/fixture.h"

#include "daemon/core/log.h"

static void test_defaults(void **state CD_UNUSED)
{
    struct config *c = load_good("instance: main\n");
    assert_string_equal(c->instance, "main");
    assert_true(*c->hostname);
    assert_string_equal(c->state_dir, "/var/lib/complaintd");
    assert_string_equal(c->database_dsn, "host=/run/postgresql dbname=complaintd");
    assert_int_equal(c->log_level, LOG_L_INFO);
    assert_false(c->log_pii);
    assert_int_equal(c->database_commit_budget_us, CD_MSEC(1500));
    assert_int_equal(c->database_batch_rows, 200);
    assert_int_equal(c->database_batch_bytes, CD_MIB(4));
    assert_int_equal(c->intake_max_bytes, CD_MIB(128));
    assert_int_equal(c->triage_workers, 0);
    assert_int_equal(c->triage_cpu_seconds, 5);
    assert_int_equal(c->triage_memory_bytes, CD_MIB(384));
    assert_int_equal(c->reopen_window_us, CD_HOUR(24 * 30));
    assert_int_equal(c->mail_max_message_bytes, CD_MIB(25));
    assert_int_equal(c->mail_max_command_bytes, 2048);
    assert_false(c->mail_reject_bare_lf);
    assert_string_equal(c->mail_relay_tls, "none");
    assert_int_equal(c->mail_relay_port, 25);
    assert_int_equal(c->notify_statutory_life_us, CD_HOUR(120));
    assert_string_equal(c->default_language, "en");
    assert_int_equal(c->nmail_listen, 0);
    assert_int_equal(c->nmetrics_listen, 1);
    assert_int_equal(c->metrics_listen[0].port, 9464);
    assert_int_equal(c->nline_listen, 1);
    assert_string_equal(c->line_listen[0].path, "/run/complaintd/control.sock");
    assert_null(c->line_listen[0].host);
    assert_string_equal(c->line_listen[0].mark.file, c->files.v[0]);
    assert_null(config_desk_by_address(c, "postmaster"));
    config_free(&c);
    assert_null(c);
    config_free(&c);
}

static void test_values(void **state CD_UNUSED)
{
    struct config *c = load_good(CONFIG "log: {level: debug, pii: true}\n"
                                        "trusted_clients: [127.0.0.0/8, \"::1\", \"2001:db8::/32\"]\n"
                                        "http: {listen: [\"127.0.0.1:80\", \"[::1]:80\"], max_body: 1MB}\n"
                                        "metrics: {listen: []}\n"
                                        "triage: {cpu: 1min, reopen_window: 0s}\n"
                                        "notify: {poll: 1s500ms, paused: true}\n");
    assert_int_equal(c->log_level, LOG_L_DEBUG);
    assert_true(c->log_pii && c->notify_paused);
    assert_int_equal(c->nhttp_listen, 2);
    assert_string_equal(c->http_listen[1].host, "::1");
    assert_int_equal(c->http_listen[1].port, 80);
    assert_int_equal(c->http_listen[1].mark.line, CONFIG_LINES + 3);
    assert_int_equal(c->http_max_body_bytes, CD_MIB(1));
    assert_int_equal(c->nmetrics_listen, 0);
    assert_int_equal(c->triage_cpu_seconds, 60);
    assert_int_equal(c->reopen_window_us, 0);
    assert_int_equal(c->notify_poll_us, CD_MSEC(1500));
    assert_true(config_trusted(c, "127.9.8.7"));
    assert_true(config_trusted(c, "::ffff:127.0.0.1"));
    assert_true(config_trusted(c, "::1"));
    assert_true(config_trusted(c, "2001:db8:1::5"));
    assert_false(config_trusted(c, "128.0.0.1"));
    assert_false(config_trusted(c, "2001:db9::1"));
    assert_false(config_trusted(c, "nonsense"));
    assert_false(config_trusted(c, NULL));
    config_free(&c);
}

static void test_completed(void **state CD_UNUSED)
{
    struct config *c = load_good(
        CONFIG
        "clients: [{name: kiosk, token: sesame-open}, {name: boss, token: other-token, role: admin}]\n");
    const struct cfg_desk *d = config_desk(c, "care");
    assert_non_null(d);
    assert_string_equal(d->default_team, "general");
    assert_string_equal(d->policy, "standard");
    assert_string_equal(d->brand, "Customer care");
    assert_string_equal(d->languages.v[0], "en");
    assert_string_equal(d->addresses.v[0], "care@example.com");
    assert_string_equal(d->from, "");
    assert_int_equal(d->mark.line, 2);
    assert_int_equal(d->mark.column, 9);
    assert_string_equal(c->clients[0].desk, "care");
    assert_int_equal(c->clients[0].role, CFG_ROLE_INTAKE);
    assert_int_equal(c->clients[1].role, CFG_ROLE_ADMIN);
    config_free(&c);
}

static void test_secrets(void **state CD_UNUSED)
{
    put("dsn", "host=db\n");
    put("credentials/token", "from-a-credential\r\n");
    put("two-newlines", "inner\n");
    CD_CLEANUP_FREE char *dir = in_folder("credentials");
    setenv("CREDENTIALS_DIRECTORY", dir, 1);
    struct config *c = load_good(
        CONFIG "database: {dsn_file: dsn}\n"
               "clients: [{name: a, token_credential: token}, {name: b, token: in-place-1}]\n"
               "sms: {providers: [{name: main, public_url: \"https://c.example.com\", account_sid: AC1,\n"
               "  auth_token_file: two-newlines, auth_token_old_file: \"\", from: \"+15005550006\"}]}\n");
    unsetenv("CREDENTIALS_DIRECTORY");
    assert_string_equal(c->database_dsn, "host=db");
    assert_ptr_equal(config_client_by_token(c, "from-a-credential"), &c->clients[0]);
    assert_ptr_equal(config_client_by_token(c, "in-place-1"), &c->clients[1]);
    assert_null(config_client_by_token(c, "in-place-2"));
    assert_null(config_client_by_token(c, ""));
    assert_string_equal(c->clients[1].token, ""); /* the digest is what is kept */
    assert_string_equal(c->sms_providers[0].auth_token, "inner");
    assert_string_equal(c->sms_providers[0].auth_token_old, "");
    assert_string_equal(c->sms_providers[0].provider, "twilio");
    assert_string_equal(c->sms_providers[0].api_url, "https://api.twilio.com");
    assert_string_equal(c->sms_providers[0].desk, "care");
    config_free(&c);
}

static void test_clients(void **state CD_UNUSED)
{
    struct config *c = load_good(
        CONFIG "clients:\n"
               "  - {name: a, token_sha256: F23E14C5C9287B18C9122853F5B9460A7737A56D7E9BA02894181AC6AA889425}\n" /* of sesame1 */
               "  - {name: b, token: in-place-1, desks: [care]}\n");
    assert_ptr_equal(config_client_by_token(c, "sesame1"), &c->clients[0]);
    assert_ptr_equal(config_client_by_token(c, "in-place-1"), &c->clients[1]);
    assert_int_equal(c->clients[0].desks.n, 0);
    assert_string_equal(c->clients[1].desk, "care");
    config_free(&c);
}

static void test_desk_by_address(void **state CD_UNUSED)
{
    struct config *c = load_good("mail: {from: care@example.com}\n"
                                 "desks:\n"
                                 "  - {name: care, addresses: [care@example.com, abuse@shop.example]}\n"
                                 "  - {name: shop, addresses: [shop@shop.example, a+b@shop.example]}\n"
                                 "teams: [{name: general}]\n"
                                 "policies: [policies/standard.yaml]\ncalendars: [calendars/always.yaml]\n"
                                 "templates: templates\n");
    const struct cfg_desk *care = config_desk(c, "care"), *shop = config_desk(c, "shop");
    assert_ptr_equal(config_desk_by_address(c, "care@example.com"), care);
    assert_ptr_equal(config_desk_by_address(c, "CARE@Example.COM"), care);
    assert_ptr_equal(config_desk_by_address(c, "care+C-1234@example.com"), care);
    assert_ptr_equal(config_desk_by_address(c, "shop+@shop.example"), shop);
    assert_ptr_equal(config_desk_by_address(c, "a+b@shop.example"), shop);
    assert_null(config_desk_by_address(c, "a@shop.example"));
    assert_null(config_desk_by_address(c, "care@shop.example"));
    assert_null(config_desk_by_address(c, "+care@example.com"));
    assert_null(config_desk_by_address(c, "care"));
    assert_null(config_desk_by_address(c, ""));
    assert_null(config_desk_by_address(c, "@"));
    assert_null(config_desk_by_address(c, NULL));
    assert_ptr_equal(config_desk_by_address(c, "Postmaster"), care);
    assert_ptr_equal(config_desk_by_address(c, "postmaster@SHOP.example"), care);
    assert_ptr_equal(config_desk_by_address(c, "abuse@example.com"), care);
    assert_null(config_desk_by_address(c, "postmaster@elsewhere.example"));
    assert_null(config_desk_by_address(c, "postmasters"));
    config_free(&c);
}

static void test_templates(void **state CD_UNUSED)
{
    put("templates/acknowledgement.sms.zh.txt", "\xef\xbb\xbf投诉 {{ref}}");
    put("templates/acknowledgement.sms.zh-TW.txt", "投訴 {{ref}}\n\n");
    put("templates/acknowledgement.sms.zh.care.txt", "自己的 {{ref}}");
    put("templates/README", "not a template {{");
    struct config *c = load_good(CONFIG);
    const struct cfg_template *t = config_template(c, NULL, "acknowledgement", "mail", "zh");
    assert_string_equal(t->language, "en"); /* the default language */
    assert_string_equal(t->subject, "Your complaint {{ref}}");
    assert_string_equal(t->text, "We have it, {{name}}.\n");
    t = config_template(c, NULL, "acknowledgement", "sms", "zh-tw");
    assert_string_equal(t->text, "投訴 {{ref}}");
    assert_string_equal(t->subject, "");
    assert_string_equal(config_template(c, NULL, "acknowledgement", "sms", "zh-HK")->text, "投诉 {{ref}}");
    assert_string_equal(config_template(c, NULL, "acknowledgement", "sms", "fr")->language, "en");
    assert_string_equal(config_template(c, NULL, "acknowledgement", "sms", NULL)->language, "en");
    assert_string_equal(config_template(c, NULL, "acknowledgement", "sms", "")->language, "en");
    assert_null(config_template(c, NULL, "acknowledgement", "webhook", "en"));
    assert_null(config_template(c, NULL, "farewell", "mail", "en"));
    assert_string_equal(config_template(c, "care", "acknowledgement", "sms", "zh-HK")->text, "自己的 {{ref}}");
    assert_string_equal(config_template(c, "care", "acknowledgement", "sms", "zh-TW")->text, "投訴 {{ref}}"); /* the language first */
    assert_string_equal(config_template(c, "other", "acknowledgement", "sms", "zh")->text, "投诉 {{ref}}");
    assert_true(config_template_name_known("due_date", 8));
    assert_false(config_template_name_known("due_dat", 7));
    config_free(&c);
}

static void test_template_any_language(void **state CD_UNUSED)
{
    char purpose[] = "escalation", transport[] = "sms", zh[] = "zh", en[] = "en";
    struct cfg_template only = {.purpose = purpose, .transport = transport, .language = zh};
    struct config c = {.default_language = en, .templates = &only, .ntemplates = 1};
    assert_ptr_equal(config_template(&c, NULL, "escalation", "sms", "fr"), &only);
}

static void test_policy(void **state CD_UNUSED)
{
    put("policies/standard.yaml",
        POLICY "    ladder:\n"
               "      - {level: 1, at: receipt, tell: [{contact: team}], priorities: [critical, low]}\n"
               "      - {level: 3, at: first-response, offset: -15min, tell: [{contact: boss, by: [sms, "
               "webhook, mail]}],\n"
               "         stops_on: [reply], repeat: {times: 2, every: 30min}}\n");
    const char text[] = CONFIG "contacts: [{name: boss, sms: \"+8613800138000\"}]\n";
    struct config *c = load_good(text);
    const struct cfg_policy *p = config_policy(c, "standard");
    assert_int_equal(p->target_us[PRIO_CRITICAL][TARGET_ACKNOWLEDGE], CD_MIN_US(15));
    assert_int_equal(p->target_us[PRIO_LOW][TARGET_RESOLVE], CD_HOUR(24 * 14));
    assert_int_equal(p->nsteps, 2);
    assert_int_equal(p->steps[0].priorities, 1 << PRIO_CRITICAL | 1 << PRIO_LOW);
    assert_int_equal(p->steps[0].stops_on, STOP_ACK | STOP_ASSIGN | STOP_REPLY | STOP_RESOLVE);
    assert_int_equal(p->steps[0].tell[0].by, 1);
    assert_int_equal(p->steps[1].anchor, ANCHOR_FIRST_RESPONSE);
    assert_int_equal(p->steps[1].offset_us, -CD_MIN_US(15));
    assert_int_equal(p->steps[1].priorities, 15);
    assert_int_equal(p->steps[1].stops_on, STOP_REPLY);
    assert_int_equal(p->steps[1].repeat_times, 2);
    assert_int_equal(p->steps[1].tell[0].by, 7);
    assert_string_equal(config_contact(c, p->steps[1].tell[0].contact)->sms, "+8613800138000");
    assert_int_equal(strlen(p->version), 16);
    char version[17];
    memcpy(version, p->version, sizeof version);
    config_free(&c);
    /* Layout and comments are not part of the version, values are. */
    put("policies/standard.yaml",
        "# moved\n\n" POLICY "    ladder:\n"
        "      - {level: 1, at: receipt, tell: [{contact: team}],   priorities: [critical, low]}\n"
        "      - {level: 3, at: first-response, offset: -15min, tell: [{contact: boss, by: [sms, webhook, "
        "mail]}],\n"
        "         stops_on: [reply], repeat: {times: 2, every: 30min}} # late\n");
    c = load_good(text);
    assert_string_equal(c->policies[0].version, version);
    config_free(&c);
    put("policies/standard.yaml", POLICY);
    c = load_good(CONFIG);
    assert_string_not_equal(c->policies[0].version, version);
    config_free(&c);
}

static void test_rules(void **state CD_UNUSED)
{
    put("rules/1.yaml",
        "rules:\n"
        "  - id: fire\n"
        "    when: {any: [\"caught fire\", 冒烟], regex: [\"burn(s|t)\"], all: [[a, b], [c]], subject: [s]}\n"
        "    unless: [joke]\n"
        "    then: {category: safety, priority: critical, team: general, tags: [fire]}\n");
    put("rules/2.yaml",
        "rules:\n"
        "  - {id: vip, when: {sender: [\"*@big.example\"], desk: [care], attachments: false}, then: {flags: "
        "[vip]}}\n"
        "tests:\n"
        "  - {text: \"it caught\\nfire\", expect: {category: safety, priority: critical, tags: [fire]}}\n"
        "  - {subject: hello, channel: sms, expect: {category: unclassified}}\n");
    struct config *c =
        load_good(CONFIG "rules: [rules/2.yaml, rules/*.yaml]\ncategories: [{name: safety}]\n");
    assert_int_equal(c->rules.n, 2);
    assert_string_equal(c->rules.v[0].id, "vip");
    assert_int_equal(c->rules.v[0].attachments, 0);
    assert_int_equal(c->rules.v[0].priority, -1);
    assert_int_equal(c->rules.v[0].nall, 0);
    const struct cfg_rule *r = &c->rules.v[1];
    assert_int_equal(r->attachments, -1);
    assert_int_equal(r->priority, PRIO_CRITICAL);
    assert_int_equal(r->nall, 5);
    assert_string_equal(r->all[0].v[1].text, "冒烟");
    assert_int_equal(r->all[0].v[1].mark.line, 3);
    assert_int_equal(r->all[0].v[1].mark.column, 33);
    assert_int_equal(r->all[0].v[0].field, RF_ANY);
    assert_true(r->all[1].v[0].regex);
    assert_int_equal(r->all[2].n, 2);
    assert_int_equal(r->all[4].v[0].field, RF_SUBJECT);
    assert_string_equal(r->none.v[0].text, "joke");
    assert_int_equal(c->rules.ntests, 2);
    assert_string_equal(c->rules.tests[0].channel, "mail");
    assert_string_equal(c->rules.tests[0].team, "");
    assert_string_equal(c->rules.tests[1].channel, "sms");
    assert_int_equal(strlen(c->rules.version), 16);
    config_free(&c);
}

static void test_names_of_enums(void **state CD_UNUSED)
{
    for (int p = 0; p < PRIO_COUNT; p++)
        assert_int_equal(priority_from_name(priority_name((enum priority)p)), p);
    assert_int_equal(priority_from_name("urgent"), -1);
    assert_int_equal(priority_from_name(NULL), -1);
    assert_string_equal(target_name(TARGET_FIRST_RESPONSE), "first-response");
}

static void test_sample(void **state CD_UNUSED)
{
    struct faults f = {0};
    struct config *c = config_load(CD_SOURCE_DIR "/config/complaintd.yaml", &f);
    if (!c)
        fail_msg("%s:%d:%d: %s", f.v[0].file, f.v[0].line, f.v[0].column, f.v[0].text);
    assert_true(c->rules.n > 20 && c->rules.ntests > 20);
    assert_non_null(config_category(c, "safety"));
    assert_non_null(config_template(c, NULL, "acknowledgement", "sms", "zh"));
    config_free(&c);
}

static void test_describe(void **state CD_UNUSED)
{
    struct buf out;
    buf_init(&out, CD_MIB(1));
    config_describe(DESCRIBE_TEXT, &out);
    assert_false(out.failed);
    assert_non_null(
        strstr(buf_str(&out), "\nmail.max_message\n    size; default 25MB; 16kB to 48MB; reloadable\n"));
    assert_non_null(strstr(buf_str(&out), "\ndesks[].addresses\n"));
    assert_non_null(
        strstr(buf_str(&out), "\npolicies[].ladder[].tell[].by\n    list of words: mail|sms|webhook"));
    assert_non_null(strstr(buf_str(&out), "\nrules[].then.priority\n"));
    assert_null(strstr(buf_str(&out), "(null)"));
    buf_free(&out);
}

#define T(f) cmocka_unit_test_setup_teardown(f, folder_make, folder_remove)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_defaults),        T(test_values),    T(test_completed),
        T(test_secrets), T(test_clients),        T(test_templates), T(test_template_any_language),
        T(test_desk_by_address), T(test_policy),    T(test_rules),
        T(test_names_of_enums),  T(test_sample),    T(test_describe),
    };
    unsetenv("CREDENTIALS_DIRECTORY");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
