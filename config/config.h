#pragma once
/* The configuration as the daemon uses it: a tree built by config_load() from YAML and owned by one free(). Nothing but
 * config_take() changes it, between two callbacks of the loop; who keeps a string of it longer than one callback copies it, jobs
 * excepted (daemon/reload.h).
 * Every struct that later checks refer to keeps its place (struct mark). Strings are never NULL unless said. */
#include "daemon/core/base.h"
#include "daemon/core/buf.h"
#include "daemon/core/str.h"

struct mark {
    const char *file; /* owned by the configuration */
    int line, column; /* from 1; 0 when unknown */
};

/* Faults are collected, not only the first. */
struct faults {
    struct fault {
        char *file;
        int line, column;
        char *text; /* "what is wrong: what to write instead" */
    } * v;
    size_t n, max; /* more than max (default 100) are counted in `dropped` */
    size_t dropped;
};
void faults_add(struct faults *f, struct mark m, const char *fmt, ...) CD_PRINTF(3, 4);
void faults_print(const struct faults *f, struct buf *out); /* "file:line:column: text\n" each */
void faults_free(struct faults *f);

/* "127.0.0.1:25", "[::1]:25", "unix:/run/x.sock" */
struct listen_addr {
    char *text;
    char *host; /* numeric; NULL for unix */
    uint16_t port;
    char *path; /* unix; NULL otherwise */
    struct mark mark;
};

/* A network, "127.0.0.0/8" or "::1". */
struct network {
    uint8_t addr[16]; /* IPv4 mapped */
    uint8_t bits;     /* 0..128 */
};

enum cfg_role { CFG_ROLE_INTAKE = 1, CFG_ROLE_AGENT, CFG_ROLE_ADMIN }; /* same order as enum role */
enum priority { PRIO_CRITICAL, PRIO_HIGH, PRIO_NORMAL, PRIO_LOW, PRIO_COUNT };
const char *priority_name(enum priority p);
int priority_from_name(const char *s); /* -1 */

struct contact { /* how to reach a team or a named contact; "" where not given */
    char *mail, *sms, *webhook; /* webhook: name in `webhooks` */
};

/* A certificate that TLS listeners show, and its key. */
struct cfg_certificate {
    char *certificate; /* PEM file: the certificate, then what signed it */
    char *key;         /* PEM file; "" when it is in the same */
    struct mark mark;
};

/* A server that outgoing mail is given to. */
#define CONFIG_RELAYS 8
struct cfg_relay {
    char *host;
    uint64_t port;
    char *tls; /* "none", "starttls" */
    char *user, *password, *ca_file;
    struct mark mark;
};

/* Signs the names that go out with our mail (daemon/intake/token.h). */
struct cfg_thread_key {
    char *id; /* one character */
    char *secret;
    struct mark mark;
};

/* Who works in a team. One person may be in several, under the same name. */
struct cfg_member {
    char *name; /* as in complaints.assignee; the person's own client has it, too */
    struct contact contact;
    uint64_t capacity;
    struct strlist skills;
    struct strlist regions; /* none: all */
    struct mark mark;
};
enum assign_how { ASSIGN_NONE, ASSIGN_ROUND_ROBIN, ASSIGN_LOAD };
const char *assign_name(enum assign_how how);
struct cfg_team {
    char *name;
    struct contact contact;
    enum assign_how assign;
    struct cfg_member *members;
    size_t nmembers;
    struct mark mark;
};
struct cfg_contact { /* a role or person that ladders may name: "supervisor" */
    char *name;
    struct contact contact;
    struct mark mark;
};
struct cfg_webhook {
    char *name, *url, *secret;
    struct mark mark;
};
struct cfg_desk {
    char *name;
    struct strlist addresses; /* normalized mail addresses; "*@domain": every one of a domain */
    struct strlist languages; /* preferred first; for answers when the complaint's own is unknown */
    char *brand;              /* in templates */
    char *default_team, *policy, *from; /* from: address that answers carry, "" = mail.from */
    char *phone_country; /* "86" or "" */
    struct mark mark;
};
struct cfg_sms_provider {
    char *name, *provider; /* "twilio" */
    char *public_url;      /* scheme://host[:port] under which the provider calls us */
    char *account_sid, *auth_token, *auth_token_old; /* old: "" or a second valid token during rotation */
    char *from;            /* number or messaging service (MG…) that we send with */
    char *api_url;         /* https://api.twilio.com */
    char *desk;
    struct mark mark;
};
struct cfg_client { /* of the line protocol and web intake */
    char *name;
    char *token;                /* "" once the configuration is loaded: the digest is what is kept */
    char *token_hash;           /* 64 hexadecimal digits */
    uint8_t token_sha256[32];
    enum cfg_role role;
    char *desk;            /* default desk of its submissions */
    struct strlist desks;  /* the only ones it has to do with; none: all */
    bool may_see_vulnerable;
    struct mark mark;
};

