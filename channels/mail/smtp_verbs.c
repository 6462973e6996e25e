/* The verbs: one table of what is legal in which state, and the handlers, which do nothing but their own
 * step. Handlers borrow the argument from the input buffer. Whatever a peer sends ends in a reply, never in
 * anything worse. */
#include "channels/mail/smtp.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "daemon/core/metrics.h"

#define RCPT_OVERSHOOT 1000 /* a long list is sent whole before its answers are read (RFC 5321 4.5.3.1.10) */

struct smtp_arg {
    const char *p;
    size_t n;
};
typedef void (*smtp_handler)(struct smtp_session *s, struct smtp_arg a);

#define IN(state) (1u << SMTP_##state)
#define IN_GREETED (IN(READY) | IN(MAIL) | IN(RCPT))
#define IN_ANY (IN(START) | IN_GREETED)

enum verb_flag {
    VF_ARG = 1 << 0,        /* wants an argument */
    VF_NO_ARG = 1 << 1,     /* refuses one */
    VF_JUNK = 1 << 2,       /* moves no mail: counted against mail.max_junk_commands */
    VF_GROUP_LAST = 1 << 3, /* last of a pipelined group (RFC 2920 3.1): its reply is not held back */
    VF_OFF = 1 << 4,        /* known, not done here */
    VF_SMTP = 1 << 5,       /* not of LMTP */
    VF_LMTP = 1 << 6,       /* of LMTP only */
};

struct smtp_verb {
    const char *name;
    unsigned legal_in;
    unsigned flags;
    smtp_handler handler;
};

/* ---- handlers ---- */

