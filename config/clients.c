/* Clients: that each has one token and desks that fit, and the digests of the tokens, which are all that is kept of them. */
#include "config/load.h"

#include <string.h>

#include "daemon/core/crypto.h"

#define TOKEN_BYTES 8

/* While the file is still at hand: a token file that cannot be read was told already. */
void client_end(struct loader *l, void *item, struct yn node)
{
    const struct cfg_client *x = item;
    bool clear = false, hashed = false;
    for (size_t i = 0; i < yn_pairs(node); i++) {
        const char *key = yn_text(yn_key(node, i));
        if (str_eq(key, "token_sha256"))
            hashed = true;
        else if (key && str_starts(key, "token"))
            clear = true;
    }
    if (!clear && !hashed)
        faults_add(l->f, x->mark, "this client has no token: write `token_file: PATH`, `token_credential: NAME` or `token_sha256: HEX`");
    if (clear && hashed)
        faults_add(l->f, x->mark, "this client has a token and a token_sha256: write one of them");
}

static void settle_token(struct loader *l, struct cfg_client *x)
{
    if (*x->token_hash) {
        if (strlen(x->token_hash) != 2 * sizeof x->token_sha256 || hex_decode(x->token_hash, x->token_sha256, sizeof x->token_sha256) < 0)
            faults_add(l->f, x->mark, "the token_sha256 of client '%s' is not 64 hexadecimal digits: write what complaintctl token prints",
                       show(x->name));
        str_lower(x->token_hash);
        return;
    }
    if (!*x->token)
        return;
    char hex[2 * sizeof x->token_sha256 + 1];
    sha256(x->token, strlen(x->token), x->token_sha256);
    hex_encode(x->token_sha256, sizeof x->token_sha256, hex);
    free(x->token_hash);
    x->token_hash = cd_strdup(hex);
    explicit_bzero(x->token, strlen(x->token));
}

void clients_settle(struct loader *l)
{
    const struct config *c = l->c;
    for (size_t i = 0; i < c->nclients; i++) {
        struct cfg_client *x = &c->clients[i];
        if (*x->token && strlen(x->token) < TOKEN_BYTES)
            faults_add(l->f, x->mark, "the token of client '%s' is short: write at least %d bytes, random ones", show(x->name), TOKEN_BYTES);
        settle_token(l, x);
        if (*x->desk && x->desks.n && !strlist_has(&x->desks, x->desk))
            faults_add(l->f, x->mark, "client '%s' submits to desk '%s', which is none of its desks: add it to them", show(x->name),
                       show(x->desk));
        for (size_t k = 0; k < i; k++)
            if (*x->token_hash && str_eq(x->token_hash, c->clients[k].token_hash)) {
                faults_add(l->f, x->mark, "client '%s' has the token of '%s': write one of its own", show(x->name), show(c->clients[k].name));
                break;
            }
    }
}

const struct cfg_client *config_client_by_token(const struct config *c, const char *token)
{
    const struct cfg_client *found = NULL;
    uint8_t given[32];
    sha256(token, strlen(token), given);
    for (size_t i = 0; i < c->nclients; i++)
        if (equal_ct(given, c->clients[i].token_sha256, sizeof given) && *token)
            found = &c->clients[i];
    return found;
}
