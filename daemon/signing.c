/* The process's signing keys. A secret of the configuration is a text of any length: its digest is the key. */
#include "daemon/signing.h"

#include <string.h>

#include "daemon/intake/token.h"

#define DATABASE_KEY '0'

static struct token_key database_key;

void signing_set_database_key(const uint8_t secret[SHA256_SIZE])
{
    database_key.id = DATABASE_KEY;
    memcpy(database_key.secret, secret, sizeof database_key.secret);
}

void signing_apply(const struct config *c)
{
    struct token_key v[TOKEN_MAX_KEYS];
    size_t n = 0;
    for (size_t i = 0; i < c->nthread_keys && n < ARRAY_LEN(v) - 1; i++, n++) {
        v[n].id = c->thread_keys[i].id[0];
        sha256(c->thread_keys[i].secret, strlen(c->thread_keys[i].secret), v[n].secret);
    }
    if (database_key.id)
        v[n++] = database_key;
    token_keys_set(v, n);
    explicit_bzero(v, sizeof v);
}
