#pragma once
/* Thin wrappers over OpenSSL for digests, signatures and encodings. */
#include "daemon/core/base.h"

#define SHA256_SIZE 32
struct sha256_ctx; /* an EVP context */
struct sha256_ctx *sha256_new(void);
void sha256_add(struct sha256_ctx *c, const void *p, size_t n);
void sha256_end(struct sha256_ctx **c, uint8_t out[SHA256_SIZE]); /* frees the context */
void sha256(const void *p, size_t n, uint8_t out[SHA256_SIZE]);
void hmac_sha256(const void *key, size_t nkey, const void *p, size_t n, uint8_t out[32]);
void hmac_sha1(const void *key, size_t nkey, const void *p, size_t n, uint8_t out[20]);
void random_bytes(void *p, size_t n);
/* For ids and references: taken from the kernel in blocks, so that one costs no system call of its own. Given out once, then wiped.
 * At most 512 bytes. Not across a fork(). */
void random_pooled(void *p, size_t n);
bool equal_ct(const void *a, const void *b, size_t n); /* constant time */
void hex_encode(const void *p, size_t n, char *out);   /* 2n+1 bytes */
int hex_decode(const char *s, void *out, size_t n) CD_MUSTUSE;
CD_MUSTUSE char *base64_encode(const void *p, size_t n); /* one line; free it */
