/* Checks over the whole configuration, once everything is read: names that must exist, names that must be
 * unique, options that must fit each other. They add faults with the place of the value that is wrong. */
#include "config/load.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

void ref_add(struct loader *l, enum ref_kind kind, const char *name, struct mark m)
{
    if (l->nrefs == l->size_refs) {
        l->size_refs = l->size_refs ? l->size_refs * 2 : 64;
        l->refs = cd_realloc(l->refs, l->size_refs * sizeof *l->refs);
    }
    l->refs[l->nrefs++] = (struct reference){kind, name, m};
}

static bool calendar_known(const struct config *c, const char *name)
{
    for (size_t i = 0; i < c->ncalendars; i++)
        if (str_eq(c->calendars[i].name, name))
            return true;
    return false;
}

bool ref_known(const struct config *c, enum ref_kind kind, const char *name)
{
    switch (kind) {
    case REF_TEAM:
        return config_team(c, name);
    case REF_DESK:
        return config_desk(c, name);
    case REF_TOLD:
        return str_eq(name, "team") || config_contact(c, name);
    case REF_WEBHOOK:
        return config_webhook(c, name);
    case REF_POLICY:
        return config_policy(c, name);
    case REF_CALENDAR:
        return calendar_known(c, name);
    case REF_EXPECTED_CATEGORY:
        return str_eq(name, "unclassified") || config_category(c, name);
    case REF_CATEGORY:
        return config_category(c, name);
    case REF_MEMBER:
        return config_contact(c, name) || config_member(c, name); /* teams are contacts, too */
    default:
        return true;
    }
}

static const struct ref_words {
    const char *noun, *where;
    size_t array, count, item, name;
} ref_words[REF_KINDS] = {
#define WORDS(n, w, a, k, t)                                                                                 \
    {                                                                                                        \
        n, w, offsetof(struct config, a), offsetof(struct config, k), sizeof(struct t),                      \
            offsetof(struct t, name)                                                                         \
    }
    [REF_TEAM] = WORDS("team", "below `teams:`", teams, nteams, cfg_team),
    [REF_DESK] = WORDS("desk", "below `desks:`", desks, ndesks, cfg_desk),
    [REF_TOLD] = WORDS("contact or team", "below `contacts:`", contacts, ncontacts, cfg_contact),
    [REF_WEBHOOK] = WORDS("webhook", "below `webhooks:`", webhooks, nwebhooks, cfg_webhook),
    [REF_POLICY] = WORDS("policy", "in a file that `policies:` names, such as policies/*.yaml", policies,
                         npolicies, cfg_policy),
    [REF_CALENDAR] = WORDS("calendar", "in a file that `calendars:` names, such as calendars/*.yaml",
                           calendars, ncalendars, cfg_calendar),
    [REF_CATEGORY] = WORDS("category", "below `categories:`", categories, ncategories, cfg_category),
    [REF_MEMBER] = WORDS("team, member or contact", "below `teams:` or `contacts:`", teams, nteams, cfg_team),
    [REF_EXPECTED_CATEGORY] = WORDS("category", "below `categories:`", categories, ncategories, cfg_category),
};

static const char *nearest_name(const struct config *c, const struct ref_words *w, const char *name)
{
    const char *array = *(char *const *)((const char *)c + w->array);
    size_t n = *(const size_t *)((const char *)c + w->count);
    const char **names = cd_alloc((n + 1) * sizeof *names);
    for (size_t i = 0; i < n; i++)
        names[i] = *(char *const *)(array + i * w->item + w->name);
    const char *near = suggest(name, names, n);
    free(names);
    return near && *near ? near : NULL;
}

void check_references(struct loader *l)
{
    const struct config *c = l->c;
    for (size_t i = 0; i < l->nrefs; i++) {
        const struct reference *r = &l->refs[i];
        enum ref_kind source = r->kind == REF_EXPECTED_CATEGORY ? REF_CATEGORY : r->kind;
        bool also_teams = r->kind == REF_TOLD || r->kind == REF_MEMBER;
        bool unsure = l->incomplete[source] || (also_teams && l->incomplete[REF_TEAM]) ||
                      (r->kind == REF_MEMBER && l->incomplete[REF_TOLD]);
        if (unsure || ref_known(c, r->kind, r->name))
            continue;
        if (faults_full(l->f)) {
            faults_add(l->f, r->mark, "unknown name");
            continue;
        }
        const struct ref_words *w = &ref_words[r->kind];
        const char *near = nearest_name(c, w, r->name);
        if (near)
            faults_add(l->f, r->mark, "there is no %s '%s': write '%s', or add it %s", w->noun, show(r->name),
                       near, w->where);
        else
            faults_add(l->f, r->mark, "there is no %s '%s': add it %s, or write another", w->noun,
                       show(r->name), w->where);
    }
}

