/* The options of named things in the configuration file: desks, teams, contacts, webhooks, clients, SMS
 * providers, categories; and calendars, which have files of their own. Rules and policies: rules.c,
 * policies.c. */
#include "config/load.h"

#include <string.h>

static const struct choice roles[] = {
    {"intake", CFG_ROLE_INTAKE}, {"agent", CFG_ROLE_AGENT}, {"admin", CFG_ROLE_ADMIN}, {0}};
static const struct choice relay_tls[] = {{"none", 0}, {"starttls", 1}, {0}};
static const struct choice providers[] = {{"twilio", 0}, {0}};

#define SECTION(type, rows, word, ref, most)                                                                 \
    .noun = word, .options = rows, .item_size = sizeof(type), .mark_offset = offsetof(type, mark),           \
    .name_offset = offsetof(type, name), .kind = ref, .max = most

/* clang-format off */
#define AT(f) FIELD(struct cfg_desk, f)
static const struct option desk_options[] = {
    {"name", OPT_NAME, AT(name), .flags = OPT_REQUIRED, .doc = "Name in records and commands."},
    {"addresses", OPT_MAILS, AT(addresses),
     .doc = "Mail addresses of the desk; @example.com is every address of that domain that no desk has as its own."},
    {"languages", OPT_LANGUAGES, AT(languages),
     .doc = "Languages of answers, preferred first; triage.default_language when not given."},
    {"brand", OPT_STRING, AT(brand), .doc = "Name that customers know; mail.from_name when not given."},
    {"default_team", OPT_NAME, AT(default_team), .refers = REF_TEAM,
     .doc = "Team where neither rules nor category name one; triage.fallback_team when not given."},
    {"policy", OPT_NAME, AT(policy), .refers = REF_POLICY,
     .doc = "Targets and ladder; default_policy when not given."},
    {"from", OPT_MAIL, AT(from), .doc = "Address that answers carry; mail.from when not given."},
    {"phone_country", OPT_COUNTRY, AT(phone_country), .doc = "Calling code of numbers written without one."},
    {0},
};
const struct section section_desks = {SECTION(struct cfg_desk, desk_options, "desk", REF_DESK, 1000)};
#undef AT

#define AT(f) FIELD(struct cfg_certificate, f)
static const struct option certificate_options[] = {
    {"certificate", OPT_PATH, AT(certificate), .flags = OPT_REQUIRED,
     .doc = "PEM file: our certificate, then each that signed the one before it."},
    {"key", OPT_PATH, AT(key), .doc = "PEM file of its private key, without a passphrase; the certificate's file when not given."},
    {0},
};
const struct section section_certificates = {
    .noun = "certificate", .options = certificate_options, .item_size = sizeof(struct cfg_certificate),
    .mark_offset = offsetof(struct cfg_certificate, mark), .name_offset = NO_OFFSET, .max = 8};
#undef AT

#define AT(f) FIELD(struct cfg_relay, f)
static const struct option relay_options[] = {
    {"host", OPT_HOST, AT(host), .flags = OPT_REQUIRED, .doc = "Its name, or its IPv4 address."},
    {"port", OPT_COUNT, AT(port), .def = "25", .min = "1", .max = "65535", .unit = "port", .doc = "Its port."},
    {"tls", OPT_CHOICE_TEXT, AT(tls), .def = "none", .choices = relay_tls,
     .doc = "With starttls the session must be encrypted and the server's name must match its certificate."},
    {"user", OPT_STRING, AT(user), .doc = "User name; none: no authentication."},
    {"password", OPT_SECRET, AT(password), .doc = "Its password."},
    {"ca_file", OPT_PATH, AT(ca_file), .doc = "Certificates that the relay's is checked against; the system's when not given."},
    {0},
};
const struct section section_relays = {
    .noun = "relay", .options = relay_options, .item_size = sizeof(struct cfg_relay),
    .mark_offset = offsetof(struct cfg_relay, mark), .name_offset = NO_OFFSET, .max = CONFIG_RELAYS};
#undef AT

#define AT(f) FIELD(struct cfg_thread_key, f)
static const struct option thread_key_options[] = {
    {"id", OPT_STRING, AT(id), .flags = OPT_REQUIRED, .doc = "One of 1-9 and a-z; stands in what it signs."},
    {"secret", OPT_SECRET, AT(secret), .flags = OPT_REQUIRED, .doc = "16 bytes at least, random ones."},
    {0},
};
const struct section section_thread_keys = {
    .noun = "key", .options = thread_key_options, .item_size = sizeof(struct cfg_thread_key),
    .mark_offset = offsetof(struct cfg_thread_key, mark), .name_offset = NO_OFFSET, .max = 15};
