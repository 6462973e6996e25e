#pragma once
/* What holds for every separation: the lines of the text, white space aside, are those of both results in their order, each in
 * one of them. */
#include <stdlib.h>
#include <string.h>

#include "channels/mail/reply.h"
#include "daemon/core/err.h"

/* One line of `*p`, without its LF and the white space at its ends; *p moves on. NULL at the end; blank lines are passed over. */
static const char *reply_check_line(const char **p, const char *end, size_t *ret_n)
{
    while (*p < end) {
        const char *line = *p, *nl = memchr(line, '\n', (size_t)(end - line)), *stop = nl ? nl : end;
        *p = nl ? nl + 1 : end;
        while (stop > line && (unsigned char)stop[-1] <= ' ')
            stop--;
        while (line < stop && (unsigned char)*line <= ' ')
            line++;
        *ret_n = (size_t)(stop - line);
        if (*ret_n > 0)
            return line;
    }
    return NULL;
}

static bool reply_check_same(const char *a, size_t na, const char *b, size_t nb)
{
    return a && b && na == nb && memcmp(a, b, na) == 0;
}

/* A line that both results have next may be either's, so all ways of reading them are followed at once: reach[k] says that the lines so
 * far can be k of the one and the others of the other. Used for texts of few lines. */
static bool reply_check_whole(const char *text, size_t n, const struct buf *new_text, const struct buf *quoted)
{
    struct {
        const char *s;
        size_t n;
    } *lines[3];
    const char *begins[] = {text, buf_str(new_text), buf_str(quoted)};
    size_t lengths[] = {n, new_text->len, quoted->len}, counts[3];
    bool whole;
    for (int i = 0; i < 3; i++) {
        const char *p = begins[i], *end = p + lengths[i], *s;
        size_t len, size = 0;
        lines[i] = NULL;
        counts[i] = 0;
        while ((s = reply_check_line(&p, end, &len)) != NULL) {
            if (counts[i] == size)
                lines[i] = cd_realloc(lines[i], (size = size * 2 + 64) * sizeof **lines);
            lines[i][counts[i]].s = s;
            lines[i][counts[i]++].n = len;
        }
    }
    whole = counts[0] == counts[1] + counts[2];
    if (whole) {
        bool *reach = cd_alloc(counts[1] + 1);
        reach[0] = true;
        for (size_t i = 0; i < counts[0]; i++)
            for (size_t k = CD_MIN(i + 1, counts[1]) + 1; k-- > 0;) { /* from above: reach[k - 1] is still that of the line before */
                bool by_new = k > 0 && reach[k - 1] &&
                              reply_check_same(lines[0][i].s, lines[0][i].n, lines[1][k - 1].s, lines[1][k - 1].n);
                bool by_quoted = reach[k] && k <= i && i - k < counts[2] &&
                                 reply_check_same(lines[0][i].s, lines[0][i].n, lines[2][i - k].s, lines[2][i - k].n);
                reach[k] = by_new || by_quoted;
            }
        whole = reach[counts[1]];
        free(reach);
    }
    for (int i = 0; i < 3; i++)
        free(lines[i]);
    return whole;
}
