/* How many sessions each address has open, and how much memory the mails have that it is sending: a hash table of chains, an entry
 * for as long as there is a session. Owned by the server. Its size is bounded by mail.max_connections; its seed is random, so that
 * nobody can aim for one chain. */
#include "channels/mail/smtp.h"

#include <string.h>

struct smtp_peer {
    struct smtp_peer *next;
    struct in6_addr addr;
    unsigned sessions;
    size_t reading; /* bytes */
};

static uint64_t seed;

/* IPv4 as it is (mapped); of IPv6 the network, mail.ipv6_prefix bits, because one customer owns at least that much. */
static struct in6_addr counted_part(const struct smtp_server *srv, const struct in6_addr *addr)
{
    struct in6_addr a = *addr;
    size_t bits = srv->cfg->mail_ipv6_prefix;
    if (IN6_IS_ADDR_V4MAPPED(addr))
        return a;
    for (size_t i = 0; i < sizeof a.s6_addr; i++, bits -= CD_MIN(bits, (size_t)8))
        if (bits < 8)
            a.s6_addr[i] &= (uint8_t)(0xff00 >> bits);
    return a;
}

static struct smtp_peer **find(struct smtp_server *srv, const struct in6_addr *a)
{
    uint64_t h = seed;
    for (size_t i = 0; i < sizeof a->s6_addr; i++)
        h = (h ^ a->s6_addr[i]) * 0x100000001b3u;
    struct smtp_peer **p = &srv->peers[(h ^ h >> 29) & srv->npeers_mask];
    while (*p && memcmp(&(*p)->addr, a, sizeof *a) != 0)
        p = &(*p)->next;
    return p;
}

void smtp_peers_new(struct smtp_server *srv)
{
    size_t n = 64;
    while (n < srv->cfg->mail_max_connections && n < 65536)
        n *= 2;
    random_bytes(&seed, sizeof seed);
    srv->peers = cd_alloc(n * sizeof *srv->peers);
    srv->npeers_mask = n - 1;
}

struct smtp_peer *smtp_peer_enter(struct smtp_server *srv, const struct in6_addr *addr)
{
    struct in6_addr a = counted_part(srv, addr);
    struct smtp_peer **p = find(srv, &a);
    if (!*p) {
        *p = cd_alloc(sizeof **p);
        (*p)->addr = a;
    }
    if ((*p)->sessions >= srv->cfg->mail_max_connections_per_address && (*p)->sessions)
        return NULL;
    (*p)->sessions++;
    return *p;
}

void smtp_peer_leave(struct smtp_server *srv, struct smtp_peer *p)
{
    if (--p->sessions)
        return;
    struct smtp_peer **at = find(srv, &p->addr);
    cd_assert(*at == p);
    *at = p->next;
    free(p);
}

void smtp_peer_read(struct smtp_peer *p, size_t before, size_t now)
{
    p->reading += now - before;
}

bool smtp_peer_within(const struct smtp_server *srv, const struct smtp_peer *p)
{
    const struct config *cfg = srv->cfg;
    return p->reading <= CD_MAX(cfg->intake_max_bytes / 100 * cfg->mail_max_reading_share, cfg->mail_max_message_bytes + SMTP_TRACE_BYTES);
}

void smtp_peers_free(struct smtp_server *srv)
{
    free(srv->peers); /* the chains went with the last sessions */
}