#undef AT

#define AT(f) FIELD(struct cfg_member, f)
static const struct option member_options[] = {
    {"name", OPT_NAME, AT(name), .flags = OPT_REQUIRED, .doc = "Name in records and commands, and of the client that the person uses."},
    {"mail", OPT_MAIL, AT(contact.mail), .doc = "Where they are told by mail what they get."},
    {"sms", OPT_PHONE, AT(contact.sms), .doc = "Where they are told by SMS."},
    {"capacity", OPT_COUNT, AT(capacity), .def = "20", .min = "1", .max = "100000", .unit = "complaints",
     .doc = "Complaints that are not resolved which they may have before no more are given to them."},
    {"skills", OPT_NAMES, AT(skills), .doc = "What they can do; a complaint that needs skills goes to who has all of them."},
    {"regions", OPT_NAMES, AT(regions), .doc = "Regions whose complaints they get, besides those of none; every one when not given."},
    {0},
};
const struct section section_members = {SECTION(struct cfg_member, member_options, "member", REF_MEMBER, 1000)};
#undef AT

static const struct choice assigns[] = {{"none", ASSIGN_NONE}, {"round-robin", ASSIGN_ROUND_ROBIN}, {"load", ASSIGN_LOAD}, {0}};
#define AT(f) FIELD(struct cfg_team, f)
static const struct option team_options[] = {
    {"name", OPT_NAME, AT(name), .flags = OPT_REQUIRED, .doc = "Name in records and commands."},
    {"mail", OPT_MAIL, AT(contact.mail), .doc = "Where it is told by mail."},
    {"sms", OPT_PHONE, AT(contact.sms), .doc = "Where it is told by SMS."},
    {"webhook", OPT_NAME, AT(contact.webhook), .refers = REF_WEBHOOK,
     .doc = "Name of a webhook that tells it."},
    {"assign", OPT_CHOICE, AT(assign), .def = "none", .choices = assigns,
     .doc = "How its complaints are given to its members, oldest first: by turns, or to who has the least of their capacity."},
    {"members", OPT_ITEMS, ARRAY(struct cfg_team, members, nmembers), .items = &section_members, .doc = "Who works in it."},
    {0},
};
const struct section section_teams = {SECTION(struct cfg_team, team_options, "team", REF_TEAM, 5000)};
#undef AT

#define AT(f) FIELD(struct cfg_contact, f)
static const struct option contact_options[] = {
    {"name", OPT_NAME, AT(name), .flags = OPT_REQUIRED, .doc = "Name in ladders."},
    {"mail", OPT_MAIL, AT(contact.mail), .doc = "Where they are told by mail."},
    {"sms", OPT_PHONE, AT(contact.sms), .doc = "Where they are told by SMS."},
    {"webhook", OPT_NAME, AT(contact.webhook), .refers = REF_WEBHOOK,
     .doc = "Name of a webhook that tells them."},
    {0},
};
const struct section section_contacts = {
    SECTION(struct cfg_contact, contact_options, "contact", REF_TOLD, 5000)};
#undef AT

#define AT(f) FIELD(struct cfg_webhook, f)
static const struct option webhook_options[] = {
    {"name", OPT_NAME, AT(name), .flags = OPT_REQUIRED, .doc = "Name that teams and contacts use."},
    {"url", OPT_URL, AT(url), .flags = OPT_REQUIRED,
     .doc = "Where it is posted: https, or http to this host itself."},
    {"secret", OPT_SECRET, AT(secret), .flags = OPT_REQUIRED, .doc = "Key of the HMAC signature."},
    {0},
};
const struct section section_webhooks = {
    SECTION(struct cfg_webhook, webhook_options, "webhook", REF_WEBHOOK, 1000)};
#undef AT

