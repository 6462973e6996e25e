/* References with a check symbol. Symbols are elements of GF(32) = GF(2)[x]/(x^5 + x^2 + 1), position i (0…11) has the weight
 * a^(11-i) for the generator a = x; a reference is right when the weighted sum of all twelve is zero. All weights differ from
 * zero and neighbours differ from each other, so every wrong symbol and every swap of neighbours changes the sum. */
#include "daemon/core/ref.h"

#include <string.h>

#include "daemon/core/crypto.h"
#include "daemon/core/err.h"

#define SYMBOLS 12
static const char alphabet[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

static uint8_t times_x(uint8_t v)
{
    v = (uint8_t)(v << 1);
    return v & 0x20 ? (uint8_t)(v ^ 0x25) : v;
}

/* Horner's scheme gives exactly the weights above. */
static uint8_t weighted_sum(const uint8_t *s, size_t n)
{
    uint8_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum = (uint8_t)(times_x(sum) ^ s[i]);
    return sum;
}

static int symbol_value(char c)
{
    static const int8_t letters[26] = {10, 11, 12, 13, 14, 15, 16, 17, 1,  18, 19, 1,  20, /* A…M; I and L are read as 1 */
                                       21, 0,  22, 23, 24, 25, 26, -1, 27, 28, 29, 30, 31}; /* N…Z; O is read as 0 */
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'z' ? letters[c - 'a'] : -1;
}

static void print_ref(const uint8_t s[SYMBOLS], char out[REF_TEXT_SIZE])
{
    char *p = out;
    *p++ = 'C';
    for (int i = 0; i < SYMBOLS; i++) {
        if (i % 4 == 0)
            *p++ = '-';
        *p++ = alphabet[s[i]];
    }
    *p = '\0';
}

void ref_new(char out[REF_TEXT_SIZE])
{
    uint8_t s[SYMBOLS];
    random_pooled(s, SYMBOLS - 1);
    for (int i = 0; i < SYMBOLS - 1; i++)
        s[i] &= 31;
    s[SYMBOLS - 1] = times_x(weighted_sum(s, SYMBOLS - 1));
    print_ref(s, out);
}

int ref_parse(const char *in, size_t n, char out[REF_TEXT_SIZE])
{
    uint8_t s[SYMBOLS];
    size_t k = 0, i = 0;
    while (i < n && (in[i] == ' ' || in[i] == '\t'))
        i++;
    if (i < n && (in[i] == 'C' || in[i] == 'c')) { /* the prefix; the symbols that follow may begin with C as well */
        size_t rest = 0;
        for (size_t j = i + 1; j < n; j++)
            rest += symbol_value(in[j]) >= 0;
        if (rest >= SYMBOLS)
            i++;
    }
    for (; i < n; i++) {
        if (in[i] == ' ' || in[i] == '-' || in[i] == '\t')
            continue;
        int v = symbol_value(in[i]);
        if (v < 0 || k == SYMBOLS)
            return CD_EINVAL;
        s[k++] = (uint8_t)v;
    }
    if (k != SYMBOLS || weighted_sum(s, SYMBOLS) != 0)
        return CD_EINVAL;
    print_ref(s, out);
    return 0;
}

static bool is_alnum(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* The length of a reference that begins at text[0] ('C'), 0 when there is none. */
static size_t match_at(const char *text, size_t n, char out[REF_TEXT_SIZE])
{
    size_t i = 1, k = 0;
    while (i < n && k < SYMBOLS) {
        if (k % 4 == 0 && (text[i] == '-' || text[i] == ' '))
            i++;
        if (i >= n || symbol_value(text[i]) < 0)
            return 0;
        i++;
        k++;
    }
    if (k != SYMBOLS || (i < n && is_alnum(text[i])))
        return 0;
    return ref_parse(text, i, out) == 0 ? i : 0;
}

size_t ref_find(const char *text, size_t n, char (*out)[REF_TEXT_SIZE], size_t max)
{
    size_t found = 0;
    for (size_t i = 0; i < n && found < max; i++) {
        if ((text[i] != 'C' && text[i] != 'c') || (i > 0 && is_alnum(text[i - 1])))
            continue;
        size_t len = match_at(text + i, n - i, out[found]);
        if (!len)
            continue;
        bool seen = false;
        for (size_t j = 0; j < found; j++)
            seen |= strcmp(out[j], out[found]) == 0;
        if (!seen)
            found++;
        i += len - 1;
    }
    return found;
}
