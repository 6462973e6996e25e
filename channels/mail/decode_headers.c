/* People, subject, ids and date of a message. Addresses are read by GMime; only such as pass
 * mail_address_normalize() go to the record. Values that a field cannot hold (too long, control characters)
 * are left out, never cut into another meaning. */
#include <string.h>

#include "channels/mail/decode_impl.h"
#include "daemon/intake/handle.h"

const char *decode_header(GMimeObject *o, const char *name)
{
    GMimeHeader *h = g_mime_header_list_get_header(g_mime_object_get_header_list(o), name);
    return h ? g_mime_header_get_raw_value(h) : NULL;
}

static void set(char **field, char *value)
{
    free(*field);
    *field = value;
}

/* ---- people ---- */

static GMimeParserOptions *options(void)
{
    static GMimeParserOptions *opts; /* for the whole process */
    static const char *charsets[] = {"utf-8", "windows-1252", NULL};
    if (!opts) {
        opts = g_mime_parser_options_new();
        g_mime_parser_options_set_fallback_charsets(opts, charsets);
    }
    return opts;
}

/* The mailboxes of a field; NULL when there are none. Unref it. */
static InternetAddressList *mailboxes(struct decoding *d, GMimeMessage *m, const char *name)
{
    const char *raw = decode_header(GMIME_OBJECT(m), name);
    if (!raw)
        return NULL;
    char *utf8 = decode_header_utf8_of(d, raw);
    InternetAddressList *l = internet_address_list_parse(options(), utf8 ? utf8 : raw);
    free(utf8);
    return l;
}

/* The first mailbox with a usable address, groups opened (one level, as RFC 5322 has it). */
static InternetAddressMailbox *first_mailbox(InternetAddressList *l, char **ret_address, int level)
{
    int n = l ? internet_address_list_length(l) : 0;
    for (int i = 0; i < n && i < 100; i++) {
        InternetAddress *a = internet_address_list_get_address(l, i);
        InternetAddressMailbox *found = NULL;
        if (INTERNET_ADDRESS_IS_GROUP(a)) {
            if (level < 2)
                found = first_mailbox(internet_address_group_get_members(INTERNET_ADDRESS_GROUP(a)),
                                      ret_address, level + 1);
        } else if (INTERNET_ADDRESS_IS_MAILBOX(a)) {
            const char *addr = internet_address_mailbox_get_addr(INTERNET_ADDRESS_MAILBOX(a));
            *ret_address = addr ? mail_address_normalize(addr) : NULL;
            found = *ret_address ? INTERNET_ADDRESS_MAILBOX(a) : NULL;
        }
        if (found)
            return found;
    }
    return NULL;
}

/* A display name as one line of valid UTF-8; NULL when there is none. */
static char *clean_name(const char *name)
{
    if (!name || !*name)
        return NULL;
    char *s = utf8_clean(name, strlen(name), NULL);
    decode_squeeze(s);
    size_t n = strlen(s);
    if (n >= 2 && (s[0] == '\'' || s[0] == '"') && s[n - 1] == s[0]) { /* quotes inside the quotes */
        memmove(s, s + 1, n - 2);
        s[n - 2] = '\0';
    }
    if (strlen(s) > DECODE_MAX_NAME)
        s[utf8_cut(s, DECODE_MAX_NAME)] = '\0';
    if (!*s)
        set(&s, NULL);
    return s;
}

static bool person_of(struct decoding *d, GMimeMessage *m, const char *field, char **ret_name,
                      char **ret_address)
{
    InternetAddressList *l = mailboxes(d, m, field);
    InternetAddressMailbox *b = first_mailbox(l, ret_address, 0);
    if (b)
        *ret_name = clean_name(internet_address_get_name(INTERNET_ADDRESS(b)));
    if (l)
        g_object_unref(l);
    return b != NULL;
}

/* "Ann ann@shop.example", without the brackets: the last word that is an address, and what stands in front of it. */
static bool bare_person(struct decoding *d, GMimeMessage *m, char **ret_name, char **ret_address)
{
    const char *raw = decode_header(GMIME_OBJECT(m), "From");
    char *text = raw ? decode_header_text_of(d, raw, DECODE_MAX_NAME + DECODE_MAX_ID) : NULL;
    char *word = text ? strrchr(text, ' ') : NULL;
    *ret_address = word && strchr(word, '@') && !strpbrk(word, "<>,;") ? mail_address_normalize(word + 1) : NULL;
    if (*ret_address) {
        *word = '\0';
        *ret_name = clean_name(text);
    }
    free(text);
    return *ret_address != NULL;
}