struct named {
    const char *name;
    struct mark mark;
    size_t order;
};

static int by_name(const void *a, const void *b)
{
    const struct named *x = a, *y = b;
    int r = strcmp(x->name, y->name);
    return r ? r : (x->order > y->order) - (x->order < y->order);
}

/* Sorted, so that 20,000 rules are checked in no time. */
static void check_unique(struct loader *l, const struct section *s, const void *array, size_t n)
{
    struct named *v = cd_alloc((n + 1) * sizeof *v);
    for (size_t i = 0; i < n; i++) {
        const char *item = (const char *)array + i * s->item_size;
        v[i] = (struct named){*(char *const *)(item + s->name_offset),
                              *(const struct mark *)(item + s->mark_offset), i};
    }
    qsort(v, n, sizeof *v, by_name);
    for (size_t i = 1; i < n; i++)
        if (*v[i].name && str_eq(v[i].name, v[i - 1].name))
            faults_add(l->f, v[i].mark, "a %s '%s' exists already (%s:%d): write another name", s->noun,
                       show(v[i].name), v[i - 1].mark.file, v[i - 1].mark.line);
    free(v);
}

/* Within a team a name is one person's; what rules say of a name must not be of a team and of a person. */
static void check_members(struct loader *l)
{
    const struct config *c = l->c;
    for (size_t t = 0; t < c->nteams; t++) {
        const struct cfg_team *team = &c->teams[t];
        check_unique(l, &section_members, team->members, team->nmembers);
        for (size_t i = 0; i < team->nmembers; i++)
            if (*team->members[i].name && config_team(c, team->members[i].name))
                faults_add(l->f, team->members[i].mark, "member '%s' has the name of a team: write another name",
                           show(team->members[i].name));
        if (team->assign != ASSIGN_NONE && !team->nmembers && !l->incomplete[REF_MEMBER])
            faults_add(l->f, team->mark, "team '%s' has assign: %s but no members: write members: [{name: NAME}], or leave assign out",
                       show(team->name), assign_name(team->assign));
    }
}

void check_names(struct loader *l)
{
    const struct config *c = l->c;
    check_unique(l, &section_desks, c->desks, c->ndesks);
    check_unique(l, &section_teams, c->teams, c->nteams);
    check_unique(l, &section_contacts, c->contacts, c->ncontacts);
    check_unique(l, &section_webhooks, c->webhooks, c->nwebhooks);
    check_unique(l, &section_clients, c->clients, c->nclients);
    check_unique(l, &section_sms_providers, c->sms_providers, c->nsms_providers);
    check_unique(l, &section_categories, c->categories, c->ncategories);
    check_unique(l, &section_policies, c->policies, c->npolicies);
    check_unique(l, &section_calendars, c->calendars, c->ncalendars);
    check_unique(l, &section_rules, c->rules.v, c->rules.n);
    for (size_t i = 0; i < c->ncontacts; i++)
        if (*c->contacts[i].name && config_team(c, c->contacts[i].name))
            faults_add(l->f, c->contacts[i].mark, "contact '%s' has the name of a team: write another name",
                       show(c->contacts[i].name));
    check_members(l);
    static const char reserved[] =
        "%s can't be named 'team', which is the owning team in ladders: write another name";
    for (size_t i = 0; i < c->nteams; i++)
        if (str_eq(c->teams[i].name, "team"))
            faults_add(l->f, c->teams[i].mark, reserved, "a team");
    for (size_t i = 0; i < c->ncontacts; i++)
        if (str_eq(c->contacts[i].name, "team"))
            faults_add(l->f, c->contacts[i].mark, reserved, "a contact");
}

