/* From a phrase as written in a rule file to what the compiler gets.
 *
 * A literal phrase is folded whole and stands for whole words; with a star at its end ("refund*") for all
 * words that begin so.
 *
 * A regular expression keeps its escapes as they are; all else is folded: ASCII letters become small, other
 * characters go through match_fold, a run of white space becomes one space. `\b` is for its two ends only,
 * where it asks that no word goes on beyond the match (Unicode letters, which the matching library's own `\b`
 * does not know). Supported otherwise: what vectorscan takes, that is no look-around, no back-references,
 * nothing that matches the empty text. */
#include "daemon/triage/pattern.h"

#include <glib.h>
#include <string.h>

#include "daemon/core/err.h"

uint32_t match_pattern_count(const struct cfg_rules *r)
{
    size_t n = 0;
    for (size_t i = 0; i < r->n; i++) {
        for (size_t g = 0; g < r->v[i].nall; g++)
            n += r->v[i].all[g].n;
        n += r->v[i].none.n;
    }
    return n > UINT32_MAX ? UINT32_MAX : (uint32_t)n;
}

void pattern_done(struct pattern *p)
{
    free(p->text);
    *p = (struct pattern){0};
}

static int make_literal(const char *text, size_t n, struct pattern *ret, const char **ret_why)
{
    ret->flags = PAT_EDGE_LEFT | PAT_EDGE_RIGHT;
    if (n > 1 && text[n - 1] == '*' && char_is_word(g_utf8_get_char(g_utf8_prev_char(text + n - 1)))) {
        ret->flags = PAT_EDGE_LEFT | PAT_STEM;
        n--;
    }
    ret->text = match_fold(text, n, &ret->len);
    if (ret->len == 0) {
        *ret_why = "the phrase is empty: write a word or remove it";
        return CD_EINVAL;
    }
    return 0;
}

/* ---- regular expressions ---- */

struct regex_reader {
    const char *p, *start, *end;
    struct buf out;
    bool in_class, alternatives;
    const char *class_start;
    int depth;
    uint8_t flags;
    const char *why;
};

/* After a backslash at r->p: copies the escape unfolded, turns `\b` at an end into a flag. */
static void regex_escape(struct regex_reader *r)
{
    if (r->p + 1 >= r->end) {
        r->why = "the expression ends in a backslash: write two for a backslash itself";
        return;
    }
    char c = r->p[1];
    if (c == 'b' && !r->in_class) {
        if (r->p == r->start)
            r->flags |= PAT_EDGE_LEFT;
        else if (r->p + 2 == r->end)
            r->flags |= PAT_EDGE_RIGHT;
        else
            r->why =
                "\\b inside the expression: put it at its very beginning or end, or write two expressions";
        r->p += 2;
        return;
    }
    if (strchr("BQEKG", c)) {
        r->why = "\\B, \\Q, \\E, \\K and \\G are not supported: write the expression without them";
        return;
    }
    const char *stop = r->p + 2;
    if (strchr("pPx", c) && *stop == '{') {
        const char *close = strchr(stop, '}');
        if (!close) {
            r->why = "a brace is not closed: write \\p{L} or \\x{4e00}";
            return;
        }
        stop = close + 1;
        r->flags |= PAT_UTF8;
    } else if ((unsigned char)c >= 0x80) {
        r->p++; /* the backslash means nothing before such a character */
        return;
    }
    buf_append(&r->out, r->p, (size_t)(stop - r->p));
    r->p = stop;
}

static void regex_class_char(struct regex_reader *r)
{
    char c = *r->p;
    bool first = r->p == r->class_start || (r->p == r->class_start + 1 && *r->class_start == '^');
    if (c == '[' && r->p[1] == ':') {
        const char *close = strstr(r->p, ":]");
        size_t n = close ? (size_t)(close + 2 - r->p) : 1;
        buf_append(&r->out, r->p, n);
        r->p += n;
        return;
    }
    if (c == ']' && !first)
        r->in_class = false;
    buf_append_char(&r->out, g_ascii_tolower(c));
    r->p++;
}

