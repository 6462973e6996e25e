#pragma once
/* From a claimed row to an outgoing message. */
#include <libpq-fe.h>

#include "channels/channel.h"
#include "config/config.h"

/* A row of the claim statement, see outbox.c for the columns. */
enum claim_column { CC_ID, CC_PURPOSE, CC_CLASS, CC_LEVEL, CC_TRANSPORT, CC_RECIPIENT, CC_LANGUAGE, CC_PAYLOAD, CC_ATTEMPTS, CC_KEY, CC_EXPIRED,
                    CC_REF, CC_DESK, CC_CUSTOMER, CC_CATEGORY, CC_PRIORITY, CC_TEAM, CC_STATUS, CC_RECEIVED, CC_DUE, CC_SUBJECT, CC_EXCERPT,
                    CC_MESSAGE_ID, CC_COMPLAINT, CC_ACKNOWLEDGE_DUE, CC_RESOLVE_DUE,
                    CC_SIGNED_WITH /* id of the key for tokens, NULL without keys */, CC_IN_REPLY_TO };

#define MAIL_LOCAL_MAX 64 /* RFC 5321 4.5.3.1.1 */

struct rendered {
    struct outgoing out;
    struct buf subject, text, json, message_id, reply_to, root; /* what `out` points into */
    struct strlist references;                                   /* the same */
    char path[MAIL_LOCAL_MAX + 260]; /* its reverse-path */
};
/* 0, or CD_ENOTFOUND with `why` set when no template fits. The row's strings are borrowed. */
int render_row(const struct config *c, bool sandbox, const PGresult *res, int row, struct rendered *ret, const char **why);
void rendered_free(struct rendered *r);
