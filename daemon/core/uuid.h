#pragma once
/* UUID version 7 (RFC 9562): time-ordered ids made before the database is asked. */
#include "daemon/core/base.h"

struct uuid {
    uint8_t b[16];
};
#define UUID_TEXT_SIZE 37

/* A new id: 48 bits of real time in ms, a 12-bit counter that keeps ids of one process ascending, 62 random bits. */
struct uuid uuid_new(void);
void uuid_format(const struct uuid *u, char out[UUID_TEXT_SIZE]);
int uuid_parse(const char *s, struct uuid *ret) CD_MUSTUSE;
int64_t uuid_time_us(const struct uuid *u); /* of a version 7: when it was made, to the millisecond; microseconds since 1970 */
bool uuid_equal(const struct uuid *a, const struct uuid *b);
bool uuid_is_nil(const struct uuid *u);
