/* Subjects as sets of words. A mail program that answers or forwards puts a word of its user's language and a colon in front, some of them
 * with a count; lists and gateways put a name in brackets there. */
#include "daemon/triage/subject.h"

#include <glib.h>
#include <string.h>

#include "daemon/core/str.h"
#include "daemon/triage/match.h"
#include "daemon/triage/pattern.h"

#define MAX_TAG 60       /* bytes of a name in brackets */
#define SHORT_WORD 3     /* shorter ones of ASCII letters carry a sentence, not a matter */

/* Folded, as mail programs write them: reply and forward in English, German, Dutch, the Nordic languages, Polish, Czech, Turkish,
 * Hungarian, Finnish, Greek, Italian, French, Spanish, Portuguese, Romanian, Welsh, Indonesian, Vietnamese, Russian, Hebrew, Chinese,
 * Japanese and Korean. */
static const char *const prefixes[] = {
    "re", "r", "res", "resp", "ref", "aw", "antw", "antwort", "antwoord", "sv", "vs", "svar", "odp", "ynt", "yan", "vá", "va", "atb",
    "rif", "réf", "rép", "bls", "tl", "trả lời", "ответ", "отв", "на", "απ", "σχετ", "תשובה", "השב", "رد",
    "fw", "fwd", "wg", "wtr", "doorst", "vb", "vl", "pd", "i", "inoltra", "tr", "enc", "rv", "reenv", "továbbítás", "trans", "ilt", "i̇lt",
    "пересл", "переслать", "fs", "videresendt", "προωθ", "πρθ", "הועבר", "إعادة توجيه", "chuyển tiếp",
    "回复", "回覆", "答复", "答覆", "转发", "轉寄", "轉發", "返信", "転送", "회신", "답장", "전달",
};

static const char *past_space(const char *p)
{
    while (*p == ' ')
        p++;
    return p;
}

/* "[2]", "(2)", "^2", "*2" between the word and its colon. */
static const char *past_count(const char *p)
{
    const char *q = p + 1;
    bool bracket = *p == '[' || *p == '(';
    if (!bracket && *p != '^' && *p != '*')
        return p;
    while (*q >= '0' && *q <= '9')
        q++;
    if (q == p + 1 || q > p + 4)
        return p;
    if (bracket && *q != (*p == '[' ? ']' : ')'))
        return p;
    return q + bracket;
}

static const char *past_prefix(const char *p)
{
    for (size_t i = 0; i < ARRAY_LEN(prefixes); i++) {
        size_t n = strlen(prefixes[i]);
        if (strncmp(p, prefixes[i], n) != 0)
            continue;
        const char *q = past_space(past_count(past_space(p + n + (p[n] == '.'))));
        if (*q == ':')
            return q + 1;
    }
    return p;
}

/* "[list] ", "【外部】" */
static const char *past_tag(const char *p)
{
    static const struct {
        const char *open, *close;
    } pairs[] = {{"[", "]"}, {"【", "】"}};
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        const char *end = str_starts(p, pairs[i].open) ? strstr(p, pairs[i].close) : NULL;
        if (end && end - p <= MAX_TAG)
            return end + strlen(pairs[i].close);
    }
    return p;
}

const char *subject_strip(const char *folded)
{
    const char *p = past_space(folded), *q;
    for (;;) {
        q = past_space(past_prefix(p));
        if (q == p)
            q = past_space(past_tag(p));
        if (q == p)
            return p;
        if (!*q) /* nothing but this: then it is the subject */
            return p;
        p = q;
    }
}

static void add_word(struct subject_words *w, const char *s, size_t n)
{
    uint32_t h = 2166136261u; /* FNV-1a */
    for (size_t i = 0; i < n; i++)
        h = (h ^ (uint8_t)s[i]) * 16777619u;
    for (size_t i = 0; i < w->n; i++)
        if (w->v[i] == h)
            return;
    if (w->n < SUBJECT_MAX_WORDS)
        w->v[w->n++] = h;
}

static bool says_nothing(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!g_ascii_isalpha(s[i]))
            return false;
    return n < SHORT_WORD;
}

/* One after the other; a character of a script without spaces makes a pair with each such neighbour. */
static void add_words(const char *p, struct subject_words *w)
{
    while (*p) {
        const char *start = p, *last = NULL;
        uint32_t c = g_utf8_get_char(p);
        if (char_is_cjk(c)) {
            for (; *p && char_is_cjk(c = g_utf8_get_char(p)); last = p, p = g_utf8_next_char(p))
                if (last)
                    add_word(w, last, (size_t)(g_utf8_next_char(p) - last));
            if (last == start)
                add_word(w, start, (size_t)(p - start));
            continue;
        }
        while (*p && char_is_word(c = g_utf8_get_char(p)) && !char_is_cjk(c))
            p = g_utf8_next_char(p);
        if (p == start)
            p = g_utf8_next_char(p);
        else if (!says_nothing(start, (size_t)(p - start)))
            add_word(w, start, (size_t)(p - start));
    }
}

void subject_read(const char *subject, struct subject_words *ret)
{
    ret->n = 0;
    if (!subject)
        return;
    size_t n = strlen(subject);
    if (n > SUBJECT_MAX_BYTES)
        n = SUBJECT_MAX_BYTES;
    n = subject[n] ? utf8_cut(subject, n) : n;
    char *folded CD_CLEANUP_FREE = match_fold(subject, n, NULL);
    add_words(subject_strip(folded), ret);
}

int subject_drift(const struct subject_words *a, const struct subject_words *b)
{
    size_t shared = 0, least = CD_MIN(a->n, b->n);
    if (!least)
        return -1;
    for (size_t i = 0; i < a->n; i++)
        for (size_t k = 0; k < b->n; k++)
            shared += a->v[i] == b->v[k];
    return (int)(100 - 100 * CD_MIN(shared, least) / least);
}
