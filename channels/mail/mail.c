/* The mail channel: the SMTP server takes complaints in, the mail workers send what is to be told. It owns
 * both; when either cannot start, neither does. */
#include "channels/mail/mail.h"

#include "channels/mail/smtp.h"

struct mail_channel {
    struct smtp_server *smtp;
    struct mail_out *out;
};

static void mail_stop(void **state)
{
    struct mail_channel *m = *state;
    if (!m)
        return;
    smtp_server_free(&m->smtp);
    if (m->out)
        mail_out_stop(&m->out);
    free(m);
    *state = NULL;
}

static int mail_start(const struct channel_host *host, void **ret_state)
{
    struct mail_channel *m = cd_alloc(sizeof *m);
    void *state = m;
    /* the way out first: nobody is let in while answers could not be sent */
    int r = mail_out_start(host, &m->out);
    if (!r)
        r = smtp_server_new(host, &m->smtp);
    if (r < 0) {
        mail_stop(&state);
        return r;
    }
    *ret_state = m;
    return 0;
}

static void mail_reloaded(void *state)
{
    struct mail_channel *m = state;
    smtp_server_reloaded(m->smtp);
    mail_out_reloaded(m->out);
}

static void mail_drain(void *state)
{
    struct mail_channel *m = state;
    smtp_server_drain(m->smtp);
}

static bool mail_idle(void *state)
{
    struct mail_channel *m = state;
    return smtp_server_idle(m->smtp) && mail_out_idle(m->out);
}

static int mail_send(void *state, const struct outgoing *o)
{
    struct mail_channel *m = state;
    return mail_out_send(m->out, o);
}

const struct channel channel_mail = {
    .name = "mail",
    .id = CH_MAIL,
    .start = mail_start,
    .drain = mail_drain,
    .idle = mail_idle,
    .stop = mail_stop,
    .reloaded = mail_reloaded,
    .decode = mail_decode,
    .send = mail_send,
    .transport = TR_MAIL,
};
