/* POSTs, a connection each, since the server ends it after its answer. http: Twilio's webhook, a signed form; web: a complaint as JSON.
 * 2xx is accepted. */
#include <stdio.h>
#include <string.h>

#include "daemon/core/crypto.h"
#include "tests/bench/load.h"
#include "tests/bench/sock.h"

struct http_conn {
    struct load_conn c; /* first */
    struct sock s;
    struct load_job job;
    bool busy;
    int status;
    char first[120]; /* the status line */
    struct buf text, form, signed_text, out;
};

/* One parameter, in the order of the names: the signature wants them sorted. */
static void add_param(struct http_conn *k, const char *name, const char *value)
{
    buf_printf(&k->signed_text, "%s%s", name, value);
    buf_printf(&k->form, "%s%s=", k->form.len ? "&" : "", name);
    for (; *value; value++) {
        unsigned char c = (unsigned char)*value;
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'))
            buf_append_char(&k->form, (char)c);
        else if (c == ' ')
            buf_append_char(&k->form, '+');
        else
            buf_printf(&k->form, "%%%02X", c);
    }
}

static const char *path_of(const char *url)
{
    const char *host = strstr(url, "://");
    const char *path = host ? strchr(host + 3, '/') : NULL;
    return path ? path : "/";
}

static void key(const struct load_options *o, uint64_t i, struct text_item *ret)
{
    text_item(&o->text, "", i, ret);
    snprintf(ret->key, sizeof ret->key, "SM%016llx%016llx", (unsigned long long)o->text.seed,
             (unsigned long long)i);
}

static void web_key(const struct load_options *o, uint64_t i, struct text_item *ret)
{
    text_item(&o->text, "load-", i, ret);
}

static void make_complaint(struct http_conn *k)
{
    const struct load_options *o = &k->c.load->o;
    struct text_item item;

    web_key(o, k->job.i, &item);
    text_plain(&o->text, k->job.i, &item, o->text.size, &k->text);
    buf_append_str(&k->form, "{\"channel\":\"web\",");
    text_json_members(&item, buf_str(&k->text), &k->form);
    buf_append_char(&k->form, '}');
    buf_printf(&k->out,
               "POST /v1/complaints HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\n"
               "Idempotency-Key: %s\r\nContent-Length: %zu\r\n\r\n",
               o->token, item.key, k->form.len);
    buf_append(&k->out, k->form.data, k->form.len);
}

static void make_sms(struct http_conn *k)
{
    const struct load_options *o = &k->c.load->o;
    struct text_item item;
    uint8_t mac[20];

    key(o, k->job.i, &item);
    text_plain(&o->text, k->job.i, &item, 160, &k->text);
    buf_append_str(&k->signed_text, o->url);
    add_param(k, "AccountSid", o->account);
    add_param(k, "ApiVersion", "2010-04-01");
    add_param(k, "Body", buf_str(&k->text));
    add_param(k, "From", item.phone);
    add_param(k, "MessageSid", item.key);
    add_param(k, "NumMedia", "0");
    add_param(k, "NumSegments", "2");
    add_param(k, "SmsMessageSid", item.key);
    add_param(k, "SmsSid", item.key);
    add_param(k, "SmsStatus", "received");
    add_param(k, "To", o->number);
    hmac_sha1(o->token, strlen(o->token), k->signed_text.data, k->signed_text.len, mac);
    CD_CLEANUP_FREE char *signature = base64_encode(mac, sizeof mac);
    buf_printf(&k->out,
               "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-www-form-urlencoded; "
               "charset=UTF-8\r\n"
               "X-Twilio-Signature: %s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n",
               path_of(o->url), signature, k->form.len);
    buf_append(&k->out, k->form.data, k->form.len);
}

static void make_request(struct http_conn *k)
{
    struct buf *all[] = {&k->text, &k->form, &k->signed_text, &k->out};

    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        buf_reset(all[i]);
    if (k->c.load->o.mode == &load_web)
        make_complaint(k);
    else
        make_sms(k);
}

static void wake(struct load_conn *c)
{
    struct http_conn *k = (struct http_conn *)c;
    if (k->busy || !load_take(c, &k->job))
        return;
    k->busy = true;
    k->status = 0;
    make_request(k);
    if (sock_open(&k->s, &c->load->o.peer) < 0) {
        k->busy = false;
        load_answered(c, &k->job, REPORT_ERROR, "connect");
        load_later(c);
        return;
    }
    sock_send(&k->s, k->out.data, k->out.len);
}

static void answer(struct http_conn *k, const char *why)
{
    enum report_result r = k->status / 100 == 2 ? REPORT_ACCEPTED : k->status ? REPORT_REFUSED : REPORT_ERROR;
    k->busy = false;
    load_answered(&k->c, &k->job, r, k->status ? k->first : why);
}

static void on_line(struct sock *s, const char *line, size_t n)
{
    struct http_conn *k = (struct http_conn *)((char *)s - offsetof(struct http_conn, s));
    if (k->status || n < 12 || strncmp(line, "HTTP/1.", 7) != 0)
        return;
    k->status = (line[9] - '0') * 100 + (line[10] - '0') * 10 + (line[11] - '0');
    snprintf(k->first, sizeof k->first, "%s", line);
}

static void on_close(struct sock *s, const char *why)
{
    struct http_conn *k = (struct http_conn *)((char *)s - offsetof(struct http_conn, s));
    bool broken = k->status == 0;
    answer(k, why);
    if (broken)
        load_later(&k->c);
    else
        wake(&k->c);
}

static struct load_conn *start(struct load *l)
{
    struct http_conn *k = cd_alloc(sizeof *k);
    k->c.load = l;
    k->s = (struct sock){.base = l->base, .fd = -1, .on_line = on_line, .on_close = on_close};
    struct buf *all[] = {&k->text, &k->form, &k->signed_text, &k->out};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        buf_init(all[i], CD_MIB(1));
    wake(&k->c);
    return &k->c;
}

const struct load_mode load_http = {"http", "sms", start, wake, key};
const struct load_mode load_web = {"web", "web", start, wake, web_key};
