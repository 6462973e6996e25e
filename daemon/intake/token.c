/* Tokens; see token.h. The keys are copied once and at a reload, never within a message. */
#include "daemon/intake/token.h"

#include <string.h>

#include "daemon/core/crypto.h"
#include "daemon/core/err.h"

#define MAC_SIZE 10
#define MAC_TEXT 16 /* symbols */
#define REF_TEXT 12
#define ID_TEXT 26
#define HEAD 2 /* kind and key */
#define MAX_FALSE 4 /* in a text: whoever writes more of them does it for the work that they make */

static const char symbols[] = "0123456789abcdefghjkmnpqrstvwxyz";
static struct token_key keys[TOKEN_MAX_KEYS];
static size_t nkeys;

void token_keys_set(const struct token_key *v, size_t n)
{
    explicit_bzero(keys, sizeof keys);
    nkeys = CD_MIN(n, (size_t)TOKEN_MAX_KEYS);
    if (nkeys)
        memcpy(keys, v, nkeys * sizeof *v);
}

char token_key_current(void)
{
    return nkeys ? keys[0].id : '\0';
}

static const struct token_key *key_of(char id)
{
    for (size_t i = 0; i < nkeys; i++)
        if (keys[i].id == id)
            return &keys[i];
    return NULL;
}

/* The bits from the left; what is missing to the last symbol is zero. */
static void to_symbols(const uint8_t *p, size_t n, char *out)
{
    uint32_t bits = 0;
    unsigned have = 0;
    for (size_t i = 0; i < n; i++) {
        bits = bits << 8 | p[i];
        for (have += 8; have >= 5; have -= 5)
            *out++ = symbols[bits >> (have - 5) & 31];
    }
    if (have)
        *out++ = symbols[bits << (5 - have) & 31];
    *out = '\0';
}

static bool from_symbols(const char *s, size_t n, uint8_t *out)
{
    uint32_t bits = 0;
    unsigned have = 0;
    for (size_t i = 0; i < n; i++) {
        const char *at = memchr(symbols, s[i], sizeof symbols - 1);
        if (!at)
            return false;
        bits = bits << 5 | (uint32_t)(at - symbols);
        have += 5;
        if (have >= 8)
            *out++ = (uint8_t)(bits >> (have -= 8));
    }
    return (bits & ((1u << have) - 1)) == 0;
}

/* Over "kind key name", which is what stands in front of it. */
static void sign(const struct token_key *k, const char *text, size_t n, char out[MAC_TEXT + 1])
{
    static const char purpose[] = "complaintd token";
    char signed_text[sizeof purpose + TOKEN_TEXT_SIZE];
    uint8_t mac[SHA256_SIZE];
    memcpy(signed_text, purpose, sizeof purpose); /* with its NUL */
    memcpy(signed_text + sizeof purpose, text, n);
    hmac_sha256(k->secret, sizeof k->secret, signed_text, sizeof purpose + n, mac);
    to_symbols(mac, MAC_SIZE, out);
}

static void make(char kind, const char *name, char key, char out[TOKEN_TEXT_SIZE])
{
    const struct token_key *k = key_of(key);
    out[0] = '\0';
    if (!k)
        k = nkeys ? &keys[0] : NULL;
    if (!k)
        return;
    size_t n = strlen(name);
    out[0] = kind;
    out[1] = k->id;
    memcpy(out + HEAD, name, n);
    sign(k, out, HEAD + n, out + HEAD + n);
}

void token_complaint(const char *ref, char key, char out[TOKEN_TEXT_SIZE])
{
    char normal[REF_TEXT_SIZE], name[REF_TEXT + 1];
    size_t n = 0;
    out[0] = '\0';
    if (ref_parse(ref, strlen(ref), normal) < 0)
        return;
    for (const char *p = normal + 1; *p && n < REF_TEXT; p++)
        if (*p != '-')
            name[n++] = (char)(*p >= 'A' && *p <= 'Z' ? *p + 32 : *p);
    name[n] = '\0';
    make('c', name, key, out);
}

void token_notification(const struct uuid *id, char key, char out[TOKEN_TEXT_SIZE])
{
    char name[ID_TEXT + 1];
    to_symbols(id->b, sizeof id->b, name);
    make('n', name, key, out);
}

static size_t name_length(char kind)
{
    return kind == 'c' ? REF_TEXT : kind == 'n' ? ID_TEXT : 0;
}

int token_read(const char *s, size_t n, struct token *ret)
{
    char text[TOKEN_TEXT_SIZE], mac[MAC_TEXT + 1];
    struct token t = {.kind = TOKEN_COMPLAINT};
    if (n < HEAD + MAC_TEXT || n >= sizeof text)
        return CD_EINVAL;
    for (size_t i = 0; i < n; i++)
        text[i] = (char)(s[i] >= 'A' && s[i] <= 'Z' ? s[i] + 32 : s[i]);
    size_t name = name_length(text[0]);
    if (!name || n != HEAD + name + MAC_TEXT)
        return CD_EINVAL;
    if (text[0] == 'c') {
        if (ref_parse(text + HEAD, name, t.ref) < 0)
            return CD_EINVAL;
    } else {
        t.kind = TOKEN_NOTIFICATION;
        if (!from_symbols(text + HEAD, name, t.id.b))
            return CD_EINVAL;
    }
    const struct token_key *k = key_of(text[1]);
    if (!k)
        return CD_EPERM;
    sign(k, text, HEAD + name, mac);
    if (!equal_ct(mac, text + HEAD + name, MAC_TEXT))
        return CD_EPERM;
    *ret = t;
    return 0;
}

static bool is_word(char c)
{
    return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z');
}

int token_find(const char *text, struct token *ret)
{
    int result = CD_ENOTFOUND;
    unsigned wrong = 0;
    for (const char *p = text; p && *p;) {
        size_t n = 0;
        while (is_word(p[n]))
            n++;
        int r = n ? token_read(p, n, ret) : CD_EINVAL;
        if (r == 0)
            return 0;
        if (r == CD_EPERM) {
            result = CD_EPERM;
            if (++wrong == MAX_FALSE)
                return result;
        }
        p += n ? n : 1;
    }
    return result;
}
