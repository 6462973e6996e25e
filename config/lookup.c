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

/* Whether a desk's address is `local`@`domain`, both of given length. */
static bool address_is(const char *address, const char *local, size_t nlocal, const char *domain)
{
    const char *at = strrchr(address, '@');
    if (!at || (size_t)(at - address) != nlocal || !str_ieq(at + 1, domain))
        return false;
    for (size_t i = 0; i < nlocal; i++) {
        char a[2] = {address[i]}, b[2] = {local[i]};
        if (!str_ieq(a, b))
            return false;
    }
    return true;
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

static bool domain_is_ours(const struct config *c, const char *domain)
{
    for (size_t i = 0; i < c->ndesks; i++)
        for (size_t k = 0; k < c->desks[i].addresses.n; k++) {
            const char *at = strrchr(c->desks[i].addresses.v[k], '@');
            if (at && str_ieq(at + 1, domain))
                return true;
        }
    return false;
}

const struct cfg_desk *config_desk_by_address(const struct config *c, const char *address)
{
    if (!address || !c->ndesks)
        return NULL;
    const char *at = strrchr(address, '@');
    size_t n = at ? (size_t)(at - address) : strlen(address);
    size_t untagged = CD_MIN(strcspn(address, "+"), n);
    if (at) {
        const struct cfg_desk *d = desk_with(c, address, n, at + 1);
        if (!d && untagged > 0 && untagged < n)
            d = desk_with(c, address, untagged, at + 1);
        if (d)
            return d;
    }
    /* RFC 5321 4.5.1: postmaster is taken in, also without a domain; RFC 2142 gives abuse the same standing.
     */
    bool role = (untagged == 10 && str_istarts(address, "postmaster")) ||
                (untagged == 5 && str_istarts(address, "abuse"));
    return role && (!at || domain_is_ours(c, at + 1)) ? &c->desks[0] : NULL;
}

const struct cfg_team *config_team(const struct config *c, const char *name)
{
    for (size_t i = 0; i < c->nteams; i++)
        if (str_eq(c->teams[i].name, name))
            return &c->teams[i];
    return NULL;
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

const struct cfg_template *config_template(const struct config *c, const char *purpose, const char *transport,
                                           const char *language)
{
    const struct cfg_template *best = NULL;
    int rank = 0;
    for (size_t i = 0; i < c->ntemplates; i++) {
        const struct cfg_template *t = &c->templates[i];
        if (!str_eq(t->purpose, purpose) || !str_eq(t->transport, transport))
            continue;
        int r = language_rank(c, t->language, language);
        if (r > rank) {
            rank = r;
            best = t;
        }
    }
    return best;
}
