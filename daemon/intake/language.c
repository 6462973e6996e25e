/* A guess at the language from the letters of subject and text: enough to choose a template, not more.
 * Japanese is told from Chinese by its kana; English is only believed when some of its most common words
 * occur. */
#include "daemon/intake/language.h"

#include <string.h>

#include "daemon/core/str.h"

#define SAMPLE CD_KIB(8)

struct letters {
    size_t han, kana, hangul, latin, other;
    size_t words, english;
};

/* Words that no other language written in Latin letters has among its common ones. */
static const char *const common[] = {
    "about",   "account",   "again",    "and",    "are",    "been",  "but",   "call",  "called", "can",
    "charged", "complaint", "customer", "did",    "does",   "done",  "from",  "get",   "have",   "help",
    "how",     "if",        "it",       "its",    "just",   "money", "never", "not",   "order",  "ordered",
    "our",     "out",       "phone",    "please", "refund", "said",  "still", "thank", "thanks", "that",
    "the",     "their",     "there",    "they",   "this",   "want",  "were",  "what",  "when",   "which",
    "why",     "with",      "would",    "you",    "your"};

/* Few words share a first letter. */
static bool is_common(const char *w, size_t n)
{
    static uint8_t first[27]; /* of each letter's words, and their end */
    static bool ready;
    if (!ready) {
        for (size_t i = 0; i < ARRAY_LEN(common); i++)
            for (size_t letter = (size_t)(common[i][0] - 'a') + 1; letter < ARRAY_LEN(first); letter++)
                first[letter] = (uint8_t)(i + 1);
        ready = true;
    }
    size_t letter = (size_t)(w[0] - 'a');
    for (size_t i = first[letter]; i < first[letter + 1]; i++)
        if (common[i][1] == w[1] && strncmp(w, common[i], n) == 0 && !common[i][n])
            return true;
    return false;
}

static void count_wide(struct letters *l, uint32_t c)
{
    if ((c >= 0x4e00 && c <= 0x9fff) || (c >= 0x3400 && c <= 0x4dbf) || (c >= 0x20000 && c <= 0x3ffff))
        l->han++;
    else if (c >= 0x3041 && c <= 0x30ff && c != 0x30fb)
        l->kana++;
    else if (c >= 0xac00 && c <= 0xd7a3)
        l->hangul++;
    else if (c >= 0xc0 && c <= 0x24f)
        l->latin++;
    else if (c >= 0x370 && c < 0x2000)
        l->other++;
}

static void count(struct letters *l, const char *s, size_t n)
{
    char word[16];
    size_t len = 0;
    for (size_t i = 0; i <= n;) {
        unsigned char c = i < n ? (unsigned char)s[i] : ' ';
        unsigned char lower = (unsigned char)(c | 0x20);
        if (lower >= 'a' && lower <= 'z') {
            if (len < sizeof word)
                word[len] = (char)lower;
            len++;
            l->latin++;
            i++;
            continue;
        }
        if (len > 0 && c < 0x80) {
            l->words++;
            l->english += len > 1 && len <= sizeof word && is_common(word, len);
        }
        len = 0;
        if (c < 0x80) {
            i++;
            continue;
        }
        size_t size = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
        if (i + size > n)
            break;
        uint32_t code = c & (0xffu >> (size + 1));
        for (size_t k = 1; k < size; k++)
            code = code << 6 | ((unsigned char)s[i + k] & 0x3f);
        count_wide(l, code);
        i += size;
    }
}

const char *language_guess(const char *subject, const char *text)
{
    struct letters l = {0};
    size_t nsubject = strlen(subject), ntext = strnlen(text, SAMPLE + 4);
    count(&l, subject, nsubject > SAMPLE ? utf8_cut(subject, SAMPLE) : nsubject);
    count(&l, text, ntext > SAMPLE ? utf8_cut(text, SAMPLE) : ntext);
    /* A Han character stands for about a word, a kana for a part of one. */
    if (l.kana * 10 > l.han + l.kana && (l.kana + l.han) * 4 > l.latin + l.other + l.hangul)
        return "ja";
    if (l.han * 4 > l.latin + l.other && l.han > l.hangul)
        return "zh";
    if (l.latin > l.other + l.hangul + l.han && l.english > 0 && l.english * 10 >= l.words)
        return "en";
    return "und";
}
