/* Addresses to listen on and networks to trust: numeric only, so that reading the configuration never waits
 * for a resolver. */
#include "config/load.h"

#include <arpa/inet.h>
#include <string.h>
#include <sys/un.h>

static const char *parse_unix(const char *path, struct listen_addr *ret)
{
    if (path[0] != '/' || strlen(path) >= sizeof((struct sockaddr_un *)0)->sun_path ||
        path[strlen(path) - 1] == '/')
        return "write unix: and an absolute path of at most 107 bytes, such as "
               "unix:/run/complaintd/control.sock";
    ret->path = cd_strdup(path);
    return NULL;
}

const char *listen_parse(const char *text, bool allow_unix, struct listen_addr *ret)
{
    static const char advice[] = "write a numeric address and a port, such as 127.0.0.1:2525 or [::1]:2525";
    if (str_starts(text, "unix:") && !allow_unix)
        return advice;
    if (str_starts(text, "unix:"))
        return parse_unix(text + 5, ret);
    const char *colon = strrchr(text, ':');
    bool v6 = text[0] == '[';
    if (!colon || (v6 && (colon == text || colon[-1] != ']')))
        return advice;
    size_t n = (size_t)(colon - text) - 2 * v6;
    char host[INET6_ADDRSTRLEN];
    if (n == 0 || n >= sizeof host)
        return advice;
    memcpy(host, text + v6, n);
    host[n] = '\0';
    uint64_t port;
    uint8_t raw[16];
    if (inet_pton(v6 ? AF_INET6 : AF_INET, host, raw) != 1)
        return advice;
    if (str_parse_u64(colon + 1, 65535, &port) < 0 || port == 0)
        return "write a port from 1 to 65535 behind the address";
    ret->host = cd_strdup(host);
    ret->port = (uint16_t)port;
    return NULL;
}

/* Fills the 16 bytes; returns how many bits of them the family does not use, or -1. */
static int numeric_parse(const char *host, uint8_t out[16])
{
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    if (inet_pton(AF_INET6, host, out) == 1)
        return 0;
    memcpy(out, mapped, sizeof mapped);
    return inet_pton(AF_INET, host, out + 12) == 1 ? 96 : -1;
}

static bool bit_at(const uint8_t *p, unsigned i)
{
    return p[i / 8] >> (7 - i % 8) & 1;
}

const char *network_parse(const char *text, struct network *ret)
{
    static const char advice[] = "write a network such as 10.0.0.0/8, or one numeric address";
    char host[INET6_ADDRSTRLEN];
    size_t n = strcspn(text, "/");
    if (n == 0 || n >= sizeof host)
        return advice;
    memcpy(host, text, n);
    host[n] = '\0';
    int skip = numeric_parse(host, ret->addr);
    if (skip < 0)
        return advice;
    uint64_t bits = 128u - (unsigned)skip;
    if (text[n] == '/' && str_parse_u64(text + n + 1, bits, &bits) < 0)
        return advice;
    ret->bits = (uint8_t)(bits + (unsigned)skip);
    for (unsigned i = ret->bits; i < 128; i++)
        if (bit_at(ret->addr, i))
            return "write the network's first address: all bits behind the /length are 0";
    return NULL;
}

bool config_in_networks(const struct network *v, size_t n, const char *numeric_address)
{
    uint8_t a[16];
    char host[INET6_ADDRSTRLEN];
    size_t len = numeric_address ? strcspn(numeric_address, "%") : 0;
    if (n == 0 || len == 0 || len >= sizeof host)
        return false;
    memcpy(host, numeric_address, len);
    host[len] = '\0';
    if (numeric_parse(host, a) < 0)
        return false;
    for (size_t i = 0; i < n; i++) {
        unsigned bit = 0;
        while (bit < v[i].bits && bit_at(a, bit) == bit_at(v[i].addr, bit))
            bit++;
        if (bit == v[i].bits)
            return true;
    }
    return false;
}

bool config_trusted(const struct config *c, const char *numeric_address)
{
    return config_in_networks(c->trusted_clients, c->ntrusted_clients, numeric_address);
}