void check_desks(struct loader *l)
{
    const struct config *c = l->c;
    for (size_t i = 0; i < c->ndesks; i++)
        for (size_t a = 0; a < c->desks[i].addresses.n; a++)
            for (size_t k = 0; k < i; k++)
                if (strlist_has(&c->desks[k].addresses, c->desks[i].addresses.v[a]))
                    faults_add(l->f, c->desks[i].mark,
                               "address %s belongs to desk '%s' already: give it to one desk",
                               c->desks[i].addresses.v[a], show(c->desks[k].name));
    const char *needs = c->nmail_listen        ? "mail.listen"
                        : c->nmail_listen_tls  ? "mail.listen_tls"
                        : c->nmail_lmtp_listen ? "mail.lmtp_listen"
                        : c->nhttp_listen   ? "http.listen"
                        : c->nclients       ? "clients"
                        : c->nsms_providers ? "sms.providers"
                                            : NULL;
    if (needs && !c->ndesks && !l->incomplete[REF_DESK]) /* none written, or an empty list */
        faults_add(l->f, root_mark(l, needs),
                   "%s is given but there is no desk: write `desks:` with a name and addresses", needs);
    size_t addresses = 0;
    for (size_t i = 0; i < c->ndesks; i++)
        addresses += c->desks[i].addresses.n;
    if (config_takes_mail(c) && c->ndesks && !addresses)
        faults_add(l->f, root_mark(l, "desks"),
                   "mail is taken in but no desk has an address: write addresses: "
                   "[care@example.com] for one");
}

/* Whether a step's entry can reach somebody, whichever team owns the complaint; *ret_team names one that it
 * can't. */
static bool tell_reaches(const struct config *c, const struct cfg_tell *t, const char **ret_team)
{
    const struct contact *one = config_contact(c, t->contact);
    size_t n = one ? 1 : c->nteams;
    for (size_t i = 0; i < n; i++) {
        const struct contact *w = one ? one : &c->teams[i].contact;
        if ((t->by & 1 && *w->mail) || (t->by & 2 && *w->sms) || (t->by & 4 && *w->webhook))
            continue;
        *ret_team = one ? t->contact : c->teams[i].name;
        return false;
    }
    return n > 0;
}

/* A step that tells nobody is a hole in the ladder. */
void check_policies(struct loader *l)
{
    const struct config *c = l->c;
    if (l->incomplete[REF_TEAM] || l->incomplete[REF_TOLD] || !c->nteams)
        return;
    for (size_t p = 0; p < c->npolicies; p++)
        for (size_t s = 0; s < c->policies[p].nsteps; s++) {
            const struct cfg_step *step = &c->policies[p].steps[s];
            bool reaches = step->ntell == 0, known = true;
            const char *who = NULL;
            for (size_t i = 0; i < step->ntell; i++) {
                known = known && *step->tell[i].contact && ref_known(c, REF_TOLD, step->tell[i].contact);
                reaches = reaches || tell_reaches(c, &step->tell[i], &who);
            }
            if (known && !reaches && who)
                faults_add(l->f, step->mark,
                           "level %d reaches nobody at '%s': give it an address for one of the "
                           "transports, or name another transport or contact",
                           step->level, show(who));
            if (step->ntell == 0)
                faults_add(l->f, step->mark,
                           "level %d tells nobody: write tell: [{contact: team, by: [mail]}]", step->level);
        }
}

static bool mail_goes_out(const struct config *c)
{
    bool any = config_takes_mail(c);
    for (size_t i = 0; i < c->nteams; i++)
        any = any || *c->teams[i].contact.mail;
    for (size_t i = 0; i < c->nteams; i++)
        for (size_t k = 0; k < c->teams[i].nmembers; k++)
            any = any || *c->teams[i].members[k].contact.mail;
    for (size_t i = 0; i < c->ncontacts; i++)
        any = any || *c->contacts[i].contact.mail;
    return any;
}

/* One relay, called `name`, and where its parts were written. */
static void check_relay(struct loader *l, const struct cfg_relay *r, const char *name, struct mark user, struct mark password,
                        struct mark ca_file)
{
    if (*r->user && !*r->password)
        faults_add(l->f, user, "%s has a user but no password: write password_file: PATH beside it", name);
    if (!*r->user && *r->password)
        faults_add(l->f, password, "%s has a password but no user: write user: NAME beside it", name);
    if (*r->user && str_eq(r->tls, "none") && !host_is_loopback(r->host))
        faults_add(l->f, user, "the password for %s would cross the network in clear: write tls: starttls", name);
    if (*r->ca_file && access(r->ca_file, R_OK) != 0)
        faults_add(l->f, ca_file, "%s can't be read: name a file of certificates (PEM)", r->ca_file);
}

