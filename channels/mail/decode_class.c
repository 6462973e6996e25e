/* What kind of message it is, and whether anything automatic may answer it (RFC 3834 section 2, with the habits of the big mail systems).
 * Every sign that is found is a signal with a weight for one class; a class needs SURE of them together, so that one clear sign is enough
 * and several weak ones are. When in doubt the message is a person's: a complaint must not pass for a bounce; but then no answer is sent.
 * The signals stay in the record, strongest first, to say why. */
#include <string.h>
#include <strings.h>

#include "channels/mail/bounce.h"

#define SURE 4
#define MAX_FOUND 32

struct signal {
    const char *name;
    int weight;
    enum message_class cls;
};

struct class_facts {
    GMimeObject *o;
    char *return_path; /* address without <>, "" when null; NULL when unknown */
    bool null_sender;
    struct signal found[MAX_FOUND];
    size_t n;
    int score[MC_COUNT];
    bool maybe_person; /* a postmaster, or one who is called like a mail system: nothing else says so far that it is a bounce */
};

static void add(struct class_facts *f, enum message_class cls, int weight, const char *name)
{
    f->score[cls] += weight;
    if (f->n < MAX_FOUND)
        f->found[f->n++] = (struct signal){name, weight, cls};
}

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

static bool has_any(GMimeObject *o, const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (decode_header(o, names[i]))
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
    static const char *const mailers[] = {"mailer-daemon@", "mailer_daemon@", "mailerdaemon@", "postmaster@",  "post_master@",
                                          "post-master@",   "mail-daemon@",   "maildaemon@",   "mdaemon@",     "mail-delivery-subsystem@"};
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

static void judge_sender(struct class_facts *f, const struct record *r)
{
    bool named = !r->email && r->name && (str_istarts(r->name, "mailer-daemon") || str_istarts(r->name, "mail delivery") ||
                                          str_istarts(r->name, "mailer daemon") || str_istarts(r->name, "postmaster"));
    bool called = r->name && (str_istarts(r->name, "mail delivery s") || str_istarts(r->name, "mail deliver s"));
    if (f->null_sender) {
        add(f, MC_BOUNCE, 1, "null-sender");
        f->score[MC_AUTO_REPLY] += 2; /* what comes from nobody is a machine's; a bounce or not is for the rest to say */
    } else if (is_mailer(f->return_path) || str_ieq(f->return_path, "mailer-daemon")) {
        add(f, MC_BOUNCE, 1, "mailer-daemon-path");
    }
    if (is_mailer(r->email) || named || called) {
        /* behind "postmaster" there may be a person, behind a mailer daemon nobody */
        f->maybe_person = !f->null_sender && r->email && (!is_mailer(r->email) || str_istarts(r->email, "post"));
        add(f, MC_BOUNCE, r->email && str_istarts(r->email, "post") ? 2 : 3, "mailer-daemon");
        f->score[MC_AUTO_REPLY] += f->null_sender ? 2 : 0;
    } else if (is_unread(r->email)) {
        add(f, MC_BOUNCE, 1, "unread-address");
    }
}

/* ---- what it is made of ---- */

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

static void judge_structure(struct class_facts *f, GMimeObject *body)
{
    if (decode_header(f->o, "X-Failed-Recipients"))
        add(f, MC_BOUNCE, SURE, "failed-recipients");
    if (!body)
        return;
    if (is_report(body, "disposition-notification") || has_part(body, "disposition-notification"))
        add(f, MC_AUTO_REPLY, SURE, "disposition-notification");
    else if (is_report(body, "feedback-report") || has_part(body, "feedback-report"))
        add(f, MC_AUTO_REPLY, SURE, "feedback-report");
    else if (is_report(body, "delivery-status") || has_part(body, "delivery-status") || has_part(body, "global-delivery-status"))
        add(f, MC_BOUNCE, SURE, "delivery-status");
}

/* ---- what it calls itself ---- */

static const char *const bounce_subjects[] = {
    "undeliver", "delivery status", "delivery fail", "delivery notification", "delivery report", "delivery problem", "delivery error",
    "delivery delayed", "delivery has failed", "mail delivery", "returned mail", "return mail", "returning mail", "failure notice",
    "failure delivery", "mail system error", "message status", "message undeliver", "message delivery", "non-delivery", "non delivery",
    "nondeliver", "unzustellbar", "nicht zustellbar", "mail failure", "warning: could not send", "warning: message", "user unknown",
    "error sending", "email bounce", "delivery-status", "could not deliver", "mail could not be delivered", "rejected mail",
    "notification d'\xc3\xa9" "chec", "\xc3\xa9" "chec de la remise", "no se puede entregar", "no se pudo entregar", "falha na entrega",
    "mancata consegna", "\xd0\xbd\xd0\xb5\xd0\xb4\xd0\xbe\xd1\x81\xd1\x82\xd0\xb0\xd0\xb2\xd0\xbb\xd0\xb5\xd0\xbd",
    "\xd0\xb2\xd0\xb0\xd1\x88\xd0\xb5 \xd1\x81\xd0\xbe\xd0\xbe\xd0\xb1\xd1\x89\xd0\xb5\xd0\xbd\xd0\xb8\xd0\xb5 \xd0\xbd\xd0\xb5",
    "\xe7\xb3\xbb\xe7\xbb\x9f\xe9\x80\x80\xe4\xbf\xa1", "\xe9\x80\x80\xe4\xbf\xa1", "\xe6\x9c\xaa\xe9\x80\x81\xe8\xbe\xbe",
    "\xe6\x8a\x95\xe9\x80\x92\xe5\xa4\xb1\xe8\xb4\xa5", "\xe9\x82\xae\xe4\xbb\xb6\xe6\x8a\x95\xe9\x80\x92", "\xe6\x97\xa0\xe6\xb3\x95\xe6\x8a\x95\xe9\x80\x92",
    "\xe9\x80\x81\xe4\xbf\xa1\xe3\x82\xa8\xe3\x83\xa9\xe3\x83\xbc", "\xe3\x83\xa1\xe3\x83\xbc\xe3\x83\xab\xe3\x82\xa8\xe3\x83\xa9\xe3\x83\xbc",
    "\xe9\x85\x8d\xe4\xbf\xa1\xe4\xb8\x8d\xe8\x83\xbd", "\xe9\x85\x8d\xe4\xbf\xa1\xe3\x81\xa7\xe3\x81\x8d\xe3\x81\xbe\xe3\x81\x9b\xe3\x82\x93"};

/* What automatic answers are called by the programs that write them. */
static const char *const auto_subjects[] = {
    "automatic reply", "automatic response", "automatic answer", "automated reply", "automated response", "auto reply", "auto-reply", "autoreply",
    "auto response", "auto-response", "autoresponse", "auto:", "auto :", "out of office", "out-of-office", "ooo:", "automatische antwort",
    "automatisch antwoord", "abwesenheitsnotiz", "abwesenheit:", "r\xc3\xa9ponse automatique", "respuesta autom\xc3\xa1tica",
    "resposta autom\xc3\xa1tica", "risposta automatica", "automatiskt svar", "automatisk svar", "automaattinen vastaus",
    "odpowied\xc5\xba automatyczna", "autoodpowied\xc5\xba", "otomatik yan\xc4\xb1t",
    "\xd0\xb0\xd0\xb2\xd1\x82\xd0\xbe\xd0\xbe\xd1\x82\xd0\xb2\xd0\xb5\xd1\x82",
    "\xd0\xb0\xd0\xb2\xd1\x82\xd0\xbe\xd0\xbc\xd0\xb0\xd1\x82\xd0\xb8\xd1\x87\xd0\xb5\xd1\x81\xd0\xba\xd0\xb8\xd0\xb9 \xd0\xbe\xd1\x82\xd0\xb2\xd0\xb5\xd1\x82",
    "\xe8\x87\xaa\xe5\x8a\xa8\xe5\x9b\x9e\xe5\xa4\x8d", "\xe8\x87\xaa\xe5\x8b\x95\xe5\x9b\x9e\xe8\xa6\x86", "\xe8\x87\xaa\xe5\x8a\xa8\xe7\xad\x94\xe5\xa4\x8d",
    "\xe5\xa4\x96\xe5\x87\xba\xe8\x87\xaa\xe5\x8a\xa8", "\xe8\x87\xaa\xe5\x8b\x95\xe5\xbf\x9c\xe7\xad\x94", "\xe8\x87\xaa\xe5\x8b\x95\xe8\xbf\x94\xe4\xbf\xa1",
    "\xec\x9e\x90\xeb\x8f\x99 \xed\x9a\x8c\xec\x8b\xa0"};

/* What people call theirs, and complaints may begin with as well. */
static const char *const away_subjects[] = {
    "away from", "away until", "on vacation", "vacation:", "i am away", "i'm away", "not in the office", "abwesend", "afwezig", "absent du bureau",
    "fuera de la oficina", "fora do escrit\xc3\xb3rio", "fuori sede", "\xe4\xb8\x8d\xe5\x9c\xa8\xe5\x8a\x9e\xe5\x85\xac\xe5\xae\xa4",
    "\xe4\xbc\x91\xe5\x81\x87", "\xe4\xb8\x8d\xe5\x9c\xa8\xe9\x80\x9a\xe7\x9f\xa5", "\xeb\xb6\x80\xec\x9e\xac\xec\xa4\x91"};

static void judge_vendors(struct class_facts *f)
{
    static const char *const fields[] = {
        "X-Autoreply",      "X-Auto-Reply",    "X-Autorespond",        "X-Autoresponder",  "X-Autoreply-From", "X-AutoReply-From",
        "X-Mail-Autoreply", "X-Vacation",      "X-Vacation-Responder", "X-Auto-Generated", "Autoresponder",    "X-AutoReply-Domain",
        "X-Cron-Env",      "X-Auto-Reply-From",    "X-Amazon-Auto-Reply"};
    char word[64];
    if (has_any(f->o, fields, ARRAY_LEN(fields)))
        add(f, MC_AUTO_REPLY, SURE, "auto-reply-field");
    first_word(f->o, "X-Apple-Action", word);
    if (str_eq(word, "vacation"))
        add(f, MC_AUTO_REPLY, SURE, "apple-vacation");
    first_word(f->o, "X-MS-Exchange-Generated-Message-Source", word);
    if (word[0])
        add(f, MC_AUTO_REPLY, SURE, "exchange-agent");
    first_word(f->o, "X-FC-MachineGenerated", word);
    if (str_eq(word, "true") || str_eq(word, "yes"))
        add(f, MC_AUTO_REPLY, SURE, "machine-generated");
    first_word(f->o, "X-POST-MessageClass", word);
    if (str_starts(word, "9"))
        add(f, MC_AUTO_REPLY, SURE, "message-class");
    if (decode_header(f->o, "X-Loop"))
        add(f, MC_AUTO_REPLY, 2, "x-loop");
    first_word(f->o, "X-Auto-Response-Suppress", word);
    if (word[0] && strcmp(word, "none") != 0)
        add(f, MC_AUTO_REPLY, 2, "auto-response-suppress");
}

static void judge_automatic(struct class_facts *f, const struct record *r)
{
    char word[64];
    first_word(f->o, "Auto-Submitted", word);
    if (word[0] && strcmp(word, "no") != 0)
        add(f, MC_AUTO_REPLY, SURE, "auto-submitted");
    first_word(f->o, "Precedence", word);
    if (str_eq(word, "auto_reply") || str_eq(word, "auto-reply"))
        add(f, MC_AUTO_REPLY, SURE, "precedence-auto-reply");
    judge_vendors(f);
    /* A subject alone could be a person's; not when the mail answers and yet has no "Re:" in front. Nor with it the wish that automatic
     * answers stay away, which forms and mail systems of firms put into people's mail ("On vacation my luggage was lost"). */
    bool suppressed = decode_header(f->o, "X-Auto-Response-Suppress") != NULL;
    if (begins_with_any(r->subject, auto_subjects, ARRAY_LEN(auto_subjects)))
        add(f, MC_AUTO_REPLY, r->in_reply_to ? SURE : 2, "auto-reply-subject");
    else if (begins_with_any(r->subject, away_subjects, ARRAY_LEN(away_subjects)))
        add(f, MC_AUTO_REPLY, suppressed && !r->in_reply_to && !f->null_sender ? 1 : 2, "away-subject");
}

/* A desk may be reached through a list of our own (a group at a mail provider): its List-Id names the domain that the mail is for, and what
 * comes over it is as much a person's as without it. */
static bool is_own_list(const struct class_facts *f, const struct envelope *e)
{
    const char *raw = decode_header(f->o, "List-Id"), *open = raw ? strrchr(raw, '<') : NULL;
    size_t n = open ? strcspn(++open, "> \t\r\n") : 0;
    for (size_t i = 0; n && i < e->recipients.n; i++) {
        const char *at = strrchr(e->recipients.v[i], '@');
        size_t len = at ? strlen(at + 1) : 0;
        if (len && len <= n && strncasecmp(open + n - len, at + 1, len) == 0 && (len == n || open[n - len - 1] == '.'))
            return true;
    }
    return false;
}

static void judge_bulk(struct class_facts *f, const struct envelope *e)
{
    static const char *const lists[] = {"List-Id", "List-Post", "Mailing-List"};
    static const char *const senders[] = {"List-Unsubscribe", "List-Help"}; /* mailing services write them into what a form sends, too */
    char word[64];
    bool own = is_own_list(f, e);
    first_word(f->o, "Precedence", word);
    if (str_eq(word, "bulk") || str_eq(word, "junk") || (str_eq(word, "list") && !own))
        add(f, MC_BULK, SURE, "precedence");
    if (own)
        add(f, MC_BULK, 1, "own-list");
    else if (has_any(f->o, lists, ARRAY_LEN(lists)))
        add(f, MC_BULK, SURE, "list");
    else if (has_any(f->o, senders, ARRAY_LEN(senders)))
        add(f, MC_BULK, 2, "list-unsubscribe");
}

/* Reads the report where anything hints at one: for the mail of a person that costs nothing. */
static void judge_report(struct class_facts *f, struct decoding *d, GMimeMessage *m)
{
    bool subject = begins_with_any(d->r->subject, bounce_subjects, ARRAY_LEN(bounce_subjects));
    if (!f->score[MC_BOUNCE])
        return;
    bool report = bounce_read(d, m);
    if (subject && (report || !f->maybe_person)) /* small firms write from there, and "Delivery problem" is what complaints are called */
        add(f, MC_BOUNCE, 2, "bounce-subject");
    if (report)
        add(f, MC_BOUNCE, 2, "report");
}

/* ---- the verdict ---- */

static enum message_class class_of(const struct class_facts *f)
{
    static const enum message_class order[] = {MC_OWN, MC_BOUNCE, MC_AUTO_REPLY, MC_BULK};
    for (size_t i = 0; i < ARRAY_LEN(order); i++)
        if (f->score[order[i]] >= SURE)
            return order[i];
    return MC_PERSON;
}

/* Strongest first, those for the class that won before others. */
static void record_signals(const struct class_facts *f, struct record *r)
{
    for (int weight = SURE; weight > 0; weight--)
        for (size_t i = 0; i < f->n; i++)
            if (f->found[i].weight == weight && f->found[i].cls == r->cls)
                record_add_signal(r, f->found[i].name);
    for (size_t i = 0; i < f->n; i++)
        record_add_signal(r, f->found[i].name);
}

static const char *silence_reason(const struct class_facts *f, const struct decoding *d)
{
    static const char *const reasons[MC_COUNT] = {
        [MC_AUTO_REPLY] = "auto-submitted", [MC_BOUNCE] = "bounce", [MC_BULK] = "list", [MC_OWN] = "own"};
    const struct record *r = d->r;
    const char *to = r->reply_to ? r->reply_to : r->email;
    char word[64];
    if (f->null_sender)
        return "null-sender";
    first_word(f->o, "Precedence", word);
    if (r->cls != MC_PERSON)
        return r->cls == MC_BULK && word[0] ? "precedence" : reasons[r->cls];
    first_word(f->o, "X-Auto-Response-Suppress", word);
    if (word[0] && strcmp(word, "none") != 0)
        return "auto-response-suppress";
    if (is_mailer(to) || is_mailer(r->email) || is_mailer(f->return_path))
        return "mailer-daemon";
    if (is_unread(to) || is_unread(r->email))
        return "no-reply address";
    if (is_own_address(d->e, to))
        return "own address";
    if (decode_header(f->o, "X-Loop"))
        return "x-loop";
    if (f->score[MC_BULK] > 1)
        return "list";
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

static uint32_t hops_of(GMimeObject *o)
{
    char word[64];
    uint64_t n;
    first_word(o, "X-Complaintd-Hops", word);
    return word[0] && str_parse_u64(word, 1000, &n) == 0 ? (uint32_t)n : 0;
}

void decode_class(struct decoding *d, GMimeMessage *m)
{
    struct record *r = d->r;
    struct class_facts f = {.o = GMIME_OBJECT(m)};
    r->hops = hops_of(f.o);
    find_return_path(d, &f);
    if (decode_header(f.o, "X-Complaintd-Instance"))
        add(&f, MC_OWN, SURE, "own");
    judge_sender(&f, r);
    judge_structure(&f, g_mime_message_get_mime_part(m));
    judge_automatic(&f, r);
    judge_bulk(&f, d->e);
    judge_report(&f, d, m);
    r->cls = class_of(&f);
    if (r->cls != MC_BOUNCE)
        bounce_forget(r);
    record_signals(&f, r);
    const char *reason = silence_reason(&f, d);
    if (reason) {
        r->flags |= REC_NO_AUTO_ANSWER;
        free(r->no_answer_reason);
        r->no_answer_reason = cd_strdup(reason);
    }
    free(f.return_path);
}
