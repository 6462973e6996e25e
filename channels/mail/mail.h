#pragma once
/* Private to channels/mail: what its parts offer each other. The SMTP server (smtp.h) takes mail in, decode.c
 * reads it in the triage worker, out.c feeds the mail workers, and mail.c glues them into the channel. */
#include "channels/channel.h"

/* ---- decode.c, in the triage worker ---- */

/* Fills the record from the envelope's raw message; CD_* on failure: the caller makes a degraded one. */
int mail_decode(const struct envelope *e, struct record *r) CD_MUSTUSE;

/* ---- out.c: the pool of mail workers, in the front ---- */

struct mail_out;
/* Starts the workers; 0 or CD_* (logged). host->send_done is called once for each message taken. */
int mail_out_start(const struct channel_host *host, struct mail_out **ret) CD_MUSTUSE;
/* 0 when taken; CD_EAGAIN when the queue is full. Strings of `m` are borrowed during the call. */
int mail_out_send(struct mail_out *o, const struct outgoing *m) CD_MUSTUSE;
/* Workers for the relay as it is configured now; those of before finish what they have. */
void mail_out_reloaded(struct mail_out *o);
bool mail_out_idle(const struct mail_out *o); /* no message without an outcome */
void mail_out_stop(struct mail_out **o);

/* ---- in the mail worker process ---- */

/* `complaintd --worker=mail`: runs jobs from descriptor 3 until EOF; returns the exit status. */
int mail_worker_main(void);
