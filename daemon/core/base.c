/* Allocation that cannot fail, and the end of the process on a broken invariant. */
#include "daemon/core/base.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define EXIT_TEMPORARY 75 /* EX_TEMPFAIL: the service manager starts us again */

void cd_panic(const char *file, int line, const char *what)
{
    char text[512];
    int n = snprintf(text, sizeof text, "panic: %s:%d: %s\n", file, line, what);
    if (n > 0 && write(STDERR_FILENO, text, CD_MIN((size_t)n, sizeof text - 1)) < 0)
        _exit(134);
    abort();
}

static void CD_NORETURN out_of_memory(void)
{
    static const char text[] = "fatal: out of memory\n";
    if (write(STDERR_FILENO, text, sizeof text - 1) < 0)
        _exit(EXIT_TEMPORARY);
    _exit(EXIT_TEMPORARY);
}

void *cd_alloc(size_t size)
{
    void *p = calloc(1, size ? size : 1);
    if (!p)
        out_of_memory();
    return p;
}

void *cd_realloc(void *p, size_t size)
{
    void *q = realloc(p, size ? size : 1);
    if (!q)
        out_of_memory();
    return q;
}

char *cd_strndup(const char *s, size_t n)
{
    if (!s)
        return NULL;
    n = strnlen(s, n);
    char *d = cd_alloc(n + 1);
    memcpy(d, s, n);
    return d;
}

char *cd_strdup(const char *s)
{
    return s ? cd_strndup(s, strlen(s)) : NULL;
}

char *cd_asprintf(const char *fmt, ...)
{
    char *s = NULL;
    va_list ap;
    va_start(ap, fmt);
    int n = vasprintf(&s, fmt, ap);
    va_end(ap);
    if (n < 0)
        out_of_memory();
    return s;
}
