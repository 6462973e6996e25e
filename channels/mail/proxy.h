#pragma once
/* The header by which a load balancer says who its client is: PROXY protocol, versions 1 and 2 (HAProxy, proxy-protocol.txt).
 * A pure function over bytes: no I/O, no allocation. */
#include <netinet/in.h>

#include "daemon/core/base.h"

#define PROXY_MAX_BYTES 2048 /* a longer header of version 2 is refused; what it may add is not used here */

enum proxy_result {
    PROXY_MORE, /* every byte so far belongs to the header, and it is not complete */
    PROXY_BAD,
    PROXY_OK,
};
struct proxy_header {
    size_t length;  /* of the header; what follows is the client's */
    bool conveyed;  /* false: LOCAL, UNKNOWN, or a family that is no internet address: the connection's own addresses hold */
    struct in6_addr source, destination; /* IPv4 mapped */
    uint16_t source_port, destination_port;
};
/* *ret is filled for PROXY_OK. */
enum proxy_result proxy_parse(const uint8_t *p, size_t n, struct proxy_header *ret);
