/* Look-ups in a loaded configuration. Results are owned by it; NULL when there is none. */
#include "config/load.h"

#include <string.h>


const struct cfg_desk *config_desk(const struct config *c, const char *name)
{
    for (size_t i = 0; i < c->ndesks; i++)
        if (str_eq(c->desks[i].name, name))
            return &c->desks[i];
    return NULL;
}

static bool ieq_n(const char *a, const char *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char x[2] = {a[i]}, y[2] = {b[i]};
        if (!str_ieq(x, y))
            return false;
    }
    return true;
}

/* Whether a desk's address is `local`@`domain`, the first of given length. */
static bool address_is(const char *address, const char *local, size_t nlocal, const char *domain)
{
    const char *at = strrchr(address, '@');
    return at && (size_t)(at - address) == nlocal && str_ieq(at + 1, domain) && ieq_n(address, local, nlocal);
}

static const struct cfg_desk *desk_with(const struct config *c, const char *local, size_t nlocal,
                                        const char *domain)
{
    for (size_t i = 0; i < c->ndesks; i++)
        for (size_t k = 0; k < c->desks[i].addresses.n; k++)
            if (address_is(c->desks[i].addresses.v[k], local, nlocal, domain))
                return &c->desks[i];
    return NULL;
}

bool config_domain_is_ours(const struct config *c, const char *domain)
{
    for (size_t i = 0; i < c->ndesks; i++)
        for (size_t k = 0; k < c->desks[i].addresses.n; k++) {
            const char *at = strrchr(c->desks[i].addresses.v[k], '@');
            if (at && str_ieq(at + 1, domain))
                return true;
        }
    return c->hostname && str_ieq(c->hostname, domain);
}

const struct cfg_desk *config_postmaster_desk(const struct config *c)
{
    const struct cfg_desk *d = c->mail_postmaster_desk && *c->mail_postmaster_desk ? config_desk(c, c->mail_postmaster_desk) : NULL;
    return d ? d : c->ndesks ? &c->desks[0] : NULL;
}

/* RFC 5321 4.5.1: postmaster is taken in, also without a domain; RFC 2142 gives abuse the same standing. */
static bool is_role(const char *local, size_t n)
{
    return (n == 10 && ieq_n(local, "postmaster", n)) || (n == 5 && ieq_n(local, "abuse", n));
}

/* Without its tag; the whole when it has none. A separator in front of everything begins none. */
static size_t untagged(const struct config *c, const char *local, size_t n)
{
    const char *mark = c->mail_tag_separator && *c->mail_tag_separator && n ? memchr(local, *c->mail_tag_separator, n) : NULL;
    return mark && mark > local ? (size_t)(mark - local) : n;
}

const struct cfg_desk *config_desk_by_address(const struct config *c, const char *address)
{
    if (!address || !c->ndesks)
        return NULL;
    const char *at = strrchr(address, '@');
    size_t n = at ? (size_t)(at - address) : strlen(address), bare = untagged(c, address, n);
    const struct cfg_desk *d = at ? desk_with(c, address, n, at + 1) : NULL;
    if (!d && at && bare < n)
        d = desk_with(c, address, bare, at + 1);
    if (!d && is_role(address, bare) && (!at || config_domain_is_ours(c, at + 1)))
        d = config_postmaster_desk(c);
    return d || !at ? d : desk_with(c, "*", 1, at + 1);
}

bool config_takes_mail(const struct config *c)
{
    return c->nmail_listen + c->nmail_listen_tls + c->nmail_lmtp_listen > 0;
}

const char *config_desk_address(const struct cfg_desk *d)
{
    for (size_t i = 0; i < d->addresses.n; i++)
        if (!str_starts(d->addresses.v[i], "*@"))
            return d->addresses.v[i];
    return NULL;
}

const struct cfg_team *config_team(const struct config *c, const char *name)
{
    for (size_t i = 0; i < c->nteams; i++)
        if (str_eq(c->teams[i].name, name))
            return &c->teams[i];
    return NULL;
}

const struct cfg_member *config_member(const struct config *c, const char *name)
{
    for (size_t t = 0; t < c->nteams; t++)
        for (size_t i = 0; i < c->teams[t].nmembers; i++)
            if (str_eq(c->teams[t].members[i].name, name))
                return &c->teams[t].members[i];
    return NULL;
}

bool config_team_has(const struct cfg_team *t, const char *member)
{
    for (size_t i = 0; i < t->nmembers; i++)
        if (str_eq(t->members[i].name, member))
            return true;
    return false;
}

const struct cfg_policy *config_policy(const struct config *c, const char *name)
{
    for (size_t i = 0; i < c->npolicies; i++)
        if (str_eq(c->policies[i].name, name))
            return &c->policies[i];
    return NULL;
}

const struct cfg_category *config_category(const struct config *c, const char *name)
{
    for (size_t i = 0; i < c->ncategories; i++)
        if (str_eq(c->categories[i].name, name))
            return &c->categories[i];
    return NULL;
}

size_t config_relays(const struct config *c)
{
    return c->nmail_relays ? c->nmail_relays : 1;
}

struct cfg_relay config_relay(const struct config *c, size_t i)
{
    if (c->nmail_relays)
        return c->mail_relays[i];
    return (struct cfg_relay){.host = c->mail_relay_host,
                              .port = c->mail_relay_port,
                              .tls = c->mail_relay_tls,
                              .user = c->mail_relay_user,
                              .password = c->mail_relay_password,
                              .ca_file = c->mail_relay_ca_file};
}

const struct cfg_webhook *config_webhook(const struct config *c, const char *name)
{
    for (size_t i = 0; i < c->nwebhooks; i++)
        if (str_eq(c->webhooks[i].name, name))
            return &c->webhooks[i];
    return NULL;
}

const struct contact *config_contact(const struct config *c, const char *name)
{
    const struct cfg_team *t = config_team(c, name);
    if (t)
        return &t->contact;
    for (size_t i = 0; i < c->ncontacts; i++)
        if (str_eq(c->contacts[i].name, name))
            return &c->contacts[i].contact;
    return NULL;
}

/* How well a template's language answers the wanted one: 4 exact … 1 any. */
static int language_rank(const struct config *c, const char *have, const char *want)
{
    char first[24] = "";
    size_t n = want ? strcspn(want, "-_") : 0;
    if (n && n < sizeof first)
        memcpy(first, want, n);
    if (want && str_ieq(have, want))
        return 4;
    if (*first && str_ieq(have, first))
        return 3;
    return str_ieq(have, c->default_language) ? 2 : 1;
}

const struct cfg_template *config_template(const struct config *c, const char *desk, const char *purpose, const char *transport,
                                           const char *language)
{
    const struct cfg_template *best = NULL;
    int rank = 0;
    for (size_t i = 0; i < c->ntemplates; i++) {
        const struct cfg_template *t = &c->templates[i];
        if (!str_eq(t->purpose, purpose) || !str_eq(t->transport, transport) || (t->desk && !str_eq(t->desk, desk)))
            continue;
        int r = 2 * language_rank(c, t->language, language) + (t->desk != NULL);
        if (r > rank) {
            rank = r;
            best = t;
        }
    }
    return best;
}