static void regex_ascii_char(struct regex_reader *r)
{
    char c = *r->p;
    if (char_is_space((unsigned char)c)) {
        if (r->out.len == 0 || r->out.data[r->out.len - 1] != ' ')
            buf_append_char(&r->out, ' ');
        r->p++;
        return;
    }
    if (c == '[') {
        r->in_class = true;
        r->class_start = r->p + 1;
    } else if (c == '(') {
        r->depth++;
    } else if (c == ')') {
        r->depth--;
    } else if (c == '|' && r->depth == 0) {
        r->alternatives = true;
    }
    buf_append_char(&r->out, g_ascii_tolower(c));
    r->p++;
}

/* Other characters are folded as a run; what becomes ASCII punctuation by it stands for itself, so it is
 * escaped. */
static void regex_other_chars(struct regex_reader *r)
{
    const char *run = r->p;
    while (r->p < r->end && (unsigned char)*r->p >= 0x80 && !char_is_space(g_utf8_get_char(r->p)))
        r->p = g_utf8_next_char(r->p);
    if (r->p == run) { /* a wide space */
        buf_append_char(&r->out, ' ');
        r->p = g_utf8_next_char(r->p);
        return;
    }
    CD_CLEANUP_FREE char *folded = match_fold(run, (size_t)(r->p - run), NULL);
    for (const char *c = folded; *c; c++) {
        if (g_ascii_ispunct(*c))
            buf_append_char(&r->out, '\\');
        else if ((unsigned char)*c >= 0x80)
            r->flags |= PAT_UTF8;
        buf_append_char(&r->out, *c);
    }
}

static int make_regex(const char *text, size_t n, struct pattern *ret, const char **ret_why)
{
    struct regex_reader r = {.p = text, .start = text, .end = text + n, .flags = PAT_REGEX};
    buf_init(&r.out, n * 20 + 16);
    while (r.p < r.end && !r.why) {
        if (*r.p == '\\')
            regex_escape(&r);
        else if ((unsigned char)*r.p >= 0x80)
            regex_other_chars(&r);
        else if (r.in_class)
            regex_class_char(&r);
        else
            regex_ascii_char(&r);
    }
    if (!r.why && r.out.len == 0)
        r.why = "the expression is empty: write one or remove it";
    if (!r.why && r.alternatives && (r.flags & (PAT_EDGE_LEFT | PAT_EDGE_RIGHT)))
        r.why = "\\b beside alternatives: put the alternatives into (?:…|…)";
    if (r.why) {
        buf_free(&r.out);
        *ret_why = r.why;
        return CD_EINVAL;
    }
    ret->flags = r.flags;
    ret->len = r.out.len;
    ret->text = buf_steal(&r.out);
    return 0;
}

int pattern_make(const struct cfg_phrase *ph, struct pattern *ret, const char **ret_why)
{
    size_t n = strlen(ph->text);
    *ret = (struct pattern){.field = (uint8_t)ph->field};
    if (n > PATTERN_MAX_BYTES) {
        *ret_why = "the phrase is over 1000 bytes: write a shorter one";
        return CD_EINVAL;
    }
    if (!utf8_valid(ph->text, n)) {
        *ret_why = "the phrase is not valid UTF-8: save the file as UTF-8";
        return CD_EINVAL;
    }
    int rc = ph->regex ? make_regex(ph->text, n, ret, ret_why) : make_literal(ph->text, n, ret, ret_why);
    if (rc == 0 && ret->len > PATTERN_MAX_BYTES) {
        *ret_why = "the phrase is over 1000 bytes when folded: write a shorter one";
        rc = CD_EINVAL;
    }
    if (rc < 0)
        pattern_done(ret);
    return rc;
}
