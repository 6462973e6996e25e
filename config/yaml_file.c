/* Reads one YAML file: size, UTF-8, then the events (aliases, anchors, tags, depth, further documents, which
 * the document API would hide), then the document. Every fault gets its place; a file that can't be used
 * leaves the rest to go on. */
#include "config/load.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char *read_all(int fd, size_t max, size_t *ret_n, const char **ret_why)
{
    struct stat st;
    if (fstat(fd, &st) < 0) {
        *ret_why = strerror(errno);
        return NULL;
    }
    if (!S_ISREG(st.st_mode)) {
        *ret_why = "not a file";
        return NULL;
    }
    if ((uint64_t)st.st_size > max) {
        *ret_why = "too big";
        return NULL;
    }
    size_t size = (size_t)st.st_size, n = 0;
    char *p = cd_alloc(size + 1);
    while (n < size) {
        ssize_t r = read(fd, p + n, size - n);
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0) {
            *ret_why = strerror(errno);
            free(p);
            return NULL;
        }
        if (r == 0)
            break;
        n += (size_t)r;
    }
    p[n] = '\0';
    *ret_n = n;
    return p;
}

char *file_read(const char *path, size_t max, size_t *ret_n, const char **ret_why)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0) {
        *ret_why = strerror(errno);
        return NULL;
    }
    char *p = read_all(fd, max, ret_n, ret_why);
    close(fd);
    return p;
}

/* The line and column (in characters) of a byte. */
static struct mark mark_at_byte(const char *path, const char *p, size_t at)
{
    struct mark m = {path, 1, 1};
    for (size_t i = 0; i < at; i++) {
        if (p[i] == '\n') {
            m.line++;
            m.column = 1;
        } else if (((unsigned char)p[i] & 0xc0) != 0x80) {
            m.column++;
        }
    }
    return m;
}

static size_t first_bad_byte(const char *p, size_t n)
{
    size_t good = 0, step = n;
    /* The longest valid prefix, by halves: whether a prefix is valid does not depend on what follows its cut.
     */
    while (step) {
        size_t k = good + step > n ? n : utf8_cut(p, good + step);
        if (k > good && utf8_valid(p + good, k - good))
            good = k;
        step /= 2;
    }
    for (size_t more = 1; more <= 4 && good + more <= n; more++)
        if (utf8_valid(p + good, more)) {
            good += more;
            more = 0;
        }
    return good;
}

static void syntax_fault(struct loader *l, const char *path, const yaml_parser_t *y, const char *p, size_t n)
{
    if (y->error == YAML_READER_ERROR) {
        faults_add(l->f, mark_at_byte(path, p, CD_MIN(y->problem_offset, n)),
                   "not valid YAML (%s): remove this character", y->problem ? y->problem : "unreadable");
        return;
    }
    struct mark m = {path, (int)y->problem_mark.line + 1, (int)y->problem_mark.column + 1};
    bool tab = y->problem && strstr(y->problem, "cannot start any token") && y->buffer.pointer &&
               y->buffer.pointer < y->buffer.last && *y->buffer.pointer == '\t';
    const char *what = y->problem ? y->problem : "unreadable";
    if (tab)
        faults_add(l->f, m, "a tab in the indentation: write spaces");
    else if (y->context && y->context_mark.line + 1 != (size_t)m.line)
        faults_add(l->f, m,
                   "not valid YAML (%s %s from line %zu on): check indentation, quotes and brackets here",
                   what, y->context, y->context_mark.line + 1);
    else
        faults_add(l->f, m, "not valid YAML (%s): check indentation, quotes and brackets here", what);
}

struct scan {
    struct loader *l;
    const char *path;
    size_t nodes;
    unsigned depth, documents;
    bool usable, empty;
};

static struct mark event_mark(const struct scan *s, const yaml_event_t *e)
{
    return (struct mark){s->path, (int)e->start_mark.line + 1, (int)e->start_mark.column + 1};
}

static void scan_labels(struct scan *s, const yaml_event_t *e, const yaml_char_t *anchor,
                        const yaml_char_t *tag)
{
    if (anchor)
        faults_add(s->l->f, event_mark(s, e),
                   "anchor '&%s' is not allowed: write the value at each place that needs it",
                   show((const char *)anchor));
    static const char standard[] = "tag:yaml.org,2002:";
    const char *t = (const char *)tag;
    bool short_form = t && str_starts(t, standard);
    if (t)
        faults_add(s->l->f, event_mark(s, e), "tag '%s%s' is not allowed: write the plain value",
                   short_form ? "!!" : "", show(short_form ? t + strlen(standard) : t));
}

