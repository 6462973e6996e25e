/* What kind of message it is, and whether anything automatic may answer it (RFC 3834 section 2, with the
 * habits of the big mail systems). When in doubt the message is a person's: a complaint must not pass for a
 * bounce; but no answer is sent. */
#include <string.h>

#include "channels/mail/decode_impl.h"

struct class_facts {
    GMimeObject *o;
    char *return_path; /* address without <>, "" when null; NULL when unknown */
    bool null_sender;
};

/* The first word of a field in lower case, without comments and parameters; "" when absent. */
static void first_word(GMimeObject *o, const char *name, char out[64])
{
    const char *raw = decode_header(o, name);
    size_t n = 0;
    raw = raw ? raw + strspn(raw, " \t\r\n") : "";
    while (n < 63 && raw[n] && !strchr(" \t\r\n;(,", raw[n])) {
        out[n] = raw[n];
        n++;
    }
    out[n] = '\0';
    str_lower(out);
}

static bool has(GMimeObject *o, const char *name)
{
    return decode_header(o, name) != NULL;
}

static bool has_any(GMimeObject *o, const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (has(o, names[i]))
            return true;
    return false;
}

static bool begins_with_any(const char *s, const char *const *words, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (str_istarts(s, words[i]))
            return true;
    return false;
}

/* ---- who sent it ---- */

static bool is_mailer(const char *address)
{
    static const char *const mailers[] = {"mailer-daemon@", "mailer_daemon@", "postmaster@", "mail-daemon@",
                                          "maildaemon@"};
    return address && begins_with_any(address, mailers, ARRAY_LEN(mailers));
}

/* Addresses behind which nobody reads. */
static bool is_unread(const char *address)
{
    static const char *const locals[] = {"no-reply",   "noreply",      "no_reply", "do-not-reply",
                                         "donotreply", "do_not_reply", "bounce",   "owner-",
                                         "majordomo@", "listserv@",    "nobody@"};
    static const char *const ends[] = {"-request", "-bounces", "-owner", "-noreply", "-no-reply"};
    if (!address)
        return false;
    if (begins_with_any(address, locals, ARRAY_LEN(locals)))
        return true;
    size_t n = strcspn(address, "@");
    for (size_t i = 0; i < ARRAY_LEN(ends); i++)
        if (n > strlen(ends[i]) && strncmp(address + n - strlen(ends[i]), ends[i], strlen(ends[i])) == 0)
            return true;
    return false;
}

static bool is_own_address(const struct envelope *e, const char *address)
{
    for (size_t i = 0; address && i < e->recipients.n; i++)
        if (str_ieq(e->recipients.v[i], address))
            return true;
    return false;
}

/* ---- bounces ---- */

static bool is_report(GMimeObject *o, const char *kind)
{
    GMimeContentType *ct = g_mime_object_get_content_type(o);
    if (!ct || !g_mime_content_type_is_type(ct, "multipart", "report"))
        return false;
    const char *type = g_mime_content_type_get_parameter(ct, "report-type");
    return type && str_ieq(type, kind);
}

static bool has_part(GMimeObject *o, const char *subtype)
{
    if (!GMIME_IS_MULTIPART(o))
        return false;
    GMimeMultipart *mp = GMIME_MULTIPART(o);
    int n = CD_MIN(g_mime_multipart_get_count(mp), 10);
    for (int i = 0; i < n; i++) {
        GMimeContentType *ct = g_mime_object_get_content_type(g_mime_multipart_get_part(mp, i));
        if (ct && g_mime_content_type_is_type(ct, "message", subtype))
            return true;
    }
    return false;
}

static bool is_bounce(const struct class_facts *f, const struct record *r, GMimeObject *body)
{
    static const char *const subjects[] = {"undeliver",
                                           "delivery ",
                                           "mail delivery",
                                           "returned mail",
                                           "return mail",
                                           "failure notice",
                                           "mail system error",
                                           "message status",
                                           "non-delivery",
                                           "non delivery",
                                           "nondeliver",
                                           "unzustellbar",
                                           "mail failure",
                                           "warning: could not send",
                                           "user unknown",
                                           "error sending",
                                           "\xe7\xb3\xbb\xe7\xbb\x9f\xe9\x80\x80\xe4\xbf\xa1",
                                           "\xe9\x80\x80\xe4\xbf\xa1"};
    if (body && (is_report(body, "delivery-status") || has_part(body, "delivery-status") ||
                 has_part(body, "global-delivery-status")))
        return true;
    if (has(f->o, "X-Failed-Recipients"))
        return true;
    bool mailer =
        is_mailer(r->email) ||
        (r->name && (str_istarts(r->name, "mail delivery") || str_istarts(r->name, "mailer-daemon") ||
                     str_istarts(r->name, "mailer daemon") || str_istarts(r->name, "postmaster")));
    if (!mailer && r->email)
        return false;
    return mailer && (f->null_sender || is_mailer(f->return_path) ||
                      begins_with_any(r->subject, subjects, ARRAY_LEN(subjects)));
}

