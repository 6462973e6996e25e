/* The frames between front and mail worker. Readers check everything and set their result only on success,
 * but for job_read(), whose array the caller frees either way. */
#include "channels/mail/out_wire.h"

#include <string.h>
#include <unistd.h>

#include "channels/mail/out_message.h"
#include "daemon/core/err.h"

#define CONFIG_MAX CD_KIB(256)
#define STRING_MAX 4096

void out_config_write(const struct config *cfg, struct buf *out)
{
    wire_u32(out, (uint32_t)config_relays(cfg));
    for (size_t i = 0; i < config_relays(cfg); i++) {
        struct cfg_relay r = config_relay(cfg, i);
        wire_str(out, r.host);
        wire_u32(out, (uint32_t)r.port);
        wire_u8(out, str_eq(r.tls, "starttls"));
        wire_str(out, r.user ? r.user : "");
        wire_str(out, r.password ? r.password : "");
        wire_str(out, r.ca_file ? r.ca_file : "");
    }
    wire_str(out, mail_safe_hostname(cfg->hostname));
    wire_str(out, cfg->state_dir);
    wire_u64(out, (uint64_t)cfg->mail_send_timeout_us);
}

static bool relay_read(struct wire_reader *r, struct relay *ret)
{
    ret->host = wire_read_str(r, STRING_MAX, false);
    ret->port = wire_read_u32(r);
    ret->starttls = wire_read_u8(r);
    ret->user = wire_read_str(r, STRING_MAX, false);
    ret->password = wire_read_str(r, STRING_MAX, false);
    ret->ca_file = wire_read_str(r, STRING_MAX, false);
    return ret->host && ret->user && ret->password && ret->ca_file;
}

int out_config_read(int fd, struct out_config *ret)
{
    CD_CLEANUP_FREE uint8_t *data = cd_alloc(CONFIG_MAX);
    struct out_config c = {0};
    size_t n = 0;
    ssize_t got;
    struct wire_reader r;
    bool whole = true;

    while (n < CONFIG_MAX && (got = pread(fd, data + n, CONFIG_MAX - n, (off_t)n)) != 0) {
        if (got < 0)
            return CD_EIO;
        n += (size_t)got;
    }
    wire_reader_init(&r, data, n);
    c.nrelays = wire_read_count(&r, CONFIG_RELAYS);
    for (size_t i = 0; i < c.nrelays; i++)
        whole = relay_read(&r, &c.relays[i]) && whole;
    c.hostname = wire_read_str(&r, STRING_MAX, false);
    c.home = wire_read_str(&r, STRING_MAX, false);
    c.timeout_us = (int64_t)wire_read_u64(&r);
    explicit_bzero(data, CONFIG_MAX);
    if (r.failed || !c.nrelays || !whole || !c.hostname || !c.home) {
        out_config_free(&c);
        return CD_EINVAL;
    }
    *ret = c;
    return 0;
}

void out_config_free(struct out_config *c)
{
    for (size_t i = 0; i < c->nrelays; i++) {
        struct relay *r = &c->relays[i];
        free(r->host);
        free(r->user);
        if (r->password)
            explicit_bzero(r->password, strlen(r->password));
        free(r->password);
        free(r->ca_file);
    }
    free(c->hostname);
    free(c->home);
    *c = (struct out_config){0};
}

void job_begin(struct buf *b, size_t relay, uint32_t count)
{
    wire_u32(b, (uint32_t)relay);
    wire_u32(b, count);
}

void job_add(struct buf *b, const char *from, const char *rcpt, const void *text, size_t ntext)
{
    wire_str(b, from);
    wire_str(b, rcpt);
    wire_bytes(b, text, ntext);
}

int job_read(const uint8_t *data, size_t n, size_t *ret_relay, struct out_message v[OUT_BATCH_MAX])
{
    struct wire_reader r;

    memset(v, 0, OUT_BATCH_MAX * sizeof *v);
    wire_reader_init(&r, data, n);
    *ret_relay = wire_read_u32(&r);
    uint32_t count = wire_read_count(&r, OUT_BATCH_MAX);
    for (uint32_t i = 0; i < count && !r.failed; i++) {
        v[i].from = wire_read_str(&r, RECORD_MAX_ADDR, false);
        v[i].rcpt = wire_read_str(&r, RECORD_MAX_ADDR, false);
        v[i].text = wire_read_bytes(&r, &v[i].ntext);
        if (!v[i].from || !v[i].rcpt)
            return CD_EINVAL;
    }
    return r.failed ? CD_EINVAL : (int)count;
}

void job_free(struct out_message v[OUT_BATCH_MAX])
{
    for (size_t i = 0; i < OUT_BATCH_MAX; i++) {
        free(v[i].from);
        free(v[i].rcpt);
    }
    memset(v, 0, OUT_BATCH_MAX * sizeof *v);
}

void part_write(struct buf *b, const struct part *p)
{
    wire_u8(b, (uint8_t)p->kind);
    wire_u32(b, p->index);
    wire_u8(b, (uint8_t)p->outcome);
    wire_str(b, p->detail ? p->detail : "");
}

int part_read(const uint8_t *data, size_t n, struct part *ret)
{
    struct wire_reader r;
    struct part p;

    wire_reader_init(&r, data, n);
    uint8_t kind = wire_read_u8(&r);
    p.index = wire_read_u32(&r);
    uint8_t outcome = wire_read_u8(&r);
    p.detail = wire_read_str(&r, 4 * OUT_DETAIL_MAX, true);
    if (r.failed || !p.detail || kind > PART_UNREACHED || outcome > SEND_REJECTED || p.index >= OUT_BATCH_MAX) {
        free(p.detail);
        return CD_EINVAL;
    }
    p.kind = (enum part_kind)kind;
    p.outcome = (enum send_outcome)outcome;
    *ret = p;
    return 0;
}
