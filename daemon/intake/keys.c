/* What makes two deliveries the same. The digest of a mail covers the fields From, Date and Subject
 * (unfolded, trimmed, in the order in which they stand) and the body, never Return-Path, Received, Message-ID
 * or recipients. Two transports of one mail must agree: in the body CRLF and LF count as the same, and empty
 * lines at the end do not count. Where no empty line ends the header section, other fields may be the text
 * itself ("Note: it burns"): they count as well, so that two different complaints never pass for one. Nothing
 * here fails; memory is bounded whatever the input. */
#include "daemon/intake/keys.h"

#include "daemon/intake/headers.h"

#include <string.h>

#define KEY_MAX 255
/* A longer value is hashed as received instead of unfolded: a bound on memory, not on what is covered. */
#define VALUE_MAX CD_MIB(1)

/* Gathers small pieces, for an EVP call costs more than copying a line. */
struct digester {
    struct sha256_ctx *sha;
    uint8_t data[8192];
    size_t n;
};

static void digest_add(struct digester *d, const void *p, size_t n)
{
    if (n > sizeof(d->data) - d->n) {
        sha256_add(d->sha, d->data, d->n);
        d->n = 0;
    }
    if (n > sizeof(d->data)) {
        sha256_add(d->sha, p, n);
    } else if (n > 0) {
        memcpy(d->data + d->n, p, n);
        d->n += n;
    }
}

static void digest_end(struct digester *d, uint8_t out[SHA256_SIZE])
{
    sha256_add(d->sha, d->data, d->n);
    sha256_end(&d->sha, out);
}

static void digest_field(struct digester *d, const struct headers_field *f)
{
    struct buf value;

    for (size_t i = 0; i < f->nname; i++) {
        char c = f->name[i];

        c = c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
        digest_add(d, &c, 1);
    }
    digest_add(d, ":", 1);
    buf_init(&value, VALUE_MAX);
    headers_value(f, &value);
    if (value.failed)
        digest_add(d, f->value, f->nvalue);
    else
        digest_add(d, value.data, value.len);
    digest_add(d, "\n", 1);
    buf_free(&value);
}

static void digest_body(struct digester *d, const char *p, const char *end)
{
    size_t newlines = 0; /* seen, not yet hashed: those at the end never are */

    while (p < end) {
        const char *lf = memchr(p, '\n', (size_t)(end - p));
        const char *stop = lf ? lf : end;

        if (lf && stop > p && stop[-1] == '\r')
            stop--;
        if (stop > p) {
            for (; newlines > 0; newlines--)
                digest_add(d, "\n", 1);
            digest_add(d, p, (size_t)(stop - p));
        }
        newlines++;
        p = lf ? lf + 1 : end;
    }
}

/* "<id>" with anything around it, or a bare id; "none" unless it is 1 to 255 printable ASCII bytes without a
 * space. */
static char *key_of_message_id(const struct headers_field *f)
{
    struct buf value;
    char *key = NULL;

    buf_init(&value, CD_KIB(4));
    headers_value(f, &value);
    const char *s = buf_str(&value), *open = strchr(s, '<');
    const char *close = open ? strchr(open, '>') : NULL;
    if (close) {
        s = open + 1;
    } else {
        close = s + value.len;
    }
    size_t n = (size_t)(close - s);
    bool good = !value.failed && n > 0 && n <= KEY_MAX;
    for (size_t i = 0; good && i < n; i++)
        good = s[i] > ' ' && s[i] < 0x7f;
    if (good)
        key = cd_strndup(s, n);
    buf_free(&value);
    return key;
}

static bool is_transport_field(const struct headers_field *f)
{
    static const char *const names[] = {"Return-Path", "Received", "Delivered-To", "X-Original-To",
                                        "To",          "Cc",       "Bcc",          "Message-ID"};

    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (headers_is(f, names[i]))
            return true;
    return false;
}

void keys_of_mail(const void *raw, size_t n, char **ret_key, uint8_t digest[SHA256_SIZE])
{
    struct digester d = {.sha = sha256_new()};
    struct headers_scan s;
    struct headers_field f;
    char *key = NULL;
    bool id_seen = false;

    headers_scan_init(&s, raw, n);
    while (headers_next(&s, &f)) {
        if (headers_is(&f, "From") || headers_is(&f, "Date") || headers_is(&f, "Subject")) {
            digest_field(&d, &f);
        } else if (!id_seen && headers_is(&f, "Message-ID")) {
            id_seen = true;
            key = key_of_message_id(&f);
        }
    }
    if (!s.separated) {
        struct headers_scan again;

        headers_scan_init(&again, raw, n);
        while (headers_next(&again, &f))
            if (!is_transport_field(&f))
                digest_field(&d, &f);
    }
    digest_add(&d, "\n", 1);
    digest_body(&d, s.p, s.end);
    digest_end(&d, digest);
    *ret_key = key ? key : cd_strdup("none");
}

void keys_of_text(const void *p, size_t n, uint8_t digest[SHA256_SIZE])
{
    sha256(p, n, digest);
}

/* Each part with its final NUL, so that no two lists of parts read the same. */
static void add_part(struct sha256_ctx *c, const char *s)
{
    sha256_add(c, s ? s : "", s ? strlen(s) + 1 : 1);
}

/* Two SMS providers may give the same message id: the provider's name is part of the key. The keys of line
 * and web hold the client already. */
void keys_ledger(const struct envelope *e, uint8_t out[LEDGER_KEY_SIZE])
{
    uint8_t whole[SHA256_SIZE];
    struct sha256_ctx *c = sha256_new();

    add_part(c, channel_name(e->channel));
    if (e->channel == CH_SMS)
        add_part(c, e->client);
    add_part(c, e->key);
    if (e->channel == CH_MAIL)
        sha256_add(c, e->digest, sizeof(e->digest));
    sha256_end(&c, whole);
    memcpy(out, whole, LEDGER_KEY_SIZE);
}

void keys_thread(const char *message_id, uint8_t out[LEDGER_KEY_SIZE])
{
    uint8_t whole[SHA256_SIZE];
    size_t n = strlen(message_id);

    if (n >= 2 && message_id[0] == '<' && message_id[n - 1] == '>') {
        message_id++;
        n -= 2;
    }
    sha256(message_id, n, whole);
    memcpy(out, whole, LEDGER_KEY_SIZE);
}
