/* OpenSSL 3 wrappers. A failing digest or generator is a broken installation: nothing sensible can follow, so it ends the process. */
#include "daemon/core/crypto.h"

#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <string.h>
#include <sys/random.h>

#include "daemon/core/err.h"

static const EVP_MD *sha256_md(void)
{
    static EVP_MD *md; /* fetched once: EVP_sha256() looks it up anew in every context */
    if (!md)
        md = EVP_MD_fetch(NULL, "SHA256", NULL);
    cd_assert(md);
    return md;
}

struct sha256_ctx *sha256_new(void)
{
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    cd_assert(c && EVP_DigestInit_ex2(c, sha256_md(), NULL) == 1);
    return (struct sha256_ctx *)c;
}

void sha256_add(struct sha256_ctx *c, const void *p, size_t n)
{
    cd_assert(EVP_DigestUpdate((EVP_MD_CTX *)c, p, n) == 1);
}

void sha256_end(struct sha256_ctx **c, uint8_t out[SHA256_SIZE])
{
    cd_assert(EVP_DigestFinal_ex((EVP_MD_CTX *)*c, out, NULL) == 1);
    EVP_MD_CTX_free((EVP_MD_CTX *)*c);
    *c = NULL;
}

void sha256(const void *p, size_t n, uint8_t out[SHA256_SIZE])
{
    cd_assert(EVP_Digest(p, n, out, NULL, sha256_md(), NULL) == 1);
}

/* The context is kept and the algorithms are found once: HMAC() looks both up by name each time, which takes longer than the sum. */
static void hmac(EVP_MAC_CTX **kept, const char *digest, const void *key, size_t nkey, const void *p, size_t n, uint8_t *out, size_t size)
{
    size_t len = 0;
    if (!*kept) {
        EVP_MAC *algorithm = EVP_MAC_fetch(NULL, "HMAC", NULL);
        const OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string("digest", (char *)(uintptr_t)digest, 0), OSSL_PARAM_construct_end()};
        cd_assert(algorithm && (*kept = EVP_MAC_CTX_new(algorithm)));
        cd_assert(EVP_MAC_CTX_set_params(*kept, params) == 1);
        EVP_MAC_free(algorithm); /* the context has it */
    }
    cd_assert(EVP_MAC_init(*kept, nkey ? key : "", nkey, NULL) == 1);
    cd_assert(EVP_MAC_update(*kept, p, n) == 1 && EVP_MAC_final(*kept, out, &len, size) == 1 && len == size);
}

void hmac_sha256(const void *key, size_t nkey, const void *p, size_t n, uint8_t out[32])
{
    static EVP_MAC_CTX *kept;
    hmac(&kept, "SHA256", key, nkey, p, n, out, 32);
}

void hmac_sha1(const void *key, size_t nkey, const void *p, size_t n, uint8_t out[20])
{
    static EVP_MAC_CTX *kept;
    hmac(&kept, "SHA1", key, nkey, p, n, out, 20);
}

void random_bytes(void *p, size_t n)
{
    uint8_t *b = p;
    while (n) {
        ssize_t k = getrandom(b, CD_MIN(n, (size_t)256), 0);
        cd_assert(k > 0);
        b += k;
        n -= (size_t)k;
    }
}

void random_pooled(void *p, size_t n)
{
    static uint8_t pool[512];
    static size_t left;
    cd_assert(n <= sizeof pool);
    if (left < n) {
        random_bytes(pool, sizeof pool);
        left = sizeof pool;
    }
    left -= n;
    memcpy(p, pool + left, n);
    memset(pool + left, 0, n);
}

bool equal_ct(const void *a, const void *b, size_t n)
{
    const uint8_t *x = a, *y = b;
    uint8_t d = 0;
    for (size_t i = 0; i < n; i++)
        d |= x[i] ^ y[i];
    return d == 0;
}

void hex_encode(const void *p, size_t n, char *out)
{
    static const char hex[] = "0123456789abcdef";
    const uint8_t *b = p;
    for (size_t i = 0; i < n; i++) {
        *out++ = hex[b[i] >> 4];
        *out++ = hex[b[i] & 15];
    }
    *out = '\0';
}

static int nibble(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

int hex_decode(const char *s, void *out, size_t n)
{
    uint8_t *b = out;
    if (strlen(s) != 2 * n)
        return CD_EINVAL;
    for (size_t i = 0; i < n; i++) {
        int h = nibble(s[2 * i]), l = nibble(s[2 * i + 1]);
        if (h < 0 || l < 0)
            return CD_EINVAL;
        b[i] = (uint8_t)(h << 4 | l);
    }
    return 0;
}

char *base64_encode(const void *p, size_t n)
{
    char *out = cd_alloc((n + 2) / 3 * 4 + 1);
    EVP_EncodeBlock((unsigned char *)out, p, (int)n);
    return out;
}
