/* S/MIME and OpenPGP: named, and read as far as that needs no key. Nothing is verified here, so "signed" means that
 * there is a signature, not that it is good. */
#include <openssl/cms.h>
#include <openssl/err.h>
#include <string.h>

#include "channels/mail/decode_impl.h"

#define MAX_PKCS7 CD_MIB(8)

bool secure_is_pkcs7(const char *type)
{
    return str_eq(type, "application/pkcs7-mime") || str_eq(type, "application/x-pkcs7-mime");
}

bool secure_is_signature(const char *type)
{
    return str_eq(type, "application/pkcs7-signature") || str_eq(type, "application/x-pkcs7-signature") || str_eq(type, "application/pgp-signature");
}

/* What is encrypted stays the answer, whatever is signed around it or in it. */
static void say(struct record *r, const char *what)
{
    if (r->security && (strstr(r->security, "encrypted") || !strstr(what, "encrypted")))
        return;
    free(r->security);
    r->security = cd_strdup(what);
}

void secure_multipart(struct decoding *d, GMimeContentType *ct)
{
    const char *protocol = g_mime_content_type_get_parameter(ct, "protocol");
    bool pgp = protocol && str_istarts(protocol, "application/pgp");
    if (g_mime_content_type_is_type(ct, "multipart", "signed")) {
        say(d->r, pgp ? "pgp-signed" : "smime-signed");
    } else if (g_mime_content_type_is_type(ct, "multipart", "encrypted")) {
        say(d->r, pgp || !protocol ? "pgp-encrypted" : "smime-encrypted");
        d->encrypted = true;
    }
}

/* ---- PKCS #7 ---- */

/* The content of signed data; NULL when it is none, or detached. Free it with CMS_ContentInfo_free. */
static CMS_ContentInfo *open_signed(const uint8_t *p, size_t n, const uint8_t **ret_p, size_t *ret_n)
{
    CMS_ContentInfo *cms = d2i_CMS_ContentInfo(NULL, &p, (long)n);
    bool is_signed = cms && OBJ_obj2nid(CMS_get0_type(cms)) == NID_pkcs7_signed;
    ASN1_OCTET_STRING **content = is_signed ? CMS_get0_content(cms) : NULL;
    ERR_clear_error();
    *ret_p = content && *content ? ASN1_STRING_get0_data(*content) : NULL;
    *ret_n = *ret_p ? (size_t)ASN1_STRING_length(*content) : 0;
    return cms;
}

/* The parameter, or what the object identifier near the front says: enveloped data, or that with authentication. */
static bool says_encrypted(const struct leaf *l, const uint8_t *p, size_t n)
{
    static const uint8_t enveloped[] = {0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x03};
    static const uint8_t authenticated[] = {0x06, 0x0b, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x10, 0x01, 0x17};
    const char *type = g_mime_object_get_content_type_parameter(l->part, "smime-type");
    if (type)
        return str_ieq(type, "enveloped-data") || str_ieq(type, "authEnveloped-data");
    size_t head = CD_MIN(n, (size_t)64);
    return memmem(p, head, enveloped, sizeof enveloped) || memmem(p, head, authenticated, sizeof authenticated);
}

void secure_pkcs7(struct decoding *d, const struct leaf *l, struct part_text *t)
{
    uint8_t *own;
    const uint8_t *inner = NULL;
    size_t n, ninner = 0;
    bool cut;
    const uint8_t *p = leaf_bytes(d, l, MAX_PKCS7, &n, &own, &cut);
    bool encrypted = says_encrypted(l, p, n);
    CMS_ContentInfo *cms = encrypted ? NULL : open_signed(p, n, &inner, &ninner);
    bool is_signed = inner || str_ieq(g_mime_object_get_content_type_parameter(l->part, "smime-type"), "signed-data");
    struct attachment *a = d->places && d->r->nattachments ? &d->r->attachments[d->r->nattachments - 1] : NULL;
    if (encrypted || is_signed)
        say(d->r, encrypted ? "smime-encrypted" : "smime-signed");
    if (!encrypted && !d->encrypted && a && a->offset == l->offset && a->kind == AT_ENCRYPTED)
        a->kind = is_signed ? AT_SIGNATURE : AT_FILE; /* compressed, certificates alone, or nothing known */
    if (inner)
        decode_encoded_message(d, inner, ninner, false, true, t);
    else if (is_signed)
        decode_degrade(d->r, "the content of a signed part could not be read");
    CMS_ContentInfo_free(cms);
    free(own);
}

/* ---- armour ---- */

static const char begin_signed[] = "-----BEGIN PGP SIGNED MESSAGE-----", begin_signature[] = "-----BEGIN PGP SIGNATURE-----",
                  end_signature[] = "-----END PGP SIGNATURE-----", begin_message[] = "-----BEGIN PGP MESSAGE-----";

/* The first line at or after `s` that begins so. */
static char *find_line(char *s, const char *word)
{
    for (char *p = s; (p = strstr(p, word)) != NULL; p++)
        if (p == s || p[-1] == '\n')
            return p;
    return NULL;
}

static char *behind_line(char *p)
{
    char *nl = strchr(p, '\n');
    return nl ? nl + 1 : p + strlen(p);
}

/* Takes out the headers of the armour, the dashes that protect lines, and the signature (RFC 4880 7). */
static void take_off(char *from)
{
    char *w = from, *p = behind_line(from);
    while (*p && *p != '\n' && *p != '\r') /* "Hash: …" */
        p = behind_line(p);
    p = behind_line(p);
    char *signature = find_line(p, begin_signature);
    if (!signature)
        return;
    while (p < signature) {
        char *next = behind_line(p);
        if (p[0] == '-' && p[1] == ' ')
            p += 2;
        memmove(w, p, (size_t)(next - p));
        w += next - p;
        p = next;
    }
    char *end = find_line(signature, end_signature);
    p = end ? behind_line(end) : signature + strlen(signature);
    memmove(w, p, strlen(p) + 1);
}

size_t decode_take_armor(struct decoding *d, char *s, size_t n)
{
    if (!memmem(s, n, "-----BEGIN PGP", 14))
        return n;
    char *from = find_line(s, begin_signed);
    if (find_line(s, begin_message))
        say(d->r, "pgp-encrypted");
    if (!from)
        return n;
    say(d->r, "pgp-signed");
    take_off(from);
    return strlen(s);
}
