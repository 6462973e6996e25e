/* Names of files from outside. Pure; changes its argument only. */
#include "daemon/intake/filename.h"

#include <string.h>

#include "daemon/core/str.h"

void filename_make_safe(char *s)
{
    size_t end = strlen(s);
    while (end > 0 && (s[end - 1] == '/' || s[end - 1] == '\\'))
        end--;
    s[end] = '\0';
    while (end > 0 && s[end - 1] != '/' && s[end - 1] != '\\')
        end--;
    memmove(s, s + end, strlen(s + end) + 1);
    uint8_t *w = (uint8_t *)s;
    for (const uint8_t *p = w; *p;) {
        bool bidi = p[0] == 0xe2 && ((p[1] == 0x80 && ((p[2] >= 0xaa && p[2] <= 0xae) || p[2] == 0x8e ||
                                                       p[2] == 0x8f || p[2] == 0xa8 || p[2] == 0xa9)) ||
                                     (p[1] == 0x81 && p[2] >= 0xa6 && p[2] <= 0xa9));
        if (bidi) {
            p += 3;
        } else if ((p[0] == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0) || (p[0] == 0xd8 && p[1] == 0x9c)) {
            p += 2;
        } else {
            if (*p >= 32 && *p != 127 && *p != '/' && *p != '\\')
                *w++ = *p;
            p++;
        }
    }
    *w = '\0';
    if (strspn(s, ". ") == strlen(s))
        *s = '\0';
    size_t n = strlen(s);
    if (n > FILENAME_MAX_BYTES) { /* the ending says what it is: keep it */
        const char *dot = strrchr(s, '.');
        size_t ending = dot ? strlen(dot) : 0;
        if (ending > 16)
            ending = 0;
        size_t keep = utf8_cut(s, FILENAME_MAX_BYTES - ending);
        memmove(s + keep, s + n - ending, ending + 1);
    }
}
