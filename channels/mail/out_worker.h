#pragma once
/* Private to channels/mail, in the mail worker: a job, its messages and what is told of them. esmtp.c carries
 * those with ASCII addresses, curl_smtp.c the others. */
#include "channels/mail/out_wire.h"
#include "daemon/worker/worker.h"

struct message {
    struct session *session;
    uint32_t index;
    struct out_message m;
    struct smtp_message *handle; /* libesmtp's, during its session */
    struct smtp_recipient *recipient;
    bool handed; /* the text, since the last rewind */
    bool begun, reported;
};

struct session {
    const struct out_config *cfg;
    const struct relay *relay;
    struct worker_child *child;
    uint64_t job;
    struct message v[OUT_BATCH_MAX];
    int n;
    bool reached;    /* told PART_REACHED */
    int code;        /* the relay's last status */
    char reply[128]; /* … and words */
    bool starttls_sent, starttls_answered, injected;
};

/* ---- mail_worker.c ---- */

/* An outcome, once for each message; later ones are nothing. */
void out_report(struct message *m, enum send_outcome outcome, const char *fmt, ...) CD_PRINTF(3, 4);
void out_elsewhere(struct message *m, const char *fmt, ...) CD_PRINTF(2, 3);
void out_unable(struct message *m, const char *why); /* this relay cannot carry it */
/* A refusal: for ever, later, or (421, and what is about us and not about the message) this relay does not
 * want. */
void out_refused(struct message *m, const char *step, int code, const char *text);
void out_begun(struct message *m);
void out_reached(struct session *s);
/* Keeps the last of the relay's words, and their status. */
void out_heard(struct session *s, const char *p, size_t n);
/* The end of a session: what is open goes elsewhere, or is unknown, for `error`. Forgets what was heard. */
void out_session_over(struct session *s, bool utf8, const char *error);
/* Whether a message is for the session with ASCII addresses, or the one without. */
bool out_is_utf8(const struct message *m);

/* ---- esmtp.c, curl_smtp.c: speak with the relay and report what becomes clear. The reason of what does not is
 * in `error`. ---- */
void esmtp_run(struct session *s, char *error, size_t size);
void curl_smtp_run(struct session *s, char *error, size_t size);