static void check_relays(struct loader *l)
{
    static const char *const single[] = {"mail.relay.host", "mail.relay.port",     "mail.relay.tls",
                                         "mail.relay.user", "mail.relay.password", "mail.relay.ca_file"};
    const struct config *c = l->c;
    char name[128];
    if (!c->nmail_relays) {
        struct cfg_relay one = config_relay(c, 0);
        bool told = *one.user && !*one.password && root_given(l, "mail.relay.password"); /* it could not be read */
        one.password = told ? one.user : one.password;
        check_relay(l, &one, "mail.relay", root_mark(l, "mail.relay.user"), root_mark(l, "mail.relay.password"),
                    root_mark(l, "mail.relay.ca_file"));
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(single); i++)
        if (root_given(l, single[i])) {
            faults_add(l->f, root_mark(l, single[i]), "mail.relay and mail.relays are both given: make it an entry of mail.relays");
            break;
        }
    for (size_t i = 0; i < c->nmail_relays; i++) {
        const struct cfg_relay *r = &c->mail_relays[i];
        snprintf(name, sizeof name, "relay '%s'", show(r->host));
        if (*r->host)
            check_relay(l, r, name, r->mark, r->mark, r->mark);
        for (size_t k = 0; k < i; k++)
            if (*r->host && str_ieq(r->host, c->mail_relays[k].host) && r->port == c->mail_relays[k].port)
                faults_add(l->f, r->mark, "%s is there already: keep one of them", name);
    }
}

static void check_mail(struct loader *l)
{
    const struct config *c = l->c;
    if (!*c->mail_from && mail_goes_out(c) && !root_given(l, "mail.from"))
        faults_add(l->f, root_mark(l, c->nmail_listen ? "mail.listen" : c->nmail_lmtp_listen ? "mail.lmtp_listen" : "teams"),
                   "mail.from is missing: write below `mail:` a line such as from: complaints@example.com");
    if (strlen(c->mail_tag_separator) > 1 || (*c->mail_tag_separator && !strchr("+-_=#!~^%", *c->mail_tag_separator)))
        faults_add(l->f, root_mark(l, "mail.tag_separator"), "mail.tag_separator is one of the characters + - _ = # ! ~ ^ %%, or \"\"");
    check_relays(l);
    if (c->mail_max_message_bytes > c->intake_max_bytes)
        faults_add(l->f,
                   root_mark(l, root_given(l, "mail.max_message") ? "mail.max_message" : "intake.max_bytes"),
                   "mail.max_message is bigger than intake.max_bytes, no such mail would ever be taken: "
                   "write a smaller one");
}

/* What is in the files is looked at by the daemon, again and again; a name that leads nowhere is a slip of the pen. */
static void check_tls(struct loader *l)
{
    const struct config *c = l->c;
    for (size_t i = 0; i < c->ncertificates; i++) {
        const struct cfg_certificate *x = &c->certificates[i];
        const char *files[] = {x->certificate, x->key};
        for (size_t k = 0; k < ARRAY_LEN(files); k++)
            if (*files[k] && access(files[k], R_OK) != 0)
                faults_add(l->f, x->mark, "%s can't be read: name a PEM file that the daemon's user may read", files[k]);
    }
    const char *needs = c->nmail_listen_tls   ? "mail.listen_tls"
                        : c->mail_require_tls ? "mail.require_tls"
                        : c->nline_listen_tls ? "line.listen_tls"
                        : c->line_require_tls ? "line.require_tls"
                                              : NULL;
    if (needs && !c->ncertificates && !root_given(l, "tls.certificates"))
        faults_add(l->f, root_mark(l, needs), "%s needs a certificate: write `tls:` with certificates: [{certificate: FILE, key: FILE}]",
                   needs);
}

/* Without a distance between entering and leaving a mode, the daemon would flicker between the two. */
static void check_gate(struct loader *l)
{
    const struct config *c = l->c;
    const struct {
        uint64_t less, more;
        const char *name, *other;
    } pairs[] = {
        {c->intake_tight_until, c->intake_tight_at, "intake.tight_until", "intake.tight_at"},
        {c->intake_shed_until, c->intake_shed_at, "intake.shed_until", "intake.shed_at"},
        {c->intake_tight_at, c->intake_shed_at, "intake.tight_at", "intake.shed_at"},
        {c->intake_tight_until, c->intake_shed_until, "intake.tight_until", "intake.shed_until"},
        {c->mail_stress_until, c->mail_stress_at, "mail.stress_until", "mail.stress_at"},
    };
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++)
        if (pairs[i].less >= pairs[i].more)
            faults_add(l->f, root_mark(l, root_given(l, pairs[i].name) ? pairs[i].name : pairs[i].other),
                       "%s must be under %s: write a number under %llu", pairs[i].name, pairs[i].other,
                       (unsigned long long)pairs[i].more);
}

