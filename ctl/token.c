/* complaintctl token: 256 random bits as a client's token, and the digest that the configuration needs of it. Nothing is written
 * anywhere but to standard output. */
#include <stdio.h>
#include <string.h>

#include "ctl/commands.h"
#include "daemon/core/crypto.h"

int run_token(const struct ctl_globals *g, json_t *args)
{
    uint8_t bytes[32], digest[SHA256_SIZE];
    char hex[2 * SHA256_SIZE + 1];

    (void)args;
    random_bytes(bytes, sizeof bytes);
    char *token CD_CLEANUP_FREE = base64_encode(bytes, sizeof bytes);
    for (char *p = token; *p; p++) /* the alphabet for URLs and files: nothing that a shell or YAML would read */
        *p = (char)(*p == '+' ? '-' : *p == '/' ? '_' : *p);
    token[strcspn(token, "=")] = '\0';
    sha256(token, strlen(token), digest);
    hex_encode(digest, sizeof digest, hex);
    if (g->json)
        printf("{\"token\":\"%s\",\"token_sha256\":\"%s\"}\n", token, hex);
    else
        printf("token: %s\ntoken_sha256: %s\n", token, hex);
    return fflush(stdout) == 0 ? EXIT_DONE : EXIT_REFUSED;
}