enum step_anchor { ANCHOR_RECEIPT, ANCHOR_ACKNOWLEDGE, ANCHOR_FIRST_RESPONSE, ANCHOR_RESOLVE };
enum stop_on { STOP_ACK = 1, STOP_ASSIGN = 2, STOP_REPLY = 4, STOP_RESOLVE = 8 };
struct cfg_tell {
    char *contact; /* "team" = the owning team; otherwise a name in `contacts` or `teams` */
    uint8_t by;    /* bits 1 << enum transport: mail 1, sms 2, webhook 4 */
};
struct cfg_step {
    int level; /* from 1, ascending */
    enum step_anchor anchor;
    int64_t offset_us; /* may be negative */
    uint8_t priorities; /* bits 1 << enum priority */
    unsigned stops_on;
    unsigned repeat_times;
    int64_t repeat_every_us;
    struct cfg_tell *tell;
    size_t ntell;
    struct mark mark;
};
enum target_kind { TARGET_ACKNOWLEDGE, TARGET_FIRST_RESPONSE, TARGET_RESOLVE, TARGET_COUNT };
const char *target_name(enum target_kind k); /* "acknowledge", "first-response", "resolve" */
struct cfg_policy {
    char *name, *calendar;
    char version[17]; /* hex of a digest over its text */
    int64_t target_us[PRIO_COUNT][TARGET_COUNT];
    struct cfg_step *steps;
    size_t nsteps;
    struct mark mark;
};
struct cfg_calendar {
    char *name, *zone; /* IANA */
    bool always;       /* 24x7, the only kind for now */
    struct mark mark;
};

/* ---- rules ---- */
enum rule_field { RF_TEXT, RF_SUBJECT, RF_ANY, RF_COUNT }; /* RF_ANY: subject or text */
struct cfg_phrase { /* one literal or regular expression, as written */
    char *text;
    enum rule_field field;
    bool regex;
    struct mark mark;
};
struct cfg_condition_group { /* true when any phrase of it occurs */
    struct cfg_phrase *v;
    size_t n;
};
struct cfg_rule {
    char *id;
    /* all given conditions must hold; inside a list, any */
    struct cfg_condition_group *all; /* when.any / when.text / when.subject / when.regex, and each list in when.all */
    size_t nall;
    struct cfg_condition_group none; /* unless: no phrase of it may occur */
    struct strlist senders;          /* globs over the address or number: "*@shop.example" */
    struct strlist desks, channels, languages, customer_flags;
    int attachments;                 /* -1 not asked, 0 none, 1 at least one */
    char *category; /* "" = leaves it */
    int priority;   /* enum priority or -1 */
    char *team;     /* "" */
    char *region;   /* "" */
    struct strlist tags, flags, skills;
    struct strlist about; /* teams, members and contacts that it is about */
    struct mark mark;
};
struct cfg_rule_test {
    char *subject, *text, *sender, *desk, *channel;
    char *category, *priority, *team, *region; /* expected; "" = not asked */
    struct strlist tags, about;
    struct mark mark;
};
struct cfg_rules {
    struct cfg_rule *v;
    size_t n;
    struct cfg_rule_test *tests;
    size_t ntests;
    char version[17]; /* hex of a digest over all rule files */
};
struct cfg_category {
    char *name, *team; /* team "" = the desk's default */
    struct mark mark;
};
struct cfg_template { /* purpose.transport.language[.desk].txt */
    char *purpose;    /* "acknowledgement", "escalation", … */
    char *transport;  /* "mail", "sms" */
    char *language;
    char *desk;       /* for its complaints only; NULL: for all */
    char *subject;    /* mail only, "" otherwise */
    char *text;
    struct mark mark;
};