/* From, else Sender, else the reverse-path; the name of a From without a usable address is kept. */
static void set_sender(struct decoding *d, GMimeMessage *m)
{
    char *name = NULL, *address = NULL;
    if (!person_of(d, m, "From", &name, &address) && !bare_person(d, m, &name, &address) && !person_of(d, m, "Sender", &name, &address))
        address = mail_address_normalize(d->e->sender);
    if (!name && decode_header(GMIME_OBJECT(m), "From") && !address) {
        char *text = decode_header_text_of(d, decode_header(GMIME_OBJECT(m), "From"), DECODE_MAX_NAME);
        name = clean_name(text);
        free(text);
    }
    set(&d->r->name, name);
    set(&d->r->email, address);
}

char *decode_header_people(struct decoding *d, GMimeMessage *m, const char *field)
{
    char *name = NULL, *address = NULL, *text;
    if (person_of(d, m, field, &name, &address))
        text = name ? cd_asprintf("%s <%s>", name, address) : cd_strdup(address);
    else
        text = decode_header(GMIME_OBJECT(m), field)
                   ? decode_header_text_of(d, decode_header(GMIME_OBJECT(m), field), DECODE_MAX_NAME)
                   : cd_strdup("");
    free(name);
    free(address);
    return text;
}

/* ---- ids ---- */

/* As the ledger's keys have it (intake/keys.h): printable ASCII without spaces, at most 255 bytes. */
static char *clean_id(const char *s, size_t n)
{
    if (n == 0 || n > DECODE_MAX_ID)
        return NULL;
    for (size_t i = 0; i < n; i++)
        if (s[i] <= ' ' || s[i] >= 0x7f)
            return NULL;
    return cd_strndup(s, n);
}

/* The next "<id>" at or after *s; *s moves behind it. NULL at the end. */
static char *next_id(const char **s)
{
    while ((*s = strchr(*s, '<')) != NULL) {
        const char *from = *s + 1;
        size_t n = strcspn(from, "<>");
        *s = from + n;
        char *id = from[n] == '>' ? clean_id(from, n) : NULL;
        if (id)
            return id;
    }
    return NULL;
}

/* The first "<id>", else the whole value when it is one word. */
static char *single_id(const char *raw)
{
    const char *p = raw;
    if (!raw)
        return NULL;
    char *id = next_id(&p);
    if (id || strchr(raw, '<'))
        return id;
    raw += strspn(raw, " \t\r\n");
    size_t n = strcspn(raw, " \t\r\n");
    return raw[n + strspn(raw + n, " \t\r\n")] == '\0' ? clean_id(raw, n) : NULL;
}

/* The last ids of a long chain are kept, and the first, which names the thread. */
static void set_references(struct record *r, const char *raw)
{
    char *id;
    for (const char *p = raw; p && (id = next_id(&p)) != NULL;) {
        if (strlist_has(&r->references, id)) {
            free(id);
            continue;
        }
        if (r->references.n == RECORD_MAX_THREAD_IDS) {
            free(r->references.v[1]);
            memmove(r->references.v + 1, r->references.v + 2,
                    (RECORD_MAX_THREAD_IDS - 2) * sizeof *r->references.v);
            r->references.v[RECORD_MAX_THREAD_IDS - 1] = id;
            continue;
        }
        strlist_take(&r->references, id);
    }
}

/* ---- date ---- */

static int64_t date_of(const char *raw)
{
    GDateTime *t = raw ? g_mime_utils_header_decode_date(raw) : NULL;
    int64_t us = 0;
    if (!t)
        return 0;
    gint64 s = g_date_time_to_unix(t);
    if (s > 0 && s < INT64_C(253402300799))
        us = CD_SEC(s);
    g_date_time_unref(t);
    return us;
}

const char *decode_charset_hint(GMimeMessage *m)
{
    GMimeObject *o = g_mime_message_get_mime_part(m);
    for (int level = 0; o && level < 5 && GMIME_IS_MULTIPART(o); level++)
        o = g_mime_multipart_get_count(GMIME_MULTIPART(o)) > 0 ? g_mime_multipart_get_part(GMIME_MULTIPART(o), 0) : NULL;
    return o && GMIME_IS_PART(o) ? g_mime_object_get_content_type_parameter(o, "charset") : NULL;
}

void decode_headers(struct decoding *d, GMimeMessage *m)
{
    struct record *r = d->r;
    GMimeObject *o = GMIME_OBJECT(m);
    char *name = NULL, *reply_to = NULL;
    const char *subject = decode_header(o, "Subject");
    set_sender(d, m);
    if (person_of(d, m, "Reply-To", &name, &reply_to) && str_eq(reply_to, r->email))
        set(&reply_to, NULL);
    free(name);
    set(&r->reply_to, reply_to);
    set(&r->subject, subject ? decode_header_text_of(d, subject, SCAN_MAX_FIELD * 4) : cd_strdup(""));
    set(&r->message_id, single_id(decode_header(o, "Message-ID")));
    set(&r->in_reply_to, single_id(decode_header(o, "In-Reply-To")));
    set_references(r, decode_header(o, "References"));
    r->sent_at_us = date_of(decode_header(o, "Date"));
}
