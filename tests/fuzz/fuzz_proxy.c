/* Fuzz target: the PROXY header in front of a connection, both versions. Input: the first bytes of the connection. Cut at every byte the
 * answer stays the same: whatever comes, more is asked for, until header or fault is certain, and then no further byte changes it. */
#include "tests/fuzz/fuzz.h"

#include <arpa/inet.h>

#include "channels/mail/proxy.h"

static bool is_v4(const struct in6_addr *a)
{
    return IN6_IS_ADDR_V4MAPPED(a);
}

/* Printed as version 1 and read again it is the same. Addresses of IPv6 that map IPv4 would come back as those. */
static void check_again(const struct proxy_header *h)
{
    char source[INET6_ADDRSTRLEN], destination[INET6_ADDRSTRLEN];
    struct proxy_header again;
    bool v4 = is_v4(&h->source) && is_v4(&h->destination);
    int family = v4 ? AF_INET : AF_INET6;
    size_t skip = v4 ? 12 : 0;
    FUZZ_CHECK(inet_ntop(family, h->source.s6_addr + skip, source, sizeof source));
    FUZZ_CHECK(inet_ntop(family, h->destination.s6_addr + skip, destination, sizeof destination));
    char *line = cd_asprintf("PROXY TCP%d %s %s %u %u\r\n", v4 ? 4 : 6, source, destination, h->source_port, h->destination_port);
    FUZZ_CHECK(proxy_parse((const uint8_t *)line, strlen(line), &again) == PROXY_OK);
    FUZZ_CHECK(again.conveyed && again.length == strlen(line) && again.source_port == h->source_port &&
               again.destination_port == h->destination_port);
    FUZZ_CHECK(memcmp(&again.source, &h->source, sizeof h->source) == 0);
    FUZZ_CHECK(memcmp(&again.destination, &h->destination, sizeof h->destination) == 0);
    free(line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct proxy_header h, last = {0};
    enum proxy_result whole = proxy_parse(data, n, &h), r = PROXY_MORE;
    FUZZ_CHECK(whole != PROXY_MORE || n < PROXY_MAX_BYTES);
    for (size_t k = 0; k <= n && k <= PROXY_MAX_BYTES; k++) {
        uint8_t *part = malloc(k); /* a read behind its end is seen */
        if (k)
            memcpy(part, data, k);
        enum proxy_result was = r;
        r = proxy_parse(part, k, &last);
        free(part);
        FUZZ_CHECK(was == PROXY_MORE || r == was);
        FUZZ_CHECK(r != PROXY_OK || (last.length == h.length && last.length <= k && last.conveyed == h.conveyed));
    }
    FUZZ_CHECK(r == whole);
    if (whole != PROXY_OK)
        return 0;
    fuzz_good = true;
    FUZZ_CHECK(h.length > 0 && h.length <= n && h.length <= PROXY_MAX_BYTES);
    if (h.conveyed)
        check_again(&h);
    return 0;
}
