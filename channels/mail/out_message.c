/* Builds the outgoing message from what the notification says. The caller owns the buffer. Header values come
 * from rules, customers and configuration, so none of them reaches the message unchecked: addresses must be
 * strict mailboxes, ids are reduced to the characters of an id, everything else goes through
 * mail_encode_field(). */
#include "channels/mail/out_message.h"

#include <ctype.h>
#include <string.h>

#include "daemon/core/clock.h"
#include "daemon/core/err.h"
#include "daemon/intake/handle.h"

#define ID_MAX 255

const char *mail_safe_hostname(const char *name)
{
    size_t n = strlen(name);

    if (n == 0 || n > 253 || !isalnum((unsigned char)name[0]))
        return "localhost";
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)name[i]) && name[i] != '-' && name[i] != '.')
            return "localhost";
    return name;
}

static bool id_char(char c)
{
    return isalnum((unsigned char)c) || (c && strchr("!#$%&'*+-/=?^_`{|}~.", c));
}

char *mail_message_id(const struct config *cfg, const char *key)
{
    const char *host = mail_safe_hostname(cfg->hostname);
    const char *at = strchr(key, '@');
    struct buf b;

    buf_init(&b, ID_MAX + 256);
    for (const char *p = key; *p && b.len < ID_MAX; p++)
        if (p == at && b.len)
            buf_append_char(&b, '@');
        else if (*p != '<' && *p != '>')
            buf_append_char(&b, id_char(*p) ? *p : '-');
    if (!b.len)
        buf_append_str(&b, "none");
    if (!strchr(buf_str(&b), '@'))
        buf_printf(&b, "@%s", host);
    else if (b.data[b.len - 1] == '@')
        buf_append_str(&b, host);
    return buf_steal(&b);
}

/* A Message-ID that somebody else made: repeated only if it can do no harm in a header. */
static bool id_usable(const char *id)
{
    size_t n = id ? strlen(id) : 0;

    if (n == 0 || n > 900)
        return false;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)id[i] <= ' ' || (unsigned char)id[i] > 0x7e || id[i] == '<' || id[i] == '>')
            return false;
    return true;
}

static void add_ids(struct buf *b, const struct config *cfg, const struct outgoing *m)
{
    const char *name = m->message_id ? m->message_id : m->idempotency_key;
    CD_CLEANUP_FREE char *id = mail_message_id(cfg, name ? name : "");
    const char *sep = "References:";

    buf_printf(b, "Message-ID: <%s>\r\n", id);
    if (id_usable(m->in_reply_to))
        buf_printf(b, "In-Reply-To: <%s>\r\n", m->in_reply_to);
    for (size_t i = 0; m->references && i < m->references->n; i++)
        if (id_usable(m->references->v[i])) {
            buf_printf(b, "%s <%s>\r\n", sep, m->references->v[i]);
            sep = "";
        }
    if (*sep && id_usable(m->in_reply_to))
        buf_printf(b, "References: <%s>\r\n", m->in_reply_to);
}

static bool address_ok(const char *s)
{
    return s && mail_address_valid(s, strlen(s), false);
}

/* A language tag as RFC 3282 has it; templates are named by it. */
static bool language_ok(const char *s)
{
    size_t n = s ? strlen(s) : 0;

    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)s[i]) && s[i] != '-')
            return false;
    return n > 0 && n < 64;
}

static void add_body(struct buf *out, const char *text)
{
    CD_CLEANUP_FREE char *clean = utf8_clean(text, strlen(text), NULL);
    struct buf flowed;

    buf_init(&flowed, out->cap);
    mail_flow_text(&flowed, clean);
    out->failed |= flowed.failed;
    mail_encode_body(out, buf_str(&flowed));
    buf_free(&flowed);
}

int mail_message_build(const struct config *cfg, const struct outgoing *m, int64_t now_us, struct buf *out)
{
    const char *from = m->from && m->from[0] ? m->from : cfg->mail_from;
    char date[CLOCK_TEXT_SIZE];

    CD_CLEANUP_FREE char *to = mail_address_on_wire(m->recipient);

    if (!to || !address_ok(from) ||
        (m->reply_to && m->reply_to[0] && !address_ok(m->reply_to)))
        return CD_EINVAL;
    clock_format_mail(now_us, date);
    buf_printf(out, "Date: %s\r\n", date);
    mail_encode_mailbox(out, "From", cfg->mail_from_name, from);
    mail_encode_mailbox(out, "To", NULL, to);
    if (m->reply_to && m->reply_to[0])
        mail_encode_mailbox(out, "Reply-To", NULL, m->reply_to);
    if (m->subject && m->subject[0])
        mail_encode_field(out, "Subject", m->subject);
    add_ids(out, cfg, m);
    if (!m->personal)
        buf_printf(out, "Auto-Submitted: %s\r\n", m->automatic ? "auto-replied" : "auto-generated");
    mail_encode_field(out, "X-Complaintd-Instance", cfg->instance);
    if (m->hops)
        buf_printf(out, "X-Complaintd-Hops: %u\r\n", m->hops);
    if (m->sandbox)
        buf_append_str(out, "X-Complaintd-Sandbox: yes\r\n");
    if (language_ok(m->language))
        buf_printf(out, "Content-Language: %s\r\n", m->language);
    buf_append_str(out, "MIME-Version: 1.0\r\n"
                        "Content-Type: text/plain; charset=UTF-8; format=flowed; delsp=no\r\n");
    add_body(out, m->text ? m->text : "");
    return out->failed ? CD_ENOMEM : 0;
}
