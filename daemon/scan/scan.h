#pragma once
/* Checks of mail by others: rspamd (sender and spam), clamd (viruses), and what a mail server in front says of the sender in an
 * Authentication-Results field. Their word decides what people see and whether an automatic answer goes out; it never refuses, delays
 * beyond its budget, or loses a complaint. What no checker answered for is "unscanned", which is a verdict as well. */
#include <event2/event.h>

#include "config/config.h"
#include "daemon/intake/envelope.h"
#include "daemon/intake/record.h"

/* The worse, the later: of several the worst counts. */
enum scan_verdict { SCAN_OFF, SCAN_CLEAN, SCAN_UNSCANNED, SCAN_SUSPECT, SCAN_QUARANTINED, SCAN_VERDICTS };
const char *scan_verdict_name(enum scan_verdict v); /* "clean", …; NULL for SCAN_OFF */

/* What came of asking one checker. */
enum scan_outcome {
    ASK_OFF,       /* not configured */
    ASK_ANSWERED,  /* `verdict` holds */
    ASK_TOO_LARGE, /* over our limit or its own: asking again would not help, as for the next one */
    ASK_SKIPPED,   /* it says that it did not look */
    ASK_BUSY,      /* too many asked at a time */
    ASK_PAUSED,    /* it failed so often that it is left alone for a while */
    ASK_DOWN,      /* no connection, or it ended before the answer was whole */
    ASK_SLOW,      /* no answer within the budget */
    ASK_ODD,       /* an answer that says nothing */
    ASK_OUTCOMES
};
const char *scan_outcome_name(enum scan_outcome o); /* "answered", "too-large", … */

struct scan_answer {
    enum scan_outcome outcome;
    enum scan_verdict verdict;
    char text[160]; /* an action, a signature, or what went wrong; UTF-8, one line */
};

/* What is known of the sender. */
struct scan_auth {
    bool known; /* somebody who is believed looked at it */
    enum auth_verdict spf, dkim, dmarc, arc;
    char by[128]; /* "rspamd", or the name of a mail server in front */
};

enum scan_checker { CHECK_RSPAMD, CHECK_CLAMD, CHECKERS };
struct scan_result {
    enum scan_verdict verdict; /* of all together, by scan_result_settle() */
    struct scan_answer answer[CHECKERS];
    struct scan_auth auth;
    bool unproven; /* results exist, and none says that the sender is who the mail says */
    bool again;    /* what is missing may come from asking later */
    double score;  /* of rspamd */
    char symbols[1024]; /* the same: names with a space between, cut at the end */
};
/* verdict, unproven and again from the answers. */
void scan_result_settle(struct scan_result *r);
/* A JSON object: what each checker said. Free it. */
CD_MUSTUSE char *scan_result_json(const struct scan_result *r);
/* Why no automatic answer may go to the sender; NULL: as far as this goes, it may. */
const char *scan_result_silence(const struct scan_result *r);

/* ---- what is asked about ---- */

/* A mail with what we put in front of it when we took it in (channels/mail/smtp_data.c), which says who brought it. */
struct scan_mail {
    const char *text; /* as it came, without what we put in front; borrowed */
    size_t n;
    char *id, *from, *helo;
    char *client; /* numeric address; NULL: a unix socket */
    bool lmtp;
    const struct strlist *recipients; /* borrowed */
};
/* false: the fields in front are not ours; nothing to free then. */
bool scan_mail_read(const struct buf *raw, const struct uuid *id, const struct strlist *recipients, struct scan_mail *ret);
void scan_mail_free(struct scan_mail *m);
/* A mail server of ours brought it: LMTP, or from scan.authserv_from. Its address is then not the sender's. */
bool scan_mail_from_front(const struct config *c, const struct scan_mail *m);
/* Takes over what a trusted server says (scan.trusted_authserv_ids) in a mail that it brought; leaves `ret` alone otherwise. */
void scan_auth_take(const struct config *c, const struct scan_mail *m, const struct auth_result *v, size_t n, struct scan_auth *ret);

/* ---- asking ---- */

struct scanner;
struct scan;
typedef void (*scan_done)(void *arg);

struct scanner *scanner_new(struct event_base *base, const struct config *c);
void scanner_free(struct scanner **s); /* every scan was cancelled or is done */
/* true: *ret is under way; `done` is called once, never from inside, with `r` filled; mail and `r` live until then. It takes at most
 * twice the longest budget. false: `r` is complete, for nobody need or can be asked now. */
bool scanner_ask(struct scanner *s, const struct scan_mail *m, struct scan_result *r, scan_done done, void *arg, struct scan **ret) CD_MUSTUSE;
void scan_cancel(struct scan **scan); /* `done` is not called */
bool scanner_on(const struct scanner *s);   /* a checker is configured */
bool scanner_free_now(const struct scanner *s); /* one more would not wait, and none is paused */
void scanner_reloaded(struct scanner *s);   /* other options: whoever was left alone is asked again */
