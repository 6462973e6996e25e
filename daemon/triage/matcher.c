/* Running the compiled patterns over a record, in a worker. A matcher owns its databases and scratch space;
 * the record's hits are the record's. Matching allocates only the folded text and cannot fail; limits cut
 * what is looked at and say so by the record's flag REC_TRUNCATED_MATCH. */
#include "daemon/triage/match.h"

#include <glib.h>
#include <hs.h>
#include <string.h>

#include "daemon/core/crypto.h"
#include "daemon/core/err.h"
#include "daemon/core/wire.h"
#include "daemon/triage/pattern.h"

struct pattern_info {
    uint32_t len; /* of a literal, to find the start of a match */
    uint8_t flags, field;
};

struct matcher {
    struct pattern_info *patterns;
    uint32_t n;
    hs_database_t *literals, *regexes; /* NULL when there are none */
    hs_scratch_t *scratch;
    uint8_t *seen; /* one bit a pattern, of the field being scanned */
};

/* ---- from the serialized form ---- */

static int read_database(struct wire_reader *r, hs_database_t **ret)
{
    size_t n = 0;
    const uint8_t *p = wire_read_bytes(r, &n);
    if (r->failed)
        return CD_EINVAL;
    if (n > 0 && hs_deserialize_database((const char *)p, n, ret) != HS_SUCCESS)
        return CD_EINVAL;
    return 0;
}

static int read_patterns(struct wire_reader *r, struct matcher *m)
{
    uint32_t n = wire_read_count(r, MATCH_MAX_PATTERNS);
    if (r->failed)
        return CD_EINVAL;
    m->n = n;
    m->patterns = cd_alloc((n + 1) * sizeof(*m->patterns));
    m->seen = cd_alloc(n / 8 + 1);
    for (uint32_t i = 0; i < n; i++) {
        struct pattern_info *p = &m->patterns[i];
        p->flags = wire_read_u8(r);
        p->field = wire_read_u8(r);
        p->len = wire_read_u32(r);
        if (r->failed || (p->flags & ~PAT_FLAGS_ALL) || p->field >= RF_COUNT || p->len == 0 ||
            p->len > PATTERN_MAX_BYTES)
            return CD_EINVAL;
    }
    return 0;
}

static int matcher_read(struct matcher *m, const uint8_t *p, size_t n)
{
    uint8_t digest[SHA256_SIZE];
    struct wire_reader r;
    if (n < SHA256_SIZE)
        return CD_EINVAL;
    n -= SHA256_SIZE;
    sha256(p, n, digest);
    if (memcmp(digest, p + n, SHA256_SIZE) != 0)
        return CD_EINVAL;
    wire_reader_init(&r, p, n);
    if (wire_read_u32(&r) != MATCH_MAGIC || wire_read_u32(&r) != MATCH_VERSION)
        return CD_EINVAL;
    CD_CLEANUP_FREE char *library = wire_read_str(&r, 256, true);
    if (!str_eq(library, hs_version()) || read_patterns(&r, m) < 0)
        return CD_EINVAL;
    if (read_database(&r, &m->literals) < 0 || read_database(&r, &m->regexes) < 0 || r.p != r.end)
        return CD_EINVAL;
    if (m->literals && hs_alloc_scratch(m->literals, &m->scratch) != HS_SUCCESS)
        return CD_ENOMEM;
    if (m->regexes && hs_alloc_scratch(m->regexes, &m->scratch) != HS_SUCCESS)
        return CD_ENOMEM;
    return 0;
}

int matcher_new(const void *p, size_t n, struct matcher **ret)
{
    struct matcher *m = cd_alloc(sizeof(*m));
    int rc = p ? matcher_read(m, p, n) : CD_EINVAL;
    if (rc < 0) {
        matcher_free(&m);
        return rc;
    }
    *ret = m;
    return 0;
}

void matcher_free(struct matcher **m)
{
    if (!*m)
        return;
    hs_free_scratch((*m)->scratch);
    hs_free_database((*m)->literals);
    hs_free_database((*m)->regexes);
    free((*m)->patterns);
    free((*m)->seen);
    free(*m);
    *m = NULL;
}

