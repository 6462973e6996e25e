/* Envelopes: making, freeing, and their form as bytes. The frame is written by the front and read by a
 * worker, or read back by the front from the table of pending envelopes, perhaps by a later version: it
 * begins with a version byte. An envelope owns everything in it. Reading fails with CD_EINVAL on any fault
 * and then leaves nothing behind. Texts are not required to be UTF-8 here: what a channel once took in must
 * be readable again, whatever its peer sent. */
#include "daemon/intake/envelope.h"

#include "daemon/core/err.h"

#include <string.h>

#define ENVELOPE_VERSION 1
#define ENVELOPE_MAX_RECIPIENTS 10000
#define ENVELOPE_MAX_DESKS 1000
#define ENVELOPE_MAX_ADDR 1024
#define ENVELOPE_MAX_KEY 4096

static const char *const channel_names[CH_COUNT] = {
    [CH_MAIL] = "mail",
    [CH_SMS] = "sms",
    [CH_LINE] = "line",
    [CH_WEB] = "web",
};

static const char *const outcome_names[OUT_COUNT] = {
    [OUT_NEW] = "new",
    [OUT_FOLLOW_UP] = "follow-up",
    [OUT_DUPLICATE] = "duplicate",
    [OUT_AUTO_REPLY] = "auto-reply",
    [OUT_BOUNCE] = "bounce",
    [OUT_BULK] = "bulk",
    [OUT_OWN] = "own",
    [OUT_CONTROL] = "control",
    [OUT_PENDING] = "pending",
    [OUT_SPOOLED] = "spooled",
};

static int find_name(const char *const *names, size_t n, const char *s)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(names[i], s))
            return (int)i;
    return -1;
}

const char *channel_name(enum channel_id c)
{
    return (unsigned)c < CH_COUNT ? channel_names[c] : "unknown";
}

const char *outcome_name(enum outcome o)
{
    return (unsigned)o < OUT_COUNT ? outcome_names[o] : "unknown";
}

int channel_from_name(const char *s)
{
    return find_name(channel_names, CH_COUNT, s);
}

int outcome_from_name(const char *s)
{
    return find_name(outcome_names, OUT_COUNT, s);
}

struct envelope *envelope_new(enum channel_id channel, size_t raw_cap)
{
    struct envelope *e = cd_alloc(sizeof(*e));

    e->id = uuid_new();
    e->channel = channel;
    e->ack.channel = (uint8_t)channel;
    buf_init(&e->raw, raw_cap);
    return e;
}

void envelope_free(struct envelope **ep)
{
    struct envelope *e = *ep;

    if (!e)
        return;
    *ep = NULL;
    free(e->client);
    free(e->sender);
    free(e->tls);
    free(e->key);
    strlist_free(&e->recipients);
    strlist_free(&e->desks);
    buf_free(&e->raw);
    free(e);
}

static size_t text_bytes(const char *s)
{
    return s ? strlen(s) + 1 : 0;
}

static size_t list_bytes(const struct strlist *l)
{
    size_t n = 0;

    for (size_t i = 0; i < l->n; i++)
        n += sizeof(char *) + text_bytes(l->v[i]);
    return n;
}

size_t envelope_bytes(const struct envelope *e)
{
    return sizeof(*e) + e->raw.len + text_bytes(e->client) + text_bytes(e->sender) + text_bytes(e->key) +
           list_bytes(&e->recipients) + list_bytes(&e->desks);
}

static void write_list(struct buf *out, const struct strlist *l)
{
    wire_u32(out, (uint32_t)l->n);
    for (size_t i = 0; i < l->n; i++)
        wire_str(out, l->v[i]);
}

void envelope_write_head(const struct envelope *e, struct buf *out)
{
    wire_u8(out, ENVELOPE_VERSION);
    wire_bytes(out, e->id.b, sizeof(e->id.b));
    wire_u8(out, (uint8_t)e->channel);
    wire_u64(out, (uint64_t)e->received_at_us);
    wire_str(out, e->client);
    wire_str(out, e->sender);
    write_list(out, &e->recipients);
    write_list(out, &e->desks);
    wire_str(out, e->key);
    wire_bytes(out, e->digest, sizeof(e->digest));
    wire_u8(out, e->from_pending);
    wire_u32(out, e->worker_deaths);
    cd_assert(e->raw.len < UINT32_MAX);
    wire_u32(out, (uint32_t)e->raw.len);
}

void envelope_write(const struct envelope *e, struct buf *out)
{
    envelope_write_head(e, out);
    buf_append(out, e->raw.data, e->raw.len);
}

static bool read_fixed(struct wire_reader *r, void *out, size_t size)
{
    size_t n;
    const uint8_t *p = wire_read_bytes(r, &n);

    if (!p || n != size)
        return false;
    memcpy(out, p, size);
    return true;
}

static bool read_list(struct wire_reader *r, uint32_t max, struct strlist *ret)
{
    uint32_t n = wire_read_count(r, max);

    for (uint32_t i = 0; i < n && !r->failed; i++) {
        char *s = wire_read_str(r, ENVELOPE_MAX_ADDR, false);

        if (!s)
            return false;
        strlist_take(ret, s);
    }
    return !r->failed;
}

static bool read_raw(struct wire_reader *r, struct buf *raw)
{
    size_t n;
    const uint8_t *p = wire_read_bytes(r, &n);

    if (r->failed)
        return false;
    buf_init(raw, n + 1);
    return n == 0 || buf_append(raw, p, n) == 0;
}

static bool read_envelope(struct wire_reader *r, struct envelope *e)
{
    if (wire_read_u8(r) != ENVELOPE_VERSION || !read_fixed(r, e->id.b, sizeof(e->id.b)))
        return false;
    uint8_t channel = wire_read_u8(r);
    if (r->failed || channel >= CH_COUNT)
        return false;
    e->channel = (enum channel_id)channel;
    e->ack.channel = channel;
    e->received_at_us = (int64_t)wire_read_u64(r);
    e->client = wire_read_str(r, ENVELOPE_MAX_ADDR, false);
    e->sender = wire_read_str(r, ENVELOPE_MAX_ADDR, false);
    if (!read_list(r, ENVELOPE_MAX_RECIPIENTS, &e->recipients) ||
        !read_list(r, ENVELOPE_MAX_DESKS, &e->desks))
        return false;
    e->key = wire_read_str(r, ENVELOPE_MAX_KEY, false);
    if (!read_fixed(r, e->digest, sizeof(e->digest)))
        return false;
    e->from_pending = wire_read_u8(r) != 0;
    e->worker_deaths = wire_read_u32(r);
    return read_raw(r, &e->raw) && !r->failed && r->p == r->end;
}

int envelope_read(const void *p, size_t n, struct envelope **ret)
{
    struct wire_reader r;
    struct envelope *e = cd_alloc(sizeof(*e));

    buf_init(&e->raw, 1);
    wire_reader_init(&r, p, n);
    if (!read_envelope(&r, e)) {
        envelope_free(&e);
        return CD_EINVAL;
    }
    *ret = e;
    return 0;
}
