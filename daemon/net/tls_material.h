#pragma once
/* Private to daemon/net: what the two files of a certificate hold, read and checked as a whole. */
#include <openssl/evp.h>
#include <openssl/x509.h>

#include "daemon/core/base.h"

struct tls_material {
    X509 *cert; /* NULL: holds nothing */
    EVP_PKEY *key;
    STACK_OF(X509) *chain; /* what signed it, in order; may be empty */
    int64_t not_before_s, not_after_s; /* since the epoch; of the chain, the narrowest */
};

/* Reads both files, checks that they are whole, that the key is the certificate's and that each certificate is signed by the next.
 * Whether its time has come is the caller's to judge. 0, or CD_EINVAL / CD_EIO with a sentence in `why`. Blocks for as long as two
 * small local files take. */
int tls_material_load(const char *cert_file, const char *key_file, struct tls_material *ret, char *why, size_t size) CD_MUSTUSE;
void tls_material_free(struct tls_material *m);
