/* The chain's first link. The database can do the same sum; here it costs a tenth, and intake writes nothing as often as this. */
#include "daemon/store/event_hash.h"

#include <string.h>

#define SEQ_FIRST 1

void event_hash_first(const struct uuid *id, int64_t at_us, const char *actor, const char *kind, const char *data, uint8_t out[SHA256_SIZE])
{
    uint8_t number[12] = {0, 0, 0, SEQ_FIRST}, inner[SHA256_SIZE];
    for (int i = 0; i < 8; i++)
        number[4 + i] = (uint8_t)((uint64_t)at_us >> (56 - 8 * i));
    sha256(data, strlen(data), inner);
    struct sha256_ctx *c = sha256_new(); /* the previous hash of a first event is empty */
    sha256_add(c, id->b, sizeof id->b);
    sha256_add(c, number, sizeof number);
    sha256_add(c, actor, strlen(actor) + 1);
    sha256_add(c, kind, strlen(kind) + 1);
    sha256_add(c, inner, sizeof inner);
    sha256_end(&c, out);
}
