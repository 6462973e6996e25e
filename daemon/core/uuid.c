/* UUIDv7. */
#include "daemon/core/uuid.h"

#include <string.h>

#include "daemon/core/clock.h"
#include "daemon/core/crypto.h"
#include "daemon/core/err.h"

struct uuid uuid_new(void)
{
    static uint64_t last_ms;
    static unsigned counter;
    struct uuid u;
    random_pooled(u.b, sizeof u.b);
    uint64_t ms = (uint64_t)(clock_real_us() / 1000);
    if (ms > last_ms) {
        last_ms = ms;
        counter = u.b[7] & 0x7f; /* room to count up inside one millisecond */
    } else if (++counter > 0xfff) {
        last_ms++;
        counter = 0;
    }
    for (int i = 0; i < 6; i++)
        u.b[i] = (uint8_t)(last_ms >> (40 - 8 * i));
    u.b[6] = (uint8_t)(0x70 | (counter >> 8));
    u.b[7] = (uint8_t)counter;
    u.b[8] = (uint8_t)(0x80 | (u.b[8] & 0x3f));
    return u;
}

int64_t uuid_time_us(const struct uuid *u)
{
    uint64_t ms = 0;
    for (int i = 0; i < 6; i++)
        ms = ms << 8 | u->b[i];
    return (int64_t)ms * 1000;
}

void uuid_format(const struct uuid *u, char out[UUID_TEXT_SIZE])
{
    static const char hex[] = "0123456789abcdef";
    char *p = out;
    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *p++ = '-';
        *p++ = hex[u->b[i] >> 4];
        *p++ = hex[u->b[i] & 15];
    }
    *p = '\0';
}

int uuid_parse(const char *s, struct uuid *ret)
{
    char plain[33];
    size_t n = 0;
    if (strlen(s) != 36)
        return CD_EINVAL;
    for (int i = 0; i < 36; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash != (s[i] == '-'))
            return CD_EINVAL;
        if (!dash)
            plain[n++] = s[i];
    }
    plain[n] = '\0';
    return hex_decode(plain, ret->b, 16);
}

bool uuid_equal(const struct uuid *a, const struct uuid *b)
{
    return memcmp(a->b, b->b, 16) == 0;
}

bool uuid_is_nil(const struct uuid *u)
{
    static const struct uuid nil;
    return uuid_equal(u, &nil);
}
