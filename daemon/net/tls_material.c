/* Certificate and key files: read whole, then parsed from memory, so that what is checked is what is used. A file that is being
 * written looks truncated or does not fit its partner; both are said and nothing of it is taken. The caller owns what is returned. */
#include "daemon/net/tls_material.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "daemon/core/err.h"

#define FILE_BYTES CD_KIB(256)
#define CHAIN_MAX 10

struct pem_file {
    uint8_t *data;
    size_t n;
};

static void pem_free(struct pem_file *f)
{
    if (f->data)
        OPENSSL_cleanse(f->data, f->n); /* it may hold a key */
    free(f->data);
    f->data = NULL;
}

static int pem_read(const char *path, struct pem_file *f, char *why, size_t size)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    int r = CD_EIO;
    *f = (struct pem_file){0};
    if (fd < 0 || fstat(fd, &st) < 0) {
        snprintf(why, size, "%s: %s", path, strerror(errno));
        goto out;
    }
    if (!S_ISREG(st.st_mode) || (size_t)st.st_size > FILE_BYTES) {
        snprintf(why, size, "%s: not a file of at most %zu kB", path, FILE_BYTES / 1024);
        goto out;
    }
    f->data = cd_alloc(FILE_BYTES + 1);
    ssize_t got;
    while (f->n < FILE_BYTES && (got = read(fd, f->data + f->n, FILE_BYTES - f->n)) > 0)
        f->n += (size_t)got;
    r = 0;
out:
    if (fd >= 0)
        close(fd);
    return r;
}

static const char *ssl_reason(void)
{
    const char *s = ERR_reason_error_string(ERR_peek_last_error());
    return s ? s : "unreadable";
}

/* Nobody is there to be asked. */
static int no_passphrase(char *p, int n, int writing, void *asked)
{
    (void)p;
    (void)n;
    (void)writing;
    *(bool *)asked = true;
    return -1;
}

static int key_parse(const char *path, const struct pem_file *f, struct tls_material *m, char *why, size_t size)
{
    bool asked = false;
    BIO *bio = BIO_new_mem_buf(f->data, (int)f->n);
    m->key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, &asked) : NULL;
    if (!m->key)
        snprintf(why, size, "%s: %s", path, asked ? "the key has a passphrase: write it without" : "holds no whole private key (PEM)");
    BIO_free(bio);
    return m->key ? 0 : CD_EINVAL;
}

/* What is left behind the last certificate must not be the beginning of another one. */
static bool ends_well(BIO *bio)
{
    char *rest;
    long n = BIO_get_mem_data(bio, &rest);
    return n <= 0 || !memmem(rest, (size_t)n, "--", 2);
}

static int certs_parse(const char *path, const struct pem_file *f, struct tls_material *m, char *why, size_t size)
{
    BIO *bio = BIO_new_mem_buf(f->data, (int)f->n);
    X509 *x;
    bool whole = false;
    m->chain = sk_X509_new_null();
    while (bio && m->chain && (x = PEM_read_bio_X509(bio, NULL, NULL, NULL))) {
        if (!m->cert)
            m->cert = x;
        else if (sk_X509_num(m->chain) >= CHAIN_MAX || sk_X509_push(m->chain, x) <= 0) {
            X509_free(x);
            break;
        }
        whole = ends_well(bio);
    }
    /* the key may stand in the same file: then it is what the rest is */
    unsigned long e = ERR_peek_last_error();
    if (m->cert && !whole && ERR_GET_REASON(e) == PEM_R_NO_START_LINE)
        whole = memmem(f->data, f->n, "PRIVATE KEY-----", 16) != NULL;
    if (!m->cert)
        snprintf(why, size, "%s: holds no whole certificate (PEM)", path);
    else if (!whole)
        snprintf(why, size, "%s: ends in the middle of a certificate, or holds too many", path);
    BIO_free(bio);
    return whole ? 0 : CD_EINVAL;
}

static int64_t seconds_of(const ASN1_TIME *t)
{
    struct tm tm;
    return t && ASN1_TIME_to_tm(t, &tm) ? (int64_t)timegm(&tm) : 0;
}

/* RFC 8446 4.4.2: each certificate certifies the one before it. */
static int chain_check(const char *path, struct tls_material *m, char *why, size_t size)
{
    X509 *below = m->cert;
    m->not_before_s = seconds_of(X509_get0_notBefore(below));
    m->not_after_s = seconds_of(X509_get0_notAfter(below));
    for (int i = 0; i < sk_X509_num(m->chain); i++) {
        X509 *x = sk_X509_value(m->chain, i);
        EVP_PKEY *signer = X509_get0_pubkey(x);
        if (X509_check_issued(x, below) != X509_V_OK || !signer || X509_verify(below, signer) != 1) {
            snprintf(why, size, "%s: certificate %d did not sign the one before it", path, i + 2);
            return CD_EINVAL;
        }
        m->not_before_s = CD_MAX(m->not_before_s, seconds_of(X509_get0_notBefore(x)));
        m->not_after_s = CD_MIN(m->not_after_s, seconds_of(X509_get0_notAfter(x)));
        below = x;
    }
    return 0;
}

int tls_material_load(const char *cert_file, const char *key_file, struct tls_material *ret, char *why, size_t size)
{
    struct pem_file cert = {0}, key = {0};
    ERR_clear_error();
    *ret = (struct tls_material){0};
    int r = pem_read(cert_file, &cert, why, size);
    if (!r)
        r = pem_read(key_file, &key, why, size);
    if (!r)
        r = certs_parse(cert_file, &cert, ret, why, size);
    if (!r)
        r = key_parse(key_file, &key, ret, why, size);
    if (!r && X509_check_private_key(ret->cert, ret->key) != 1) {
        snprintf(why, size, "%s is not the key of %s (%s)", key_file, cert_file, ssl_reason());
        r = CD_EINVAL;
    }
    if (!r)
        r = chain_check(cert_file, ret, why, size);
    pem_free(&cert);
    pem_free(&key);
    if (r < 0)
        tls_material_free(ret);
    ERR_clear_error();
    return r;
}

void tls_material_free(struct tls_material *m)
{
    X509_free(m->cert);
    EVP_PKEY_free(m->key);
    sk_X509_pop_free(m->chain, X509_free);
    *m = (struct tls_material){0};
}