/* ---- scanning ---- */

struct scan {
    struct matcher *m;
    struct record *record;
    enum match_field field;
    const char *text; /* folded: valid UTF-8 */
    size_t len;
};

static uint32_t char_before(const struct scan *s, size_t at)
{
    return at == 0 ? ' ' : g_utf8_get_char(g_utf8_prev_char(s->text + at));
}

static uint32_t char_at(const struct scan *s, size_t at)
{
    return at >= s->len ? ' ' : g_utf8_get_char(s->text + at);
}

static bool continues(char c)
{
    return ((unsigned char)c & 0xc0) == 0x80;
}

/* To the end of the word that a stem began. CJK has no such ends: there the stem itself is the word. */
static size_t word_end(const struct scan *s, size_t at)
{
    while (at < s->len && !char_is_edge(char_before(s, at), char_at(s, at)))
        at += (size_t)g_utf8_skip[(unsigned char)s->text[at]];
    return CD_MIN(at, s->len);
}

static bool edges_hold(const struct scan *s, uint8_t flags, size_t from, size_t to)
{
    if ((flags & PAT_EDGE_LEFT) && !char_is_edge(char_before(s, from), char_at(s, from)))
        return false;
    return !(flags & PAT_EDGE_RIGHT) || char_is_edge(char_before(s, to), char_at(s, to));
}

static int on_match(unsigned id, unsigned long long from, unsigned long long to, unsigned flags CD_UNUSED,
                    void *ctx)
{
    struct scan *s = ctx;
    struct matcher *m = s->m;
    if (id >= m->n || to > s->len || (m->seen[id / 8] & (1u << id % 8)))
        return 0;
    const struct pattern_info *p = &m->patterns[id];
    if ((p->field == RF_SUBJECT && s->field != MF_SUBJECT) || (p->field == RF_TEXT && s->field != MF_TEXT))
        return 0;
    if (!(p->flags & PAT_REGEX))
        from = to >= p->len ? to - p->len : 0;
    /* An expression over bytes may begin or end inside a character. */
    while (from > 0 && continues(s->text[from]))
        from--;
    while (to < s->len && continues(s->text[to]))
        to++;
    if (from >= to || !edges_hold(s, p->flags, from, to))
        return 0;
    if (s->record->nhits >= RECORD_MAX_HITS) {
        s->record->flags |= REC_TRUNCATED_MATCH;
        return 1;
    }
    m->seen[id / 8] |= (uint8_t)(1u << id % 8);
    if (p->flags & PAT_STEM)
        to = word_end(s, to);
    size_t n = to - from;
    record_add_hit(s->record, id, (uint8_t)s->field, s->text + from,
                   n > MATCH_WORD_BYTES ? utf8_cut(s->text + from, MATCH_WORD_BYTES) : n);
    return 0;
}

static void scan_field(struct matcher *m, struct record *r, enum match_field field, const char *raw,
                       size_t max)
{
    size_t n = strlen(raw);
    if (n > max) {
        n = utf8_cut(raw, max);
        r->flags |= REC_TRUNCATED_MATCH;
    }
    struct scan s = {.m = m, .record = r, .field = field};
    char *folded = match_fold(raw, n, &s.len);
    s.text = folded;
    memset(m->seen, 0, m->n / 8 + 1);
    const hs_database_t *const dbs[] = {m->literals, m->regexes};
    for (size_t i = 0; i < ARRAY_LEN(dbs) && s.len > 0; i++) {
        if (!dbs[i])
            continue;
        hs_error_t rc =
            hs_scan(dbs[i], s.text, (unsigned)CD_MIN(s.len, UINT32_MAX), 0, m->scratch, on_match, &s);
        cd_assert(rc == HS_SUCCESS || rc == HS_SCAN_TERMINATED);
    }
    free(folded);
}

void matcher_run(struct matcher *m, struct record *r, size_t match_bytes)
{
    if (r->subject)
        scan_field(m, r, MF_SUBJECT, r->subject, match_bytes);
    const char *text = r->text_new ? r->text_new : r->text; /* what is quoted was matched when it was written */
    if (text)
        scan_field(m, r, MF_TEXT, text, match_bytes);
}