struct config {
    /* general */
    char *instance, *hostname, *state_dir;
    int log_level; /* enum log_level */
    bool log_pii;
    struct network *trusted_clients;
    size_t ntrusted_clients;
    /* database */
    char *database_dsn;
    int64_t database_commit_budget_us, database_reconnect_max_us, database_read_timeout_us;
    uint64_t database_batch_rows, database_batch_bytes, database_read_connections, database_read_queue;
    /* intake */
    uint64_t intake_max_items, intake_max_bytes;
    uint64_t intake_tight_at, intake_tight_until, intake_shed_at, intake_shed_until; /* percent */
    uint64_t intake_large_bytes;
    int64_t intake_tight_timeout_us;
    /* triage */
    uint64_t triage_workers; /* 0 = one per core */
    uint64_t triage_in_flight, triage_large_in_flight, triage_queue;
    int64_t triage_deadline_us, triage_budget_us; /* job in a worker; until stored as pending */
    uint64_t triage_memory_bytes, triage_cpu_seconds, triage_match_bytes;
    char *default_language, *fallback_team;
    char *conflict_team; /* of what is about the team that would get it; "" = the first that it is not about */
    int64_t reopen_window_us;
    /* tls, of every listener that has it */
    struct cfg_certificate *certificates;
    size_t ncertificates;
    int tls_min_version; /* as OpenSSL numbers them: 0x0303 is 1.2, 0x0304 is 1.3 */
    int64_t tls_poll_us;
    /* mail in */
    struct listen_addr *mail_listen, *mail_listen_tls, *mail_lmtp_listen;
    size_t nmail_listen, nmail_listen_tls, nmail_lmtp_listen;
    bool mail_require_tls;
    int64_t mail_tls_handshake_timeout_us;
    int mail_lmtp_access; /* mode of unix sockets */
    char *mail_lmtp_group;
    struct network *mail_proxy_from;
    size_t nmail_proxy_from;
    int64_t mail_proxy_timeout_us;
    uint64_t mail_max_pipelined;
    char *mail_tag_separator;  /* one character, or "" */
    char *mail_postmaster_desk; /* "" = the first */
    uint64_t mail_max_message_bytes, mail_max_recipients, mail_max_connections, mail_max_connections_per_address;
    uint64_t mail_max_errors, mail_max_junk_commands, mail_max_command_bytes, mail_max_mails_per_session;
    uint64_t mail_max_header_bytes, mail_max_header_fields, mail_max_line_bytes, mail_max_hops;
    uint64_t mail_errors_before_delay, mail_max_unknown_recipients, mail_ipv6_prefix;
    int64_t mail_error_delay_us, mail_greeting_delay_us;
    int64_t mail_command_timeout_us, mail_data_timeout_us;
    uint64_t mail_min_rate; /* bytes a second */
    uint64_t mail_max_reading_share; /* percent of intake_max_bytes */
    uint64_t mail_stress_at, mail_stress_until, mail_stress_max_errors, mail_stress_max_junk_commands;
    int64_t mail_stress_timeout_us;
    bool mail_reject_early; /* clients that talk before it is their turn */
    bool mail_reject_bare_lf, mail_reject_bare_cr, mail_reject_nul;
    /* mail out */
    char *mail_relay_host; /* the only relay when there are no mail_relays; config_relay() knows */
    uint64_t mail_relay_port;
    char *mail_relay_tls;
    char *mail_relay_user, *mail_relay_password, *mail_relay_ca_file;
    struct cfg_relay *mail_relays;
    size_t nmail_relays;
    uint64_t mail_relay_batch, mail_relay_down_after;
    int64_t mail_relay_retry_us;
    char *mail_from, *mail_from_name;
    uint64_t mail_workers;
    int64_t mail_send_timeout_us;
    /* threads */
    struct cfg_thread_key *thread_keys; /* the first signs, all verify */
    size_t nthread_keys;
    int64_t threads_fresh_us, threads_max_age_us;
    uint64_t threads_drift, threads_age, threads_done, threads_join_at; /* points */
    /* loops */
    uint64_t loops_max_hops, loops_answers_per_address, loops_storm_mails;
    int64_t loops_storm_window_us, loops_task_delay_us;
    /* scan */
    char *scan_rspamd_url, *scan_rspamd_password; /* "": not asked; "" */
    int64_t scan_rspamd_timeout_us, scan_clamd_timeout_us, scan_rescan_us;
    uint64_t scan_rspamd_max_bytes, scan_clamd_max_bytes, scan_in_flight;
    struct listen_addr *scan_clamd; /* one, or none: not asked */
    size_t nscan_clamd;
    struct strlist scan_trusted_authserv_ids;
    struct network *scan_authserv_from;
    size_t nscan_authserv_from;
    /* http */
    struct listen_addr *http_listen, *metrics_listen;
    size_t nhttp_listen, nmetrics_listen;
    uint64_t http_max_body_bytes, http_max_header_bytes, http_max_connections;
    int64_t http_request_timeout_us;
    /* web */
    uint64_t web_max_body_bytes, web_max_json_bytes, web_max_files, web_max_client_requests, web_max_client_bytes;
    int64_t web_body_timeout_us;
    /* line */
    struct listen_addr *line_listen; /* TCP and unix; a unix listener uses peer credentials: root and the daemon's user are admin */
    size_t nline_listen;
    struct listen_addr *line_listen_tls;
    size_t nline_listen_tls;
    bool line_require_tls;
    uint64_t line_max_line_bytes, line_max_connections, line_max_in_flight;
    uint64_t line_rate, line_burst; /* requests a second of one client, 0: no limit; requests at once */
    uint64_t line_max_subscriptions;
    int64_t line_idle_timeout_us, line_tls_handshake_timeout_us, line_subscribe_poll_us, line_subscribe_heartbeat_us;
    struct cfg_client *clients;
    size_t nclients;
    /* who and what */
    struct cfg_desk *desks;
    size_t ndesks;
    struct cfg_team *teams;
    size_t nteams;
    struct cfg_contact *contacts;
    size_t ncontacts;
    struct cfg_webhook *webhooks;
    size_t nwebhooks;
    struct cfg_sms_provider *sms_providers;
    size_t nsms_providers;
    struct strlist causes, remedies; /* codes of RESOLVE; none: free text */
    int64_t cases_close_after_us;    /* 0: never */
    struct cfg_category *categories;
    size_t ncategories;
    struct cfg_policy *policies;
    size_t npolicies;
    char *default_policy;
    struct cfg_calendar *calendars;
    size_t ncalendars;
    struct cfg_rules rules;
    struct cfg_template *templates;
    size_t ntemplates;
    /* notify */
    uint64_t notify_batch; /* rows claimed at once */
    int64_t notify_poll_us, notify_lease_us, notify_retry_base_us, notify_retry_max_us;
    uint64_t notify_max_attempts; /* operational class; courtesy gets 3, statutory `notify_statutory_life_us` */
    int64_t notify_statutory_life_us;
    bool notify_paused; /* rows are written, nothing is sent (for measuring) */

