/* The texts of the generator. Nothing here depends on time or on what was made before: number `i` can be made
 * again by itself. Sentences are ASCII, or UTF-8 that is written as quoted-printable when it goes into a
 * mail. */
#include "tests/bench/text.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

/* Date headers count seconds from here: the digest of a mail covers its Date. 2026-11-01T08:00:00Z. */
#define FIRST_DATE 1793520000

static const char *const first_names[] = {"Ana",    "Bo",    "Chen", "Dora", "Emil",
                                          "Fatima", "Goran", "Hui",  "Ines", "Jan"};
static const char *const last_names[] = {"Berg", "Costa", "Dahl",   "Evans",  "Fischer",
                                         "Gao",  "Haas",  "Ivanov", "Jansen", "Li"};
static const char *const subjects[] = {
    "Wrong amount on invoice %llu", "Parcel %llu never arrived",   "Device %llu stopped working",
    "Refund for order %llu",        "Rude answer about case %llu", "App fails after update (%llu)",
    "Charged twice, order %llu",    "Question on contract %llu",
};
static const char *const sentences[] = {
    "I am writing about an order that I placed last week.",
    "The invoice shows an amount that we never agreed on.",
    "You have charged my card twice for the same purchase.",
    "The parcel was marked as delivered, but nobody got it.",
    "The courier left it in the rain in front of the house.",
    "The machine makes a loud noise and then switches off.",
    "After the last update the app closes when I log in.",
    "I have called four times and nobody answers the phone.",
    "The person at the counter was rude and sent me away.",
    "Your colleague promised to call back and never did.",
    "The seam of the left sleeve came apart on day two.",
    "The repair took three weeks and the fault is still there.",
    "I want my money back, or a new one that works.",
    "Please tell me what happens now, and until when.",
    "I paid \xc2\xa3\x34\x39.90 by card and can send you the receipt.",
    "The caf\xc3\xa9 in your shop refused the voucher, too.",
    "My contract number is on the letter that you sent me.",
    "The web site says \xe2\x80\x9cin stock\xe2\x80\x9d, the shop says it is not.",
    "I have been a customer of yours for eleven years now.",
    "The replacement part does not fit; it has another size.",
    "Two of the six glasses were broken when I opened it.",
    "The page for returns asks for a code I do not have.",
    "My neighbour had the same trouble with this model.",
    "I would like to hear from you before the weekend.",
};

uint64_t text_random(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static uint64_t state_of(const struct text *t, uint64_t i)
{
    uint64_t s = t->seed * UINT64_C(0x100000001b3) + i;
    return text_random(&s);
}

void text_item(const struct text *t, const char *prefix, uint64_t i, struct text_item *ret)
{
    uint64_t s = state_of(t, i);
    unsigned who = (unsigned)(text_random(&s) % t->senders);
    uint64_t number = 10000000 + text_random(&s) % 90000000;
    const char *first = first_names[who % ARRAY_LEN(first_names)];
    const char *last = last_names[who / 10 % ARRAY_LEN(last_names)];

    snprintf(ret->key, sizeof ret->key, "%s%llu-%llu", prefix, (unsigned long long)t->seed,
             (unsigned long long)i);
    snprintf(ret->mark, sizeof ret->mark, "mark-%016llx", (unsigned long long)text_random(&s));
    snprintf(ret->sender, sizeof ret->sender, "%s.%s%u@shop%u.example", first, last, who, who % 7);
    snprintf(ret->name, sizeof ret->name, "%s %s", first, last);
    snprintf(ret->phone, sizeof ret->phone, "+8613%09u", 100000000 + who);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(ret->subject, sizeof ret->subject, subjects[text_random(&s) % ARRAY_LEN(subjects)],
             (unsigned long long)number);
#pragma GCC diagnostic pop
    for (char *c = ret->sender; *c; c++)
        if (*c >= 'A' && *c <= 'Z')
            *c = (char)(*c + 32);
}

static void add_quoted(struct buf *out, const char *s)
{
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (c == '=' || c >= 127)
            buf_printf(out, "=%02X", c);
        else
            buf_append_char(out, *s);
    }
}

static const char *sentence(uint64_t *s)
{
    return sentences[text_random(s) % ARRAY_LEN(sentences)];
}

static void add_head(const struct text *t, uint64_t i, const struct text_item *item, struct buf *out)
{
    char date[64];
    struct tm tm;
    time_t when = FIRST_DATE + (time_t)(i % 1000000);
    gmtime_r(&when, &tm);
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S +0000", &tm);
    buf_printf(out,
               "From: %s <%s>\r\n"
               "To: Example care <care@example.com>\r\n"
               "Subject: %s\r\n"
               "Date: %s\r\n"
               "Message-ID: <%s>\r\n"
               "User-Agent: complaint-load %llu\r\n"
               "MIME-Version: 1.0\r\n"
               "Content-Type: multipart/alternative; boundary=\"=_part\"\r\n\r\n",
               item->name, item->sender, item->subject, date, item->key, (unsigned long long)t->seed);
}

/* A tenth of a large mail is plain text, of a small one two fifths: so do the mails that people send. */
void text_mail(const struct text *t, uint64_t i, const struct text_item *item, struct buf *out)
{
    static const char part[] = "--=_part\r\nContent-Type: text/%s; charset=utf-8\r\n"
                               "Content-Transfer-Encoding: quoted-printable\r\n\r\n";
    size_t begin = out->len, plain_end = begin + (t->size > 5000 ? t->size / 10 + 500 : t->size * 11 / 20);
    uint64_t s = state_of(t, i);

    add_head(t, i, item, out);
    buf_printf(out, part, "plain");
    do {
        add_quoted(out, sentence(&s));
        buf_append_str(out, "\r\n");
    } while (out->len + 80 < plain_end);
    buf_printf(out, "%s\r\n%s\r\n", item->mark, item->name);
    buf_printf(out, part, "html");
    buf_append_str(out, "<html><body style=3D\"font-family: sans-serif\">\r\n");
    do {
        buf_append_str(out, "<p class=3D\"text\">");
        add_quoted(out, sentence(&s));
        buf_append_str(out, "</p>\r\n");
    } while (out->len - begin + 110 < t->size);
    buf_append_str(out, "</body></html>\r\n--=_part--\r\n");
}

void text_plain(const struct text *t, uint64_t i, const struct text_item *item, size_t size, struct buf *out)
{
    size_t begin = out->len;
    uint64_t s = state_of(t, i);
    do {
        buf_append_str(out, sentence(&s));
        buf_append_char(out, '\n');
    } while (out->len - begin + 80 < size);
    buf_append_str(out, item->mark);
}

static void add_json_string(struct buf *out, const char *s)
{
    buf_append_char(out, '"');
    for (; *s; s++) {
        if (*s == '\n') {
            buf_append_str(out, "\\n");
            continue;
        }
        if (*s == '"' || *s == '\\')
            buf_append_char(out, '\\');
        buf_append_char(out, *s);
    }
    buf_append_char(out, '"');
}

void text_json_members(const struct text_item *item, const char *text, struct buf *out)
{
    buf_printf(out, "\"customer\":{\"email\":\"%s\",\"name\":\"%s\"},\"subject\":", item->sender, item->name);
    add_json_string(out, item->subject);
    buf_append_str(out, ",\"text\":");
    add_json_string(out, text);
}
