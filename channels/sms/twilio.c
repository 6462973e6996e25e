/* Twilio signs the URL that it called followed by all parameters, sorted by name, each as name and value
 * without separators; values of a name that occurs several times are sorted and given once each. Which port
 * it thinks is in the URL varies, and so does the spelling of an apostrophe. Nothing is kept; a token of ""
 * never verifies. */
#include "channels/sms/twilio.h"

#include <string.h>

#include "daemon/core/crypto.h"
#include "daemon/core/str.h"

static int compare_bytes(const char *a, size_t na, const char *b, size_t nb)
{
    int r = memcmp(a, b, CD_MIN(na, nb));

    return r ? r : (na > nb) - (na < nb);
}

static int compare_pairs(const void *pa, const void *pb)
{
    const struct form_pair *a = *(const struct form_pair *const *)pa,
                           *b = *(const struct form_pair *const *)pb;
    int r = compare_bytes(a->name, a->nname, b->name, b->nname);

    return r ? r : compare_bytes(a->value, a->nvalue, b->value, b->nvalue);
}

static void append_params(struct buf *data, const struct form *f)
{
    const struct form_pair *sorted[FORM_MAX_PAIRS];

    for (size_t i = 0; i < f->n; i++)
        sorted[i] = &f->v[i];
    qsort(sorted, f->n, sizeof *sorted, compare_pairs);
    for (size_t i = 0; i < f->n; i++) {
        if (i && compare_pairs(&sorted[i - 1], &sorted[i]) == 0)
            continue;
        buf_append(data, sorted[i]->name, sorted[i]->nname);
        buf_append(data, sorted[i]->value, sorted[i]->nvalue);
    }
}

void twilio_sign(const char *token, const char *url, const struct form *f, char out[TWILIO_SIGNATURE_SIZE])
{
    struct buf data;
    uint8_t mac[20];

    size_t size = strlen(url);
    for (size_t i = 0; f && i < f->n; i++)
        size += f->v[i].nname + f->v[i].nvalue;
    buf_init(&data, size);
    buf_append_str(&data, url);
    if (f)
        append_params(&data, f);
    hmac_sha1(token, strlen(token), data.data, data.len, mac);
    buf_free(&data);
    CD_CLEANUP_FREE char *text = base64_encode(mac, sizeof mac);
    memcpy(out, text, TWILIO_SIGNATURE_SIZE);
}

/* ---- forms of a URL ---- */

#define VARIANTS_MAX 9

struct variants {
    char *v[VARIANTS_MAX];
    size_t n;
};

static void add_variant(struct variants *l, char *url)
{
    for (size_t i = 0; i < l->n; i++)
        if (str_eq(l->v[i], url)) {
            free(url);
            return;
        }
    cd_assert(l->n < VARIANTS_MAX);
    l->v[l->n++] = url;
}

static char *replace_all(const char *s, const char *from, const char *to)
{
    struct buf b;

    buf_init(&b, 3 * strlen(s));
    while (*s) {
        if (str_starts(s, from)) {
            buf_append_str(&b, to);
            s += strlen(from);
        } else {
            buf_append_char(&b, *s++);
        }
    }
    return b.len ? buf_steal(&b) : cd_strdup("");
}

static void add_spellings(struct variants *l, char *url)
{
    add_variant(l, replace_all(url, "'", "%27"));
    add_variant(l, replace_all(url, "%27", "'"));
    add_variant(l, url);
}

static void list_variants(struct variants *l, const char *url)
{
    const char *host = strstr(url, "://");
    bool tls = str_istarts(url, "https:");

    add_spellings(l, cd_strdup(url));
    if (!host)
        return;
    host += 3;
    size_t authority = strcspn(host, "/?#");
    size_t name = authority;
    while (name > 0 && host[name - 1] >= '0' && host[name - 1] <= '9')
        name--;
    name = name > 0 && name < authority && host[name - 1] == ':' ? name - 1 : authority;
    int before = (int)(host - url + (ptrdiff_t)name);
    const char *rest = host + authority;
    add_spellings(l, cd_asprintf("%.*s%s", before, url, rest));
    if (name == authority)
        add_spellings(l, cd_asprintf("%.*s:%d%s", before, url, tls ? 443 : 80, rest));
}

static bool signs(const char *token, const char *url, const struct form *f, const char *signature)
{
    char want[TWILIO_SIGNATURE_SIZE];

    if (!token || !token[0])
        return false;
    twilio_sign(token, url, f, want);
    return equal_ct(want, signature, TWILIO_SIGNATURE_SIZE - 1);
}

/* The URL as it is comes first, and is nearly always the one. Which form held is no secret; the comparison itself takes the same
 * time whatever differs. */
bool twilio_verify(const char *token, const char *old_token, const char *url, const struct form *f,
                   const char *signature)
{
    struct variants urls = {0};
    bool ok = false;

    if (strlen(signature) != TWILIO_SIGNATURE_SIZE - 1)
        return false;
    if (signs(token, url, f, signature))
        return true;
    list_variants(&urls, url);
    for (size_t i = 0; i < urls.n && !ok; i++)
        ok = signs(token, urls.v[i], f, signature) || signs(old_token, urls.v[i], f, signature);
    for (size_t i = 0; i < urls.n; i++)
        free(urls.v[i]);
    return ok;
}