/* false ends the scan. */
static bool scan_event(struct scan *s, const yaml_event_t *e)
{
    switch (e->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (s->documents++ == 0)
            return true;
        faults_add(s->l->f, event_mark(s, e),
                   "a second document begins here: remove the '---', one file is one document");
        return false;
    case YAML_ALIAS_EVENT:
        faults_add(s->l->f, event_mark(s, e), "alias '*%s' is not allowed: write the value itself",
                   show((const char *)e->data.alias.anchor));
        s->usable = false;
        break;
    case YAML_SCALAR_EVENT:
        scan_labels(s, e, e->data.scalar.anchor, e->data.scalar.tag);
        if (s->depth == 0 && s->documents == 1)
            s->empty = e->data.scalar.length == 0;
        break;
    case YAML_SEQUENCE_START_EVENT:
        scan_labels(s, e, e->data.sequence_start.anchor, e->data.sequence_start.tag);
        s->depth++;
        break;
    case YAML_MAPPING_START_EVENT:
        scan_labels(s, e, e->data.mapping_start.anchor, e->data.mapping_start.tag);
        s->depth++;
        break;
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        s->depth--;
        return true;
    default:
        return true;
    }
    if (s->depth > CONFIG_DEPTH || ++s->nodes > CONFIG_NODES) {
        faults_add(s->l->f, event_mark(s, e),
                   s->depth > CONFIG_DEPTH
                       ? "lists and keys are nested more than %d deep: check the brackets and the indentation"
                       : "more than %d values in one file: split the file",
                   s->depth > CONFIG_DEPTH ? CONFIG_DEPTH : CONFIG_NODES);
        s->usable = false;
        return false;
    }
    return true;
}

/* true when the document API may have it. */
static bool scan_file(struct loader *l, const char *path, const char *p, size_t n)
{
    struct scan s = {.l = l, .path = path, .usable = true};
    yaml_parser_t y;
    if (!yaml_parser_initialize(&y))
        return false;
    yaml_parser_set_input_string(&y, (const unsigned char *)p, n);
    for (bool more = true; more;) {
        yaml_event_t e;
        if (!yaml_parser_parse(&y, &e)) {
            syntax_fault(l, path, &y, p, n);
            s.usable = false;
            break;
        }
        more = e.type != YAML_STREAM_END_EVENT && scan_event(&s, &e);
        yaml_event_delete(&e);
    }
    yaml_parser_delete(&y);
    if (s.usable && (s.documents == 0 || s.empty)) {
        faults_add(l->f, (struct mark){path, 1, 1},
                   "the file is empty: write its keys, or do not name the file");
        s.usable = false;
    }
    return s.usable;
}

static bool document_load(struct loader *l, struct yfile *y, const char *p, size_t n)
{
    if (!utf8_valid(p, n)) {
        faults_add(l->f, mark_at_byte(y->path, p, first_bad_byte(p, n)),
                   "not valid UTF-8: save the file in the encoding UTF-8");
        return false;
    }
    if (!scan_file(l, y->path, p, n))
        return false;
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser))
        return false;
    yaml_parser_set_input_string(&parser, (const unsigned char *)p, n);
    bool ok = yaml_parser_load(&parser, &y->doc) != 0;
    if (!ok)
        syntax_fault(l, y->path, &parser, p, n);
    yaml_parser_delete(&parser);
    return ok;
}

void file_load(struct loader *l, const char *path, struct mark asked, const struct option *table, void *base,
               struct mark *seen, enum ref_kind kind, struct sha256_ctx *also)
{
    strlist_add(&l->c->files, path);
    struct yfile y = {.path = l->c->files.v[l->c->files.n - 1]};
    size_t n = 0;
    const char *why = NULL;
    char *p = file_read(path, CONFIG_FILE_BYTES, &n, &why);
    l->incomplete[kind] = l->incomplete[kind] || !p;
    if (!p) {
        faults_add(l->f, asked, "%s can't be read (%s): name a readable file of at most %zu MB", path, why,
                   CONFIG_FILE_BYTES >> 20);
        return;
    }
    loader_digest_text(l->hash, p, n);
    if (also)
        loader_digest_text(also, p, n);
    bool ok = document_load(l, &y, p, n);
    if (ok) {
        struct yn root = {&y, yaml_document_get_root_node(&y.doc)};
        if (root.node && root.node->type == YAML_MAPPING_NODE)
            map_load(l, root, table, base, seen, "file");
        else
            faults_add(l->f, root.node ? yn_mark(root) : (struct mark){y.path, 1, 1},
                       "the file is %s: write `%s:` with its values on top",
                       root.node ? yn_kind(root) : "empty", table[0].path);
        yaml_document_delete(&y.doc);
    }
    l->incomplete[kind] = l->incomplete[kind] || !ok;
    free(p);
}
