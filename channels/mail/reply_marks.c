/* What a line is to the splitter: quote, rule, signature, attribution, separator, header. Decided from the line itself and at most
 * REPLY_BACK above or HEADER_LINES below it, so that the time for a text grows with its length alone. */
#include <string.h>

#include "channels/mail/reply_impl.h"
#include "daemon/core/str.h"

#define HEADER_LINES 14  /* of a block, with what its fields go on with */
#define FOLDED_LINES 4   /* that one field may go on for */
#define HEADER_NAME 40   /* bytes in front of the colon */
#define NAME_BYTES 80      /* bytes of "Somebody wrote:" without address and time */
#define DEVICE_BYTES 110   /* bytes of "Sent from my …" */

struct reply_line reply_line_at(const char *p, const char *end, const char **ret_next)
{
    const char *nl = memchr(p, '\n', (size_t)(end - p));
    *ret_next = nl ? nl + 1 : end;
    return (struct reply_line){p, (size_t)((nl ? nl : end) - p)};
}

/* ---- folding ---- */

/* The two bytes of a Latin or Cyrillic capital become those of its small letter. */
static void lower_two(unsigned char *p)
{
    unsigned c = (unsigned)(p[0] & 0x1f) << 6 | (p[1] & 0x3f);
    if ((c >= 0xc0 && c <= 0xde && c != 0xd7) || (c >= 0x410 && c <= 0x42f))
        c += 0x20;
    else if (c >= 0x400 && c <= 0x40f)
        c += 0x50;
    else if ((c >= 0x100 && c <= 0x137) || (c >= 0x14a && c <= 0x177))
        c |= 1;
    else if ((c >= 0x139 && c <= 0x148) || (c >= 0x179 && c <= 0x17e))
        c += c & 1;
    p[0] = (unsigned char)(0xc0 | c >> 6);
    p[1] = (unsigned char)(0x80 | (c & 0x3f));
}