#define AT(f) FIELD(struct cfg_client, f)
static const struct option client_options[] = {
    {"name", OPT_NAME, AT(name), .flags = OPT_REQUIRED,
     .doc = "Name in records; part of the key of what it submits."},
    {"token", OPT_SECRET, AT(token), .doc = "What it shows to be let in; this or token_sha256."},
    {"token_sha256", OPT_STRING, AT(token_hash), .flags = OPT_HIDDEN,
     .doc = "SHA-256 of its token in hexadecimal, so that the token stands nowhere; `complaintctl token` makes both."},
    {"role", OPT_CHOICE, AT(role), .def = "intake", .choices = roles, .doc = "What it may do."},
    {"desk", OPT_NAME, AT(desk), .refers = REF_DESK,
     .doc = "Desk of what it submits; the first of its desks, or of all, when not given."},
    {"desks", OPT_NAMES, AT(desks), .refers = REF_DESK,
     .doc = "Desks that it has to do with: it submits to them, and sees and changes their complaints alone; all desks when not given."},
    {"may_see_vulnerable", OPT_BOOL, AT(may_see_vulnerable), .def = "false",
     .doc = "true: it sees and sets the flag vulnerable of customers, as an admin does; each time it reads one is kept."},
    {0},
};
const struct section section_clients = {SECTION(struct cfg_client, client_options, "client", REF_NONE, 1000), .end = client_end};
#undef AT

#define AT(f) FIELD(struct cfg_sms_provider, f)
static const struct option provider_options[] = {
    {"name", OPT_NAME, AT(name), .flags = OPT_REQUIRED,
     .doc = "Last part of the webhook's path, /sms/PROVIDER/NAME."},
    {"provider", OPT_CHOICE_TEXT, AT(provider), .def = "twilio", .choices = providers,
     .doc = "Whose interface it has."},
    {"public_url", OPT_BASE_URL, AT(public_url), .flags = OPT_REQUIRED,
     .doc = "Under which the provider calls the HTTP server; part of what it signs."},
    {"account_sid", OPT_STRING, AT(account_sid), .flags = OPT_REQUIRED, .doc = "Account at the provider."},
    {"auth_token", OPT_SECRET, AT(auth_token), .flags = OPT_REQUIRED,
     .doc = "Its secret, for signatures and sending."},
    {"auth_token_old", OPT_SECRET, AT(auth_token_old),
     .doc = "A second secret that is valid while the first is changed."},
    {"from", OPT_STRING, AT(from), .flags = OPT_REQUIRED, .doc = "Number or messaging service that sends."},
    {"api_url", OPT_URL, AT(api_url), .def = "https://api.twilio.com",
     .doc = "Where messages are sent to: https, or http to this host itself."},
    {"desk", OPT_NAME, AT(desk), .refers = REF_DESK,
     .doc = "Desk of what comes in; the first desk when not given."},
    {0},
};
const struct section section_sms_providers = {
    SECTION(struct cfg_sms_provider, provider_options, "provider", REF_NONE, 100)};
#undef AT

#define AT(f) FIELD(struct cfg_category, f)
static const struct option category_options[] = {
    {"name", OPT_NAME, AT(name), .flags = OPT_REQUIRED, .doc = "Name that rules use."},
    {"team", OPT_NAME, AT(team), .refers = REF_TEAM,
     .doc = "Who owns such complaints; the desk's team when not given."},
    {0},
};
const struct section section_categories = {
    SECTION(struct cfg_category, category_options, "category", REF_CATEGORY, 1000)};
#undef AT

#define AT(f) FIELD(struct cfg_calendar, f)
static const struct option calendar_options[] = {
    {"name", OPT_NAME, AT(name), .flags = OPT_REQUIRED, .doc = "Name that policies use."},
    {"zone", OPT_ZONE, AT(zone), .def = "UTC", .doc = "Zone of the tz database whose days it counts."},
    {"always", OPT_BOOL, AT(always), .flags = OPT_REQUIRED, .doc = "true: every hour of every day counts."},
    {0},
};
/* clang-format on */

static void calendar_end(struct loader *l, void *item, struct yn node)
{
    const struct cfg_calendar *c = item;
    if (*c->name && !c->always && !l->incomplete[REF_CALENDAR])
        for (size_t i = 0; i < yn_pairs(node); i++)
            if (str_eq(yn_text(yn_key(node, i)), "always") && str_eq(yn_text(yn_value(node, i)), "false"))
                faults_add(
                    l->f, yn_mark(yn_value(node, i)),
                    "calendar '%s' has no working time: write always: true, the only kind there is so far",
                    show(c->name));
}

const struct section section_calendars = {
    SECTION(struct cfg_calendar, calendar_options, "calendar", REF_CALENDAR, 1000),
    .end = calendar_end,
};

const struct option calendars_file_options[] = {
    {"calendars", OPT_ITEMS, ARRAY(struct config, calendars, ncalendars), .items = &section_calendars,
     .flags = OPT_REQUIRED, .doc = "The list of calendars."},
    {0},
};