/* The same address for two servers. */
static void check_listeners(struct loader *l)
{
    const struct config *c = l->c;
    const struct listen_addr *all[] = {c->mail_listen, c->mail_listen_tls, c->mail_lmtp_listen, c->http_listen, c->metrics_listen, c->line_listen, c->line_listen_tls};
    const size_t n[] = {c->nmail_listen, c->nmail_listen_tls, c->nmail_lmtp_listen, c->nhttp_listen, c->nmetrics_listen, c->nline_listen, c->nline_listen_tls};
    struct strlist seen = {0};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        for (size_t k = 0; k < n[i]; k++) {
            if (strlist_has(&seen, all[i][k].text))
                faults_add(l->f, all[i][k].mark, "%s is listened on already: write another port",
                           show(all[i][k].text));
            strlist_add(&seen, all[i][k].text);
        }
    strlist_free(&seen);
}

static void check_scan(struct loader *l)
{
    static const char http[] = "http://";
    const struct config *c = l->c;
    const char *url = c->scan_rspamd_url, *host = url + strlen(http);
    bool local = str_istarts(url, http) && (str_starts(host, "127.") || str_starts(host, "[::1]") || str_istarts(host, "localhost"));
    if (*url && !local && !(str_istarts(url, "https://") && url[strlen("https://")]))
        faults_add(l->f, root_mark(l, "scan.rspamd.url"),
                   "scan.rspamd.url is neither http:// to this host nor https://: write one such as http://127.0.0.1:11333");
    if (*url && url[strlen(url) - 1] == '/')
        faults_add(l->f, root_mark(l, "scan.rspamd.url"), "scan.rspamd.url ends with a slash: leave it out");
    if (c->nscan_clamd > 1)
        faults_add(l->f, c->scan_clamd[1].mark, "scan.clamd.address is one address: leave the others out");
    if (c->nscan_authserv_from && !c->scan_trusted_authserv_ids.n)
        faults_add(l->f, root_mark(l, "scan.authserv_from"),
                   "scan.authserv_from has no effect without scan.trusted_authserv_ids: write the names that those servers use");
}

#define KEY_BYTES 16
static void check_thread_keys(struct loader *l)
{
    const struct config *c = l->c;
    for (size_t i = 0; i < c->nthread_keys; i++) {
        const struct cfg_thread_key *x = &c->thread_keys[i];
        if (!*x->id || !*x->secret)
            continue; /* told already */
        if (strlen(x->id) != 1 || !strchr("123456789abcdefghijklmnopqrstuvwxyz", *x->id))
            faults_add(l->f, x->mark, "the id of a key is one character of 1-9 and a-z, not '%s': write one of those", show(x->id));
        if (strlen(x->secret) < KEY_BYTES)
            faults_add(l->f, x->mark, "the secret of key '%s' is short: write at least %d bytes, random ones", show(x->id), KEY_BYTES);
        for (size_t k = 0; k < i; k++)
            if (str_eq(x->id, c->thread_keys[k].id)) {
                faults_add(l->f, x->mark, "there are two keys '%s': give each an id of its own", show(x->id));
                break;
            }
    }
}

static void check_providers(struct loader *l)
{
    const struct config *c = l->c;
    for (size_t i = 0; i < c->nsms_providers; i++)
        for (const char *p = c->sms_providers[i].name; *p; p++)
            if (*p & 0x80) {
                faults_add(l->f, c->sms_providers[i].mark,
                           "the provider's name is part of a URL: write letters and digits "
                           "without accents");
                break;
            }
}

void check_general(struct loader *l)
{
    const struct config *c = l->c;
    check_mail(l);
    check_tls(l);
    check_gate(l);
    check_listeners(l);
    check_scan(l);
    clients_settle(l);
    check_providers(l);
    check_thread_keys(l);
    if (c->state_dir[0] != '/' && root_given(l, "state_dir") && !*l->dir)
        faults_add(l->f, root_mark(l, "state_dir"), "state_dir is relative: write an absolute path");
    if (c->notify_retry_base_us > c->notify_retry_max_us)
        faults_add(
            l->f, root_mark(l, root_given(l, "notify.retry_base") ? "notify.retry_base" : "notify.retry_max"),
            "notify.retry_base is longer than notify.retry_max: write a shorter one");
}