/* ---- automatic answers, mass mail ---- */

static bool is_auto_reply(const struct class_facts *f, const struct record *r, GMimeObject *body,
                          const char *precedence)
{
    static const char *const fields[] = {
        "X-Autoreply",      "X-Auto-Reply", "X-Autorespond",        "X-Autoresponder",  "X-Autoreply-From",
        "X-Mail-Autoreply", "X-Vacation",   "X-Vacation-Responder", "X-Auto-Generated", "Autoresponder"};
    static const char *const subjects[] = {"automatic reply",
                                           "auto reply",
                                           "auto-reply",
                                           "autoreply",
                                           "auto:",
                                           "out of office",
                                           "out-of-office",
                                           "\xe8\x87\xaa\xe5\x8a\xa8\xe5\x9b\x9e\xe5\xa4\x8d",
                                           "\xe8\x87\xaa\xe5\x8b\x95\xe5\x9b\x9e\xe8\xa6\x86",
                                           "abwesenheit"};
    char word[64];
    first_word(f->o, "Auto-Submitted", word);
    if (word[0] && strcmp(word, "no") != 0)
        return true;
    if (str_eq(precedence, "auto_reply") || str_eq(precedence, "auto-reply") ||
        has_any(f->o, fields, ARRAY_LEN(fields)))
        return true;
    if (body && (is_report(body, "disposition-notification") || is_report(body, "feedback-report") ||
                 has_part(body, "disposition-notification") || has_part(body, "feedback-report")))
        return true;
    /* A subject alone could be a person's; not with a null reverse-path, nor when it answers and yet has no
     * "Re:" in front. */
    return (f->null_sender || r->in_reply_to) && begins_with_any(r->subject, subjects, ARRAY_LEN(subjects));
}

static bool is_bulk(const struct class_facts *f, const char *precedence)
{
    static const char *const fields[] = {"List-Id", "List-Unsubscribe", "List-Post", "List-Help",
                                         "Mailing-List"};
    return has_any(f->o, fields, ARRAY_LEN(fields)) || str_eq(precedence, "bulk") ||
           str_eq(precedence, "list") || str_eq(precedence, "junk");
}

static const char *silence_reason(const struct class_facts *f, const struct decoding *d,
                                  const char *precedence)
{
    static const char *const reasons[MC_COUNT] = {
        [MC_AUTO_REPLY] = "auto-submitted", [MC_BOUNCE] = "bounce", [MC_BULK] = "list", [MC_OWN] = "own"};
    const struct record *r = d->r;
    const char *to = r->reply_to ? r->reply_to : r->email;
    char word[64];
    if (f->null_sender)
        return "null-sender";
    if (r->cls != MC_PERSON)
        return r->cls == MC_BULK && *precedence ? "precedence" : reasons[r->cls];
    first_word(f->o, "X-Auto-Response-Suppress", word);
    if (word[0] && strcmp(word, "none") != 0)
        return "auto-response-suppress";
    if (is_mailer(to) || is_mailer(r->email) || is_mailer(f->return_path))
        return "mailer-daemon";
    if (is_unread(to) || is_unread(r->email))
        return "no-reply address";
    if (is_own_address(d->e, to))
        return "own address";
    if (!to)
        return "no address";
    return NULL;
}

/* The envelope knows the reverse-path; where it does not (a message read from a file), the first Return-Path
 * tells. */
static void find_return_path(const struct decoding *d, struct class_facts *f)
{
    const char *raw = d->e->sender ? NULL : decode_header(f->o, "Return-Path");
    if (d->e->sender) {
        f->return_path = cd_strdup(d->e->sender);
    } else if (raw) {
        raw += strspn(raw, " \t\r\n<");
        f->return_path = cd_strndup(raw, strcspn(raw, "> \t\r\n"));
    }
    if (f->return_path)
        str_lower(f->return_path);
    f->null_sender = f->return_path && f->return_path[0] == '\0';
}

void decode_class(struct decoding *d, GMimeMessage *m)
{
    struct record *r = d->r;
    struct class_facts f = {.o = GMIME_OBJECT(m)};
    GMimeObject *body = g_mime_message_get_mime_part(m);
    char precedence[64];
    first_word(f.o, "Precedence", precedence);
    find_return_path(d, &f);
    if (has(f.o, "X-Complaintd-Instance"))
        r->cls = MC_OWN;
    else if (is_bounce(&f, r, body))
        r->cls = MC_BOUNCE;
    else if (is_auto_reply(&f, r, body, precedence))
        r->cls = MC_AUTO_REPLY;
    else if (is_bulk(&f, precedence))
        r->cls = MC_BULK;
    else
        r->cls = MC_PERSON;
    const char *reason = silence_reason(&f, d, precedence);
    if (reason) {
        r->flags |= REC_NO_AUTO_ANSWER;
        free(r->no_answer_reason);
        r->no_answer_reason = cd_strdup(reason);
    }
    free(f.return_path);
}
