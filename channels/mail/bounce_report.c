/* The machine-readable part of a report: message/delivery-status (RFC 3464, with what RFC 3886 and 6533 add). Groups of fields, the first
 * about the message, the others one for each recipient. Read by what its fields are called, not by where the empty lines stand: many
 * systems put them wrongly. Strings of the record are its own. */
#include <stdio.h>
#include <string.h>

#include "channels/mail/bounce.h"
#include "daemon/intake/handle.h"

struct field {
    const char *name;
    size_t nname;
    char *value; /* unfolded, in UTF-8; owned */
};

/* The next field at *p, which moves behind it; false at the end. Lines that are no field are passed over. */
static bool next_field(const char **p, const char *end, struct field *f)
{
    while (*p < end) {
        const char *line = *p, *colon = NULL, *at = line;
        while (at < end && *at != '\n' && *at != '\r' && !(colon = *at == ':' ? at : NULL))
            at++;
        const char *stop = at;
        for (;;) { /* with its continuations */
            while (stop < end && *stop != '\n' && *stop != '\r')
                stop++;
            const char *next = stop;
            while (next < end && (*next == '\r' || *next == '\n') && next - stop < 2 && !(next > stop && next[-1] == '\n'))
                next++;
            *p = next;
            if (!colon || next >= end || next == stop || (*next != ' ' && *next != '\t'))
                break;
            stop = next;
        }
        if (!colon || colon == line)
            continue;
        f->name = line;
        f->nname = (size_t)(colon - line);
        f->value = utf8_clean(colon + 1, (size_t)(stop - colon - 1), NULL);
        decode_squeeze(f->value);
        return true;
    }
    return false;
}

static bool is_named(const struct field *f, const char *name)
{
    char text[64];
    if (f->nname >= sizeof text)
        return false;
    snprintf(text, sizeof text, "%.*s", (int)f->nname, f->name);
    return str_ieq(text, name);
}

/* RFC 6533: "\x{5b57}" stands for a character. In place. */
static void unescape(char *s)
{
    char *w = s;
    while (*s) {
        uint32_t c = 0;
        size_t n = str_starts(s, "\\x{") ? strspn(s + 3, "0123456789abcdefABCDEF") : 0;
        if (n < 2 || n > 6 || s[3 + n] != '}') {
            *w++ = *s++;
            continue;
        }
        for (size_t i = 0; i < n; i++)
            c = c << 4 | (uint32_t)(s[3 + i] <= '9' ? s[3 + i] - '0' : (s[3 + i] | 32) - 'a' + 10);
        if (c < 0x80 || c > 0x10ffff || (c >= 0xd800 && c < 0xe000)) { /* no character of that notation: not an address then */
            *w++ = *s++;
            continue;
        }
        s += n + 4; /* never shorter than the character */
        if (c >= 0x10000) {
            *w++ = (char)(0xf0 | c >> 18);
            *w++ = (char)(0x80 | (c >> 12 & 63));
        } else if (c >= 0x800) {
            *w++ = (char)(0xe0 | c >> 12);
        }
        *w++ = (char)(c >= 0x800 ? 0x80 | (c >> 6 & 63) : 0xc0 | c >> 6);
        *w++ = (char)(0x80 | (c & 63));
    }
    *w = '\0';
}

/* "rfc822; <ann@example.com>" */
static char *address_of(char *value)
{
    char *p = strchr(value, ';');
    p = p ? p + 1 : value;
    unescape(p);
    p += strspn(p, " ");
    char *address = mail_address_normalize(p); /* as a whole it may have other letters than among words */
    return address ? address : bounce_address(p, strlen(p), NULL);
}

static void set(char **field, char *value)
{
    if (value) {
        free(*field);
        *field = value;
    }
}

/* "5.1.1 (unknown)", also "5.1.1," or "550 5.1.1" */
static char *status_of(const char *value)
{
    char code[BOUNCE_STATUS_SIZE];
    return bounce_find_status(value, code) ? cd_strdup(code) : NULL;
}

static char *action_of(const char *value)
{
    static const char *const words[] = {"failed", "delayed", "delivered", "relayed", "expanded"};
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (str_istarts(value, words[i]))
            return cd_strdup(words[i]);
    return NULL;
}

static char *diagnostic_of(const char *value)
{
    const char *p = strchr(value, ';');
    bool typed = p && strcspn(value, " \t") >= (size_t)(p - value); /* "smtp; 550 …", and not a sentence with a semicolon */
    p = typed ? p + 1 + strspn(p + 1, " ") : value;
    char *s = cd_strdup(p);
    if (strlen(s) > BOUNCE_MAX_DIAGNOSTIC)
        s[utf8_cut(s, BOUNCE_MAX_DIAGNOSTIC)] = '\0';
    return s;
}

/* "X-Postfix-Sender: rfc822; care+…@example.com": the reverse-path, which may hold a token of ours. */
static bool is_sender_field(const struct field *f)
{
    return f->nname > 9 && (*f->name | 32) == 'x' && str_istarts(f->name + f->nname - 7, "-sender");
}

void bounce_fields(struct record *r, const char *s, size_t n)
{
    const char *p = s, *end = s + CD_MIN(n, (size_t)BOUNCE_MAX_TEXT);
    struct field f;
    struct bounce *b = NULL;
    bool original = false, final = false;
    while (next_field(&p, end, &f)) {
        bool is_original = is_named(&f, "Original-Recipient"), is_final = is_named(&f, "Final-Recipient");
        if (is_original || is_final) {
            /* each stands once in a group, in front of what is said of the recipient */
            if (!b || (is_original && original) || (is_final && final) || b->status || b->action) {
                b = record_add_bounce(r);
                original = final = false;
            }
            /* the address that we sent to is the original one; where both are given the other is how it was rewritten */
            if (b && (is_original || !original || !b->recipient))
                set(&b->recipient, address_of(f.value));
            original |= is_original;
            final |= is_final;
        } else if (!b && is_sender_field(&f)) {
            if (!r->bounced_sender)
                r->bounced_sender = address_of(f.value);
        } else if (b && is_named(&f, "Status")) {
            set(&b->status, status_of(f.value));
        } else if (b && is_named(&f, "Action")) {
            set(&b->action, action_of(f.value));
        } else if (b && is_named(&f, "Diagnostic-Code")) {
            set(&b->diagnostic, diagnostic_of(f.value));
        }
        free(f.value);
    }
}
