/* Collected faults. Each owns its texts; over the maximum they are only counted. Adding never fails. */
#include "config/load.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool faults_full(const struct faults *f)
{
    return f->n >= (f->max ? f->max : CONFIG_FAULTS);
}

/* One line of valid UTF-8: what came from a file must not break the report. */
static char *one_line(const char *s)
{
    char *t = utf8_clean(s, strlen(s), NULL);
    for (char *p = t; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = ' ';
    return t;
}

void faults_add(struct faults *f, struct mark m, const char *fmt, ...)
{
    if (faults_full(f)) {
        f->dropped++;
        return;
    }
    CD_CLEANUP_FREE char *raw = NULL;
    va_list ap;
    va_start(ap, fmt);
    if (vasprintf(&raw, fmt, ap) < 0)
        raw = NULL;
    va_end(ap);
    f->v = cd_realloc(f->v, (f->n + 1) * sizeof *f->v);
    f->v[f->n++] = (struct fault){
        .file = cd_strdup(m.file ? m.file : ""),
        .line = m.line,
        .column = m.column,
        .text = raw ? one_line(raw) : cd_strdup("fault without text: free some memory"),
    };
}

void faults_print(const struct faults *f, struct buf *out)
{
    for (size_t i = 0; i < f->n; i++) {
        const struct fault *x = &f->v[i];
        if (x->line)
            buf_printf(out, "%s:%d:%d: %s\n", x->file, x->line, x->column, x->text);
        else if (*x->file)
            buf_printf(out, "%s: %s\n", x->file, x->text);
        else
            buf_printf(out, "%s\n", x->text);
    }
    if (f->dropped)
        buf_printf(out, "%zu more faults are not shown: mend these first\n", f->dropped);
}

void faults_free(struct faults *f)
{
    for (size_t i = 0; i < f->n; i++) {
        free(f->v[i].file);
        free(f->v[i].text);
    }
    free(f->v);
    *f = (struct faults){.max = f->max};
}

static size_t file_order(const struct strlist *files, const char *file)
{
    for (size_t i = 0; i < files->n; i++)
        if (strcmp(files->v[i], file) == 0)
            return i;
    return files->n;
}

static bool comes_before(const struct fault *a, const struct fault *b, const struct strlist *files)
{
    size_t fa = file_order(files, a->file), fb = file_order(files, b->file);
    if (fa != fb)
        return fa < fb;
    return a->line != b->line ? a->line < b->line : a->column < b->column;
}

/* In the order in which one reads the files; an insertion sort, since there are few and equal ones keep their
 * order. */
void faults_sort(struct faults *f, const struct strlist *files)
{
    for (size_t i = 1; i < f->n; i++) {
        struct fault x = f->v[i];
        size_t k = i;
        for (; k > 0 && comes_before(&x, &f->v[k - 1], files); k--)
            f->v[k] = f->v[k - 1];
        f->v[k] = x;
    }
}

const char *show(const char *s)
{
    static _Thread_local char ring[8][72];
    static _Thread_local unsigned next;
    char *out = ring[next++ % ARRAY_LEN(ring)];
    size_t n = strlen(s), cut = n > 60 ? utf8_cut(s, 60) : n;
    if (cut > 60)
        cut = 60;
    snprintf(out, sizeof ring[0], "%.*s%s", (int)cut, s, cut < n ? "…" : "");
    return out;
}

#define SUGGEST_MAX 40
/* Edits that turn a into b: insert, delete, change, swap of neighbours. */
static size_t edits(const char *a, size_t na, const char *b, size_t nb)
{
    size_t d[3][SUGGEST_MAX + 1];
    for (size_t j = 0; j <= nb; j++)
        d[0][j] = j;
    for (size_t i = 1; i <= na; i++) {
        size_t *row = d[i % 3], *up = d[(i + 2) % 3], *up2 = d[(i + 1) % 3];
        row[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            size_t best = CD_MIN(up[j], row[j - 1]) + 1;
            best = CD_MIN(best, up[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                best = CD_MIN(best, up2[j - 2] + 1);
            row[j] = best;
        }
    }
    return d[na % 3][nb];
}

const char *suggest(const char *word, const char *const *names, size_t n)
{
    const char *best = NULL;
    size_t nw = strlen(word), limit = CD_MAX(nw / 3, (size_t)1) + 1;
    if (nw > SUGGEST_MAX)
        return NULL;
    for (size_t i = 0; i < n && names[i]; i++) {
        size_t nn = strlen(names[i]);
        if (nn > SUGGEST_MAX)
            continue;
        size_t e = edits(word, nw, names[i], nn);
        if (e < limit) {
            limit = e;
            best = names[i];
        }
    }
    return best;
}