static void set_helo(struct smtp_session *s, struct smtp_arg a, bool esmtp)
{
    size_t n = CD_MIN(a.n, sizeof s->helo - 1);
    /* it goes into a header field: keep what a host name or address literal may hold, show the rest as '?' */
    for (size_t i = 0; i < n; i++) {
        char c = a.p[i];
        bool fine =
            (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || strchr("-._:[]", c);
        s->helo[i] = fine && c ? c : '?';
    }
    s->helo[n] = '\0';
    if (s->state == SMTP_START) /* the first one is no junk */
        s->junk = 0;
    s->esmtp = esmtp;
    smtp_message_drop(s);
    s->state = SMTP_READY;
}

static void verb_ehlo(struct smtp_session *s, struct smtp_arg a)
{
    set_helo(s, a, true);
    smtp_offer(s);
}

static void verb_helo(struct smtp_session *s, struct smtp_arg a)
{
    set_helo(s, a, false);
    smtp_reply_raw(s, "250 ");
    smtp_reply_raw(s, s->srv->cfg->hostname);
    smtp_reply_raw(s, "\r\n");
}

static const char *fault_line(enum smtp_fault f, bool reverse)
{
    switch (f) {
    case SMTP_FAULT_SYNTAX:
        return reverse ? "501 5.5.4 Syntax: MAIL FROM:<address>" : "501 5.5.4 Syntax: RCPT TO:<address>";
    case SMTP_FAULT_ADDRESS:
        return reverse ? "501 5.1.7 Bad sender address" : "501 5.1.3 Bad recipient address";
    case SMTP_FAULT_UTF8:
        return "553 5.6.7 Address needs SMTPUTF8";
    case SMTP_FAULT_PARAM:
        return "501 5.5.4 Bad parameter value";
    default:
        return "555 5.5.4 Parameter not recognized";
    }
}

/* The transaction is refused before it begins. */
static void refuse_mail(struct smtp_session *s, const char *from, const char *line)
{
    snprintf(s->told.reply, sizeof s->told.reply, "%s", line);
    smtp_log_refused(s, from);
    if (line[0] == '4')
        smtp_reply_busy(s, line);
    else
        smtp_reply(s, line);
}

static void verb_mail(struct smtp_session *s, struct smtp_arg a)
{
    const struct config *cfg = s->srv->cfg;
    struct smtp_path path;
    char line[80];
    smtp_told_begin(s);
    if (cfg->mail_require_tls && !s->tls && strcmp(s->peer_text, SMTP_PEER_UNIX) != 0) {
        refuse_mail(s, NULL, "530 5.7.0 Must issue a STARTTLS command first");
        return;
    }
    enum smtp_fault f = smtp_parse_mail(a.p, a.n, &path);
    if (f) {
        refuse_mail(s, NULL, fault_line(f, true));
        return;
    }
    if (cfg->mail_max_mails_per_session && !s->trusted && s->mails + s->npending >= cfg->mail_max_mails_per_session) {
        metrics_inc(M_SMTP_LIMIT_MAILS);
        smtp_reply_end(s, "421 4.7.0 Enough mail for one session, please connect again", "mails");
        return;
    }
    if (path.has_size && path.size > cfg->mail_max_message_bytes) {
        metrics_inc(M_SMTP_LIMIT_SIZE);
        snprintf(line, sizeof line, "552 5.3.4 Message too large, the limit is %llu bytes", (unsigned long long)cfg->mail_max_message_bytes);
        refuse_mail(s, path.address, line);
        return;
    }
    if (path.has_size && smtp_too_large_now(s, path.size)) {
        refuse_mail(s, path.address, "452 4.3.1 Too busy for a large message, try again later");
        return;
    }
    s->env = envelope_new(CH_MAIL, cfg->mail_max_message_bytes + SMTP_TRACE_BYTES);
    s->env->client = cd_strdup(s->peer_text);
    s->env->sender = cd_strdup(path.address);
    s->declared = path.has_size ? path.size : 0;
    s->utf8 = s->told.utf8 = path.utf8;
    s->state = SMTP_MAIL;
    smtp_reply(s, "250 2.1.0 Ok");
}

static bool too_many_recipients(struct smtp_session *s)
{
    /* One said twice counts twice: LMTP answers for each, and nobody may go on for ever. */
    if (s->told.nrcpt < s->srv->cfg->mail_max_recipients)
        return false;
    metrics_inc(M_SMTP_LIMIT_RECIPIENTS);
    smtp_reply(s, "452 4.5.3 Too many recipients");
    if (s->told.refused > RCPT_OVERSHOOT)
        smtp_count_busy(s);
    return true;
}

static void verb_rcpt(struct smtp_session *s, struct smtp_arg a)
{
    const struct config *cfg = s->srv->cfg;
    struct smtp_path path;
    enum smtp_fault f = smtp_parse_rcpt(a.p, a.n, s->utf8, &path);
    if (f) {
        smtp_reply(s, fault_line(f, false));
        return;
    }
    const struct cfg_desk *desk = config_desk_by_address(cfg, path.address);
    if (!desk) { /* ours to answer for, though this mailbox is not there? Otherwise somebody looks for a relay. */
        const char *at = strrchr(path.address, '@');
        smtp_unknown_recipient(s, !at || config_domain_is_ours(cfg, at + 1) ? "550 5.1.1 No such mailbox here" : "550 5.7.1 Relaying denied");
        return;
    }
    bool known = strlist_has(&s->env->recipients, path.address);
    if (too_many_recipients(s))
        return;
    if (!known) {
        strlist_add(&s->env->recipients, path.address);
        if (!strlist_has(&s->env->desks, desk->name))
            strlist_add(&s->env->desks, desk->name);
    }
    s->told.nrcpt++;
    s->state = SMTP_RCPT;
    smtp_reply(s, "250 2.1.5 Ok");
}

static void verb_data(struct smtp_session *s, struct smtp_arg a)
{
    (void)a;
    smtp_data_begin(s);
}

static void verb_rset(struct smtp_session *s, struct smtp_arg a)
{
    (void)a;
    if (s->state != SMTP_START) {
        smtp_message_drop(s);
        s->state = SMTP_READY;
    }
    smtp_reply(s, "250 2.0.0 Ok");
}

static void verb_noop(struct smtp_session *s, struct smtp_arg a)
{
    (void)a;
    smtp_reply(s, "250 2.0.0 Ok");
}

static void verb_vrfy(struct smtp_session *s, struct smtp_arg a)
{
    (void)a;
    smtp_reply(s, "252 2.5.0 Cannot verify, but send it and it will be answered");
}

static void verb_help(struct smtp_session *s, struct smtp_arg a)
{
    (void)a;
    smtp_reply(s, s->lmtp ? "214 2.0.0 LHLO MAIL RCPT DATA RSET NOOP VRFY QUIT" : "214 2.0.0 EHLO HELO MAIL RCPT DATA RSET NOOP VRFY QUIT");
}

static void verb_starttls(struct smtp_session *s, struct smtp_arg a)
{
    (void)a;
    smtp_tls_command(s);
}

static void verb_quit(struct smtp_session *s, struct smtp_arg a)
{
    (void)a;
    smtp_reply(s, "221 2.0.0 Bye");
    s->ending = true;
}

/* ---- the table; the frequent ones first ---- */

static const struct smtp_verb verbs[] = {
    /* name      legal in             flags                       handler */
    {"MAIL", IN(READY), VF_ARG, verb_mail},
    {"RCPT", IN(MAIL) | IN(RCPT), VF_ARG, verb_rcpt},
    {"DATA", IN(RCPT), VF_NO_ARG | VF_GROUP_LAST, verb_data},
    {"EHLO", IN_ANY, VF_SMTP | VF_ARG | VF_GROUP_LAST | VF_JUNK, verb_ehlo},
    {"HELO", IN_ANY, VF_SMTP | VF_ARG | VF_GROUP_LAST | VF_JUNK, verb_helo},
    {"LHLO", IN_ANY, VF_LMTP | VF_ARG | VF_GROUP_LAST | VF_JUNK, verb_ehlo},
    {"QUIT", IN_ANY, VF_NO_ARG | VF_GROUP_LAST, verb_quit},
    {"RSET", IN_ANY, VF_NO_ARG | VF_JUNK, verb_rset},
    {"NOOP", IN_ANY, VF_GROUP_LAST | VF_JUNK, verb_noop},
    {"VRFY", IN_ANY, VF_ARG | VF_GROUP_LAST | VF_JUNK, verb_vrfy},
    {"HELP", IN_ANY, VF_JUNK, verb_help},
    {"EXPN", IN_ANY, VF_OFF, NULL},
    {"ETRN", IN_ANY, VF_OFF, NULL},
    {"TURN", IN_ANY, VF_OFF, NULL},
    {"STARTTLS", IN_ANY, VF_NO_ARG | VF_GROUP_LAST | VF_JUNK, verb_starttls},
    {"AUTH", IN_ANY, VF_OFF, NULL},
    {"BDAT", IN_ANY, VF_OFF, NULL},
};

size_t smtp_verb_count(void)
{
    return ARRAY_LEN(verbs);
}

const char *smtp_verb_name(size_t i)
{
    return verbs[i].name;
}

static const struct smtp_verb *find_verb(const struct smtp_command *c)
{
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
        if (strncasecmp(verbs[i].name, c->verb, c->nverb) == 0 && verbs[i].name[c->nverb] == '\0')
            return &verbs[i];
    return NULL;
}

void smtp_dispatch(struct smtp_session *s, const struct smtp_line *l)
{
    struct smtp_command c;
    if (l->bad_bytes || (l->bare_lf && s->srv->cfg->mail_reject_bare_lf)) {
        smtp_reply(s, "500 5.5.2 Lines end in CR LF and hold no other CR and no NUL");
        return;
    }
    smtp_command_split(l, &c);
    const struct smtp_verb *v = c.nverb ? find_verb(&c) : NULL;
    s->group_over = s->group_over || (v && (v->flags & VF_GROUP_LAST));
    if (v && (v->flags & (s->lmtp ? VF_SMTP : VF_LMTP))) /* RFC 2033 4.1: each refuses the other's greeting */
        smtp_reply(s, s->lmtp ? "500 5.5.1 This is LMTP, say LHLO" : "500 5.5.1 This is SMTP, say EHLO");
    else if (!v)
        smtp_reply(s, "500 5.5.1 Command not recognized");
    else if (v->flags & VF_OFF)
        smtp_reply(s, "502 5.5.1 Command not implemented");
    else if (!(v->legal_in & (1u << s->state)))
        smtp_reply(s, "503 5.5.1 Bad sequence of commands");
    else if ((v->flags & VF_ARG) && !c.narg)
        smtp_reply(s, "501 5.5.4 Argument missing");
    else if ((v->flags & VF_NO_ARG) && c.narg)
        smtp_reply(s, "501 5.5.4 No argument allowed");
    else if (!(v->flags & VF_JUNK) || smtp_junk_allowed(s))
        v->handler(s, (struct smtp_arg){c.arg, c.narg});
    if (v && (v->flags & VF_GROUP_LAST))
        smtp_flush(s);
}
