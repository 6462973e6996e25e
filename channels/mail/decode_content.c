/* The content of a leaf as bytes and as an attachment. It is decoded from the raw bytes by content.c, as whoever asks
 * for the attachment later has it decoded, so that size and digest are those of what will be handed out. Nothing
 * fails: what does not decode is taken as far as it goes. */
#include <string.h>

#include "channels/mail/content.h"
#include "channels/mail/decode_impl.h"
#include "channels/mail/decode_magic.h"

static const char *encoding_name(GMimeContentEncoding enc)
{
    switch (enc) {
    case GMIME_CONTENT_ENCODING_8BIT:
        return "8bit";
    case GMIME_CONTENT_ENCODING_BINARY:
        return "binary";
    case GMIME_CONTENT_ENCODING_BASE64:
        return "base64";
    case GMIME_CONTENT_ENCODING_QUOTEDPRINTABLE:
        return "quoted-printable";
    case GMIME_CONTENT_ENCODING_UUENCODE:
        return "x-uuencode";
    default:
        return "7bit";
    }
}

const uint8_t *leaf_bytes(struct decoding *d, const struct leaf *l, size_t max, size_t *ret_n,
                          uint8_t **ret_own, bool *ret_cut)
{
    return content_bytes(encoding_name(l->encoding), d->raw + l->offset, l->length, max, ret_n, ret_own, ret_cut);
}

/* ---- size, digest, and what the bytes are ---- */

struct summing {
    struct sha256_ctx *sha;
    uint64_t size;
    uint8_t head[MAGIC_BYTES];
    size_t nhead;
};

static void sum(void *arg, const void *p, size_t n)
{
    struct summing *s = arg;
    size_t more = CD_MIN(n, sizeof s->head - s->nhead);
    if (more > 0)
        memcpy(s->head + s->nhead, p, more);
    s->nhead += more;
    s->size += n;
    sha256_add(s->sha, p, n);
}

static void begin_sum(struct summing *s)
{
    s->sha = sha256_new();
    s->size = s->nhead = 0;
}

static void end_sum(struct decoding *d, struct summing *s, struct attachment *a)
{
    a->size_bytes = s->size;
    sha256_end(&s->sha, a->sha256);
    if (d->looked_at < DECODE_MAX_LOOKED_AT && s->nhead > 0) {
        a->magic_type = cd_strdup(magic_type_of(s->head, s->nhead));
        d->looked_at++;
    }
}

static struct attachment *add(struct decoding *d, const char *filename, const char *type)
{
    struct attachment *a = d->places ? record_add_attachment(d->r) : NULL;
    if (!a) {
        if (d->places)
            decode_degrade(d->r, "more than %d attachments", RECORD_MAX_ATTACHMENTS);
        return NULL;
    }
    free(a->filename);
    a->filename = cd_strdup(filename);
    a->content_type = cd_strdup(type);
    return a;
}

struct attachment *leaf_attach(struct decoding *d, const struct leaf *l)
{
    struct attachment *a = add(d, l->filename, l->type);
    struct summing s;
    if (!a)
        return NULL;
    a->encoding = cd_strdup(encoding_name(l->encoding));
    a->offset = l->offset;
    a->length = l->length;
    a->is_inline = l->is_inline;
    a->content_id = cd_strdup(l->content_id);
    begin_sum(&s);
    content_decode(a->encoding, d->raw + l->offset, l->length, sum, &s);
    end_sum(d, &s, a);
    a->kind = decode_kind_of(d, l, a->magic_type);
    return a;
}

struct attachment *decode_attach_member(struct decoding *d, const struct leaf *container, unsigned number, const char *name,
                                        const char *type, const void *p, size_t n)
{
    struct attachment *a = add(d, name, type);
    struct summing s;
    if (!a)
        return NULL;
    a->encoding = cd_strdup(encoding_name(container->encoding));
    a->offset = container->offset;
    a->length = container->length;
    a->inner = cd_asprintf("tnef:%u", number);
    begin_sum(&s);
    sum(&s, p, n);
    end_sum(d, &s, a);
    return a;
}

/* A mail within the mail, as it stands. Nobody needs to be told what it is. */
void decode_attach_message(struct decoding *d, const char *name, const char *type, size_t offset, size_t length)
{
    struct attachment *a = add(d, name, type);
    if (!a)
        return;
    a->encoding = cd_strdup("8bit");
    a->offset = offset;
    a->length = a->size_bytes = length;
    a->kind = AT_MESSAGE;
    sha256(d->raw + offset, length, a->sha256);
}
