#pragma once
/* The keys that sign our tokens (daemon/intake/token.h): those of the configuration first, then the database's own. */
#include "config/config.h"
#include "daemon/core/crypto.h"

/* The database's key; to be known before signing_apply(). */
void signing_set_database_key(const uint8_t secret[SHA256_SIZE]);
/* Takes over `threads.keys`; at start and after each reload. */
void signing_apply(const struct config *c);
