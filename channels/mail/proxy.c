/* The PROXY header, both versions. Strict: what the specification does not allow is PROXY_BAD at the first byte that shows it, so
 * that a peer that sends something else is not waited for. Fields that say nothing about addresses (the type-length-values of
 * version 2) are passed over. Owns nothing, fails in no other way. */
#include "channels/mail/proxy.h"

#include <arpa/inet.h>
#include <string.h>

#define V1_MAX 107 /* its CR LF included (specification, 2.1) */
#define V2_HEAD 16

static const uint8_t v2_signature[12] = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a};

static void set_address(struct in6_addr *out, int family, const void *raw)
{
    memset(out, 0, sizeof *out);
    if (family == AF_INET) {
        out->s6_addr[10] = out->s6_addr[11] = 0xff;
        memcpy(out->s6_addr + 12, raw, 4);
    } else {
        memcpy(out->s6_addr, raw, 16);
    }
}

/* ---- version 1: a line of text ---- */

struct words {
    const char *p, *end;
};

/* The next word, which one space ends, or the end of the line. */
static bool word(struct words *w, char *out, size_t size)
{
    const char *space = memchr(w->p, ' ', (size_t)(w->end - w->p));
    const char *stop = space ? space : w->end;
    size_t n = (size_t)(stop - w->p);
    if (n == 0 || n >= size)
        return false;
    memcpy(out, w->p, n);
    out[n] = '\0';
    w->p = space ? space + 1 : w->end;
    return memchr(out, '\0', n) == NULL;
}

static bool v1_address(struct words *w, int family, struct in6_addr *out)
{
    char text[INET6_ADDRSTRLEN];
    uint8_t raw[16];
    if (!word(w, text, sizeof text) || inet_pton(family, text, raw) != 1)
        return false;
    set_address(out, family, raw);
    return true;
}

/* Digits, no leading zero, up to 65535. */
static bool v1_port(struct words *w, uint16_t *ret)
{
    char text[6];
    unsigned port = 0;
    if (!word(w, text, sizeof text) || (text[0] == '0' && text[1]))
        return false;
    for (const char *c = text; *c; c++) {
        if (*c < '0' || *c > '9')
            return false;
        port = port * 10 + (unsigned)(*c - '0');
    }
    *ret = (uint16_t)port;
    return port <= UINT16_MAX;
}

static bool v1_fields(struct words *w, struct proxy_header *ret)
{
    char kind[8];
    bool more = memchr(w->p, ' ', (size_t)(w->end - w->p)) != NULL;
    if (!word(w, kind, sizeof kind))
        return false;
    if (strcmp(kind, "UNKNOWN") == 0) /* the rest of the line is to be ignored */
        return true;
    int family = strcmp(kind, "TCP4") == 0 ? AF_INET : strcmp(kind, "TCP6") == 0 ? AF_INET6 : -1;
    if (family < 0 || !more)
        return false;
    ret->conveyed = true;
    return v1_address(w, family, &ret->source) && v1_address(w, family, &ret->destination) && v1_port(w, &ret->source_port) &&
           w->p < w->end && v1_port(w, &ret->destination_port) && w->p == w->end && w->end[-1] != ' ';
}

static enum proxy_result v1_parse(const uint8_t *p, size_t n, struct proxy_header *ret)
{
    static const char begin[] = "PROXY ";
    const size_t nbegin = sizeof begin - 1;
    if (memcmp(p, begin, CD_MIN(n, nbegin)) != 0)
        return PROXY_BAD;
    const uint8_t *lf = memchr(p, '\n', CD_MIN(n, V1_MAX));
    if (!lf)
        return n >= V1_MAX ? PROXY_BAD : PROXY_MORE;
    size_t line = (size_t)(lf - p);
    if (line < nbegin + 2 || p[line - 1] != '\r' || memchr(p, '\r', line - 1))
        return PROXY_BAD;
    struct words w = {(const char *)p + nbegin, (const char *)p + line - 1};
    ret->length = line + 1;
    return v1_fields(&w, ret) ? PROXY_OK : PROXY_BAD;
}

/* ---- version 2: binary ---- */

static uint16_t u16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static bool v2_addresses(const uint8_t *p, size_t n, int family, struct proxy_header *ret)
{
    const size_t size = family == AF_INET ? 4 : 16;
    if (n < 2 * size + 4)
        return false;
    set_address(&ret->source, family, p);
    set_address(&ret->destination, family, p + size);
    ret->source_port = u16(p + 2 * size);
    ret->destination_port = u16(p + 2 * size + 2);
    ret->conveyed = true;
    return true;
}

/* The byte of version and command, and that of family and transport. */
static bool v2_known(uint8_t version, uint8_t family)
{
    bool local = version == 0x20, proxy = version == 0x21;
    if (local) /* a check by the proxy itself; its family is to be ignored */
        return true;
    return proxy && family >> 4 <= 3 && (family & 0xf) <= 1; /* unspecified or a stream: this is no datagram */
}

static enum proxy_result v2_parse(const uint8_t *p, size_t n, struct proxy_header *ret)
{
    if (memcmp(p, v2_signature, CD_MIN(n, sizeof v2_signature)) != 0)
        return PROXY_BAD;
    if (n > 12 && p[12] != 0x20 && p[12] != 0x21)
        return PROXY_BAD;
    if (n < V2_HEAD)
        return PROXY_MORE;
    uint8_t family = p[13];
    size_t length = u16(p + 14);
    if (!v2_known(p[12], family) || V2_HEAD + length > PROXY_MAX_BYTES)
        return PROXY_BAD;
    if (n < V2_HEAD + length)
        return PROXY_MORE;
    ret->length = V2_HEAD + length;
    bool internet = p[12] == 0x21 && (family == 0x11 || family == 0x21);
    return !internet || v2_addresses(p + V2_HEAD, length, family == 0x11 ? AF_INET : AF_INET6, ret) ? PROXY_OK : PROXY_BAD;
}

enum proxy_result proxy_parse(const uint8_t *p, size_t n, struct proxy_header *ret)
{
    memset(ret, 0, sizeof *ret);
    if (n == 0)
        return PROXY_MORE;
    return p[0] == v2_signature[0] ? v2_parse(p, n, ret) : v1_parse(p, n, ret);
}