    struct strlist files; /* every file read, for marks */
    char hash[17];        /* hex digest over all files */
};

/* Reads FILE and what it names (rules, policies, calendars, templates, secrets; paths relative to FILE). All faults are
 * collected; NULL when there is any. */
struct config *config_load(const char *path, struct faults *f);
void config_free(struct config **c);
/* A reload: `live` gets every reloadable option of `fresh`, which gets the old values and keeps the options that need a restart; the
 * pointers that others have to `live` hold, those to a string or list in it live until `fresh` is freed. Appends the names of the
 * options that were changed, and of those that differ but need a restart. */
void config_take(struct config *live, struct config *fresh, struct strlist *ret_changed, struct strlist *ret_restart);

/* Look-ups; NULL when there is none. */
const struct cfg_desk *config_desk(const struct config *c, const char *name);
/* The desk that owns a recipient address: the address itself, then without its tag (mail.tag_separator), then a desk that has
 * "*@domain"; case-insensitive. `postmaster` and `abuse`, bare or at any domain of ours, that no desk has as an address belong to
 * config_postmaster_desk(). */
const struct cfg_desk *config_desk_by_address(const struct config *c, const char *address);
/* mail.postmaster_desk, else the first desk; NULL when there is none. */
const struct cfg_desk *config_postmaster_desk(const struct config *c);
bool config_takes_mail(const struct config *c); /* there is a listener for mail */
/* The first address that one can write to (not "*@domain"); NULL when there is none. */
const char *config_desk_address(const struct cfg_desk *d);
/* A desk has an address in it, or it is our host name. */
bool config_domain_is_ours(const struct config *c, const char *domain);
/* The relays in the order in which they are asked: mail.relays, else the one of mail.relay. At least one. Strings are borrowed. */
size_t config_relays(const struct config *c);
struct cfg_relay config_relay(const struct config *c, size_t i);
const struct cfg_team *config_team(const struct config *c, const char *name);
/* The first membership of a person; NULL: in no team. */
const struct cfg_member *config_member(const struct config *c, const char *name);
bool config_team_has(const struct cfg_team *t, const char *member);
const struct cfg_policy *config_policy(const struct config *c, const char *name);
const struct cfg_category *config_category(const struct config *c, const char *name);
const struct cfg_webhook *config_webhook(const struct config *c, const char *name);
/* A team's or named contact's ways; "team" is not resolved here. */
const struct contact *config_contact(const struct config *c, const char *name);
/* Best template: exact language, else its first part ("zh" of "zh-TW"), else default_language, else any; of two that are as good the
 * desk's own. `desk` may be NULL. */
const struct cfg_template *config_template(const struct config *c, const char *desk, const char *purpose, const char *transport,
                                           const char *language);
/* Every client is compared, found or not, in constant time. */
const struct cfg_client *config_client_by_token(const struct config *c, const char *token);
bool config_trusted(const struct config *c, const char *numeric_address);
bool config_in_networks(const struct network *v, size_t n, const char *numeric_address);
/* Prints every option: name, type, default, bounds, meaning. From the option tables. */
enum describe_form { DESCRIBE_TEXT, DESCRIBE_MARKDOWN };
void config_describe(enum describe_form form, struct buf *out);
/* Every option with the value in use; lists of things give a row for each key of each entry. A secret's value is "(secret)" or "". */
struct config_value {
    const char *path, *value, *def;
    bool reloads, secret; /* reloads: a reload takes it over */
};
typedef void (*config_visit)(void *arg, const struct config_value *v);
void config_show(const struct config *c, config_visit visit, void *arg);
/* The placeholders that templates may use, without braces; ends with NULL. `n` is the length of `name`. */
extern const char *const config_template_names[];
bool config_template_name_known(const char *name, size_t n);