/* What is written otherwise than by its own bytes: how many of them, and what stands for them. */
static size_t plain_form(const char *s, size_t n, const char **ret)
{
    static const struct {
        const char *bytes, *plain;
    } forms[] = {
        {"\xc2\xa0", " "},     {"\xe3\x80\x80", " "}, {"\xe2\x80\xaf", " "}, {"\xe2\x80\x8b", ""}, {"\xe2\x80\x8e", ""},
        {"\xe2\x80\x8f", ""},  {"\xe2\x80\xaa", ""},  {"\xe2\x80\xac", ""},  {"\xef\xbb\xbf", ""}, {"\xe2\x80\x99", "'"},
        {"\xef\xbc\x9a", ":"}, {"\xef\xbc\x8c", ","}, {"&nbsp;", " "},       {"*", ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        size_t m = strlen(forms[i].bytes);
        if (forms[i].bytes[0] == s[0] && m <= n && memcmp(forms[i].bytes, s, m) == 0) {
            *ret = forms[i].plain;
            return m;
        }
    }
    return 0;
}

size_t reply_fold(struct reply_line l, char out[REPLY_FOLD_MAX])
{
    size_t w = 0;
    out[0] = '\0';
    if (l.n >= REPLY_FOLD_MAX)
        return 0;
    for (size_t i = 0; i < l.n;) {
        unsigned char c = (unsigned char)l.s[i];
        const char *plain;
        size_t m = c >= 0xc2 || c == '&' || c == '*' ? plain_form(l.s + i, l.n - i, &plain) : 0;
        if (m > 0) {
            i += m;
            if (!*plain)
                continue;
            c = (unsigned char)*plain;
        } else {
            i++;
        }
        if (c <= ' ') {
            if (w > 0 && out[w - 1] != ' ')
                out[w++] = ' ';
        } else if (c >= 'A' && c <= 'Z') {
            out[w++] = (char)(c + 32);
        } else {
            out[w++] = (char)c;
            if (m == 0 && c >= 0xc3 && c <= 0xd1 && i < l.n) { /* a second byte is never a separator itself */
                out[w++] = l.s[i++];
                lower_two((unsigned char *)out + w - 2);
            }
        }
    }
    while (w > 0 && out[w - 1] == ' ')
        w--;
    out[w] = '\0';
    return w;
}

/* ---- single lines ---- */

bool reply_is_quote(struct reply_line l)
{
    size_t i = 0;
    while (i < l.n && i < 3 && l.s[i] == ' ')
        i++;
    if (i < l.n && l.s[i] == '>')
        return !(l.n - i > 6 && memcmp(l.s + i, ">From ", 6) == 0); /* an mbox on the way */
    return l.n - i >= 3 && memcmp(l.s + i, "\xef\xbc\x9e", 3) == 0; /* the wide one */
}

bool reply_is_rule(struct reply_line l)
{
    size_t marks = 0;
    for (size_t i = 0; i < l.n; i++) {
        static const char wide[][4] = {"\xe2\x80\x94", "\xe2\x80\x93", "\xe1\x90\xa7", "\xe2\x94\x80"}; /* dashes, a mailer's dot */
        size_t m = 0;
        if (l.s[i] == ' ' || l.s[i] == '\t')
            continue;
        for (size_t k = 0; k < ARRAY_LEN(wide) && l.n - i >= 3; k++)
            if (memcmp(l.s + i, wide[k], 3) == 0)
                m = 3;
        if (m == 0 && !strchr("-_*#=~+", l.s[i]))
            return false;
        marks += m > 0 ? 2 : 1;
        i += m > 0 ? 2 : 0;
    }
    return marks >= 2;
}

bool reply_is_signature_mark(struct reply_line l)
{
    return l.n >= 2 && l.n <= 4 && l.s[0] == '-' && l.s[1] == '-' && (l.n == 2 || l.s[2] == ' ') && (l.n < 4 || l.s[3] == ' ');
}

bool reply_is_device_line(struct reply_line l)
{
    char f[REPLY_FOLD_MAX];
    size_t n = reply_fold(l, f), skip = strspn(f, "(<[\"");
    while (n > skip && strchr(")>]\".", f[n - 1]))
        f[--n] = '\0';
    return n > skip && n <= DEVICE_BYTES && reply_is_device_phrase(f + skip, n - skip);
}

bool reply_is_separator(struct reply_line l, bool *ret_forward)
{
    char f[REPLY_FOLD_MAX];
    size_t n = l.n < 4 ? 0 : reply_fold(l, f);
    *ret_forward = true;
    if (n == 0)
        return false;
    if (f[0] != '-' && f[0] != '_' && f[0] != '=')
        return f[n - 1] == ':' && reply_is_forward_line(f);
    size_t skip = strspn(f, "-_= ");
    while (n > skip && strchr("-_=: ", f[n - 1]))
        n--;
    return skip >= 2 && reply_is_separator_phrase(f + skip, n - skip, ret_forward);
}

/* ---- attributions ---- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* 20:45, 13.16 or 8h30. */
static bool has_time(const char *f)
{
    for (const char *p = f; *p; p++)
        if (is_digit(p[0]) && (p[1] == ':' || p[1] == '.' || p[1] == 'h') && is_digit(p[2]) && is_digit(p[3]) && !is_digit(p[4]))
            return true;
    return false;
}

static bool has_year(const char *f)
{
    for (const char *p = f; *p; p++)
        if ((p == f || !is_digit(p[-1])) && ((p[0] == '1' && p[1] == '9') || (p[0] == '2' && p[1] == '0')) && is_digit(p[2]) &&
            is_digit(p[3]) && !is_digit(p[4]))
            return true;
    return false;
}

/* "Somebody <somebody@…>" with the name on this line. */
static bool has_mailbox(const char *f)
{
    const char *lt = strchr(f, '<');
    return lt && lt > f && strchr(lt, '@') && !str_starts(f, "mailto:");
}

/* "2016-03-03 17:21 GMT+01:00 Some One", "2013/7/20 Some One <one@…>": no verb, no colon. */
static bool is_iso_attribution(const char *f, size_t n)
{
    static const char shape[] = "dddd-d";
    for (size_t i = 0; i < sizeof shape - 1; i++)
        if (shape[i] == 'd' ? !is_digit(f[i]) : f[i] != '-' && f[i] != '/')
            return false;
    if (has_time(f) && strstr(f, " gmt") && f[n - 1] != '<')
        return true;
    return has_mailbox(f) && f[n - 1] == '>';
}

/* begins: it may begin an attribution whose last line is below; before: it may be "On Thursday, 3 March" above a line that would do for
 * itself. */
static void look_at(struct reply_seen *x, const char *f, size_t n)
{
    bool dated_start;
    x->known = true;
    x->blank = n == 0;
    if (n == 0)
        return;
    x->verb = reply_has_verb(f);
    x->address = strchr(f, '@') != NULL;
    x->time = has_time(f);
    x->dated = x->time || has_year(f);
    x->starter = reply_is_starter(f);
    dated_start = x->starter && strpbrk(f, "0123456789");
    x->begins = dated_start || x->dated || (x->address && has_mailbox(f));
    x->short_verb = x->verb && n <= NAME_BYTES && f[0] != '>';
    x->before = dated_start && n <= 120 && f[n - 1] != '.' && f[n - 1] != ':';
    x->address_below = f[0] == '<';
    x->quoted = f[0] == '>';
}

static void look(struct reply_seen *x)
{
    char f[REPLY_FOLD_MAX];
    if (!x->known)
        look_at(x, f, reply_fold(x->line, f));
}

size_t reply_attribution(struct reply_seen *back, size_t nback, bool *ret_strong)
{
    char f[REPLY_FOLD_MAX];
    bool verb = false, address = false, time = false, dated = false;
    size_t n = reply_fold(back[0].line, f);
    *ret_strong = true;
    if (n == 0)
        return 0;
    if (is_digit(f[0]) && is_iso_attribution(f, n))
        return 1;
    bool dashes = n > 6 && f[0] == '-' && f[n - 1] == '-';
    bool to_address = n >= 2 && f[n - 2] == '>' && f[n - 1] == ':';
    if (f[n - 1] != ':' && !dashes)
        return 0;
    look_at(&back[0], f, n);
    for (size_t k = 0; k < nback; k++) {
        struct reply_seen *x = &back[k];
        look(x);
        if ((x->blank && !back[k - 1].address_below) || (k > 0 && x->quoted))
            break;
        verb |= x->verb;
        address |= x->address;
        time |= x->time;
        dated |= x->dated;
        *ret_strong = address || time;
        if (!x->begins || !(verb || (to_address && address && dated)))
            continue;
        if (!x->starter && k + 1 < nback) {
            look(&back[k + 1]);
            k += back[k + 1].before;
        }
        return k + 1;
    }
    *ret_strong = false;
    return back[0].short_verb ? 1 : 0;
}

/* ---- headers ---- */

static enum reply_header header_of(struct reply_line l)
{
    char f[REPLY_FOLD_MAX];
    struct reply_line head = {l.s, CD_MIN(l.n, (size_t)HEADER_NAME)};
    if (!memchr(head.s, ':', head.n) && !memmem(head.s, head.n, "\xef\xbc\x9a", 3))
        return RH_NONE;
    reply_fold(head, f);
    char *colon = strchr(f, ':');
    if (!colon)
        return RH_NONE;
    size_t n = (size_t)(colon - f);
    while (n > 0 && f[n - 1] == ' ')
        n--;
    return n > 0 ? reply_header_kind(f, n) : RH_NONE;
}

static bool is_blank(struct reply_line l)
{
    for (size_t i = 0; i < l.n; i++)
        if ((unsigned char)l.s[i] > ' ')
            return false;
    return true;
}

bool reply_header_block(const char *p, const char *end, bool loose, const char **ret_end)
{
    const char *next;
    unsigned seen = 0;
    enum reply_header kind = header_of(reply_line_at(p, end, &next));
    if (kind == RH_NONE || (kind != RH_FROM && !loose))
        return false;
    *ret_end = next;
    seen |= 1u << kind;
    int folded = 0; /* lines since the last field: of its value, or already of the text */
    for (int i = 0; i < HEADER_LINES && next < end; i++) {
        p = next;
        struct reply_line l = reply_line_at(p, end, &next);
        if (is_blank(l)) { /* programs that make text of HTML leave one between fields */
            if (next == end || header_of(reply_line_at(next, end, &p)) == RH_NONE)
                break;
            continue;
        }
        kind = header_of(l);
        if (reply_is_quote(l) || (kind == RH_NONE && ++folded > FOLDED_LINES))
            break;
        if (kind == RH_NONE)
            continue;
        seen |= 1u << kind;
        folded = 0;
        *ret_end = next;
    }
    /* From, To and Date alone may be somebody's journey. */
    return loose || ((seen & 1u << RH_SUBJECT) && (seen & (1u << RH_DATE | 1u << RH_TO)));
}
