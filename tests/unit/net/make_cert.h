#pragma once
/* Certificates for tests: a key of a kind, a signer, a time; written as PEM files into a folder of the test's own. */
#include <ftw.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/core/base.h"

#define DAY_S 86400L

struct made {
    X509 *cert;
    EVP_PKEY *key;
};

CD_UNUSED static char certs_folder[64];

CD_UNUSED static char *cert_path(const char *name)
{
    return cd_asprintf("%s/%s", certs_folder, name);
}

CD_UNUSED static void certs_begin(void)
{
    snprintf(certs_folder, sizeof certs_folder, "/tmp/cd-tls-XXXXXX");
    cd_assert(mkdtemp(certs_folder));
}

CD_UNUSED static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

CD_UNUSED static void certs_end(void)
{
    nftw(certs_folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

CD_UNUSED static void made_free(struct made *m)
{
    X509_free(m->cert);
    EVP_PKEY_free(m->key);
    *m = (struct made){0};
}

/* From `from_s` to `until_s` relative to now. `kind` is "EC" or "RSA"; `by` NULL signs itself. */
CD_UNUSED static struct made cert_make(const char *kind, const char *name, const struct made *by, long from_s, long until_s)
{
    static long serial = 1;
    struct made m = {.cert = X509_new()};
    X509_NAME *subject = X509_NAME_new();
    m.key = *kind == 'E' ? EVP_EC_gen("P-256") : EVP_RSA_gen(2048);
    cd_assert(m.cert && m.key && subject);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *)name, -1, -1, 0);
    X509_set_version(m.cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(m.cert), serial++);
    X509_gmtime_adj(X509_getm_notBefore(m.cert), from_s);
    X509_gmtime_adj(X509_getm_notAfter(m.cert), until_s);
    X509_set_subject_name(m.cert, subject);
    X509_set_issuer_name(m.cert, by ? X509_get_subject_name(by->cert) : subject);
    X509_set_pubkey(m.cert, m.key);
    cd_assert(X509_sign(m.cert, by ? by->key : m.key, EVP_sha256()) > 0);
    X509_NAME_free(subject);
    return m;
}

/* By rename, as careful tools do. */
CD_UNUSED static void pem_put(const char *name, X509 *const *certs, size_t n, EVP_PKEY *key, const char *passphrase)
{
    CD_CLEANUP_FREE char *path = cert_path(name), *new = cd_asprintf("%s.new", path);
    FILE *f = fopen(new, "we");
    cd_assert(f);
    for (size_t i = 0; i < n; i++)
        cd_assert(PEM_write_X509(f, certs[i]));
    if (key)
        cd_assert(PEM_write_PrivateKey(f, key, passphrase ? EVP_aes_128_cbc() : NULL, NULL, 0, NULL, (void *)(uintptr_t)passphrase));
    fclose(f);
    cd_assert(rename(new, path) == 0);
}

CD_UNUSED static void cert_put(const char *name, const struct made *m)
{
    pem_put(name, &m->cert, 1, NULL, NULL);
}

CD_UNUSED static void key_put(const char *name, const struct made *m)
{
    pem_put(name, NULL, 0, m->key, NULL);
}

/* In place, keeping the first n bytes. */
CD_UNUSED static void cut(const char *name, long n)
{
    CD_CLEANUP_FREE char *path = cert_path(name);
    cd_assert(truncate(path, n) == 0);
}

CD_UNUSED static long size_of(const char *name)
{
    CD_CLEANUP_FREE char *path = cert_path(name);
    struct stat st;
    cd_assert(stat(path, &st) == 0);
    return (long)st.st_size;
}
