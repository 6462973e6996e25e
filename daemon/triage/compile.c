/* Compiling the phrases of all rules into two vectorscan databases, and their serialized form.
 *
 * Literals and regular expressions are compiled apart: a large set of literals costs next to nothing by
 * itself, and much when mixed with expressions. Serialized form (core/wire.h): magic, version, vectorscan's
 * version, count, per pattern {flags u8, field u8, length u32}, the two databases as bytes (empty when there
 * are none of the kind), SHA-256 over all that. The memory of the set is freed before the return; the caller
 * owns `out`. */
#include "daemon/triage/match.h"

#include <hs.h>
#include <string.h>

#include "daemon/core/crypto.h"
#include "daemon/core/err.h"
#include "daemon/core/wire.h"
#include "daemon/triage/pattern.h"

struct set {
    const struct cfg_phrase **phrases;
    struct pattern *patterns;
    uint32_t n;
};

/* What one call of the compiler gets: the patterns of one kind. */
struct kind {
    const char **texts;
    size_t *lens;
    unsigned *flags, *ids;
    unsigned n;
};

static void kind_free(struct kind *k)
{
    free(k->texts);
    free(k->lens);
    free(k->flags);
    free(k->ids);
}

static unsigned hs_flags(const struct pattern *p)
{
    if (!(p->flags & PAT_REGEX))
        return 0;
    /* The start of a match is needed for the word edge before it and for the reasons. */
    return HS_FLAG_SOM_LEFTMOST | (p->flags & PAT_UTF8 ? HS_FLAG_UTF8 : 0);
}

static struct kind kind_of(const struct set *s, bool regex)
{
    size_t n = CD_MAX(s->n, 1u);
    struct kind k = {.texts = cd_alloc(n * sizeof(*k.texts)),
                     .lens = cd_alloc(n * sizeof(*k.lens)),
                     .flags = cd_alloc(n * sizeof(*k.flags)),
                     .ids = cd_alloc(n * sizeof(*k.ids))};
    for (uint32_t i = 0; i < s->n; i++) {
        const struct pattern *p = &s->patterns[i];
        if (!p->text || !!(p->flags & PAT_REGEX) != regex)
            continue;
        k.texts[k.n] = p->text;
        k.lens[k.n] = p->len;
        k.flags[k.n] = hs_flags(p);
        k.ids[k.n++] = i;
    }
    return k;
}

static void fault_pattern(const struct set *s, uint32_t i, const char *what, struct faults *f)
{
    size_t len = strlen(s->phrases[i]->text), cut = utf8_cut(s->phrases[i]->text, CD_MIN(len, 80));
    faults_add(f, s->phrases[i]->mark, "\"%.*s%s\": %s", (int)cut, s->phrases[i]->text, cut < len ? "…" : "",
               what);
}

/* The compiler stops at the first bad expression; to report every one, each is tried by itself. */
static void find_bad_regexes(const struct set *s, const struct kind *k, const char *message, struct faults *f)
{
    bool found = false;
    for (unsigned i = 0; i < k->n; i++) {
        hs_database_t *db = NULL;
        hs_compile_error_t *err = NULL;
        if (hs_compile(k->texts[i], k->flags[i], HS_MODE_BLOCK, NULL, &db, &err) == HS_SUCCESS) {
            hs_free_database(db);
            continue;
        }
        CD_CLEANUP_FREE char *what =
            cd_asprintf("%s: write it without look-around, back-references, and parts that match nothing",
                        err ? err->message : "cannot be compiled");
        fault_pattern(s, k->ids[i], what, f);
        hs_free_compile_error(err);
        found = true;
    }
    if (!found)
        fault_pattern(s, k->ids[0], message, f);
}

static int compile_kind(const struct set *s, bool regex, hs_database_t **ret, struct faults *f)
{
    struct kind k = kind_of(s, regex);
    hs_compile_error_t *err = NULL;
    hs_error_t rc = HS_SUCCESS;
    *ret = NULL;
    if (k.n > 0 && regex)
        rc = hs_compile_multi(k.texts, k.flags, k.ids, k.n, HS_MODE_BLOCK, NULL, ret, &err);
    else if (k.n > 0)
        rc = hs_compile_lit_multi(k.texts, k.flags, k.ids, k.lens, k.n, HS_MODE_BLOCK, NULL, ret, &err);
    if (rc != HS_SUCCESS) {
        const char *message = err ? err->message : "the patterns cannot be compiled on this machine";
        if (regex)
            find_bad_regexes(s, &k, message, f);
        else
            fault_pattern(s, k.ids[err && err->expression >= 0 ? (unsigned)err->expression % k.n : 0],
                          message, f);
        hs_free_compile_error(err);
    }
    kind_free(&k);
    return rc == HS_SUCCESS ? 0 : CD_ECONFIG;
}

static int set_add(struct set *s, const struct cfg_phrase *ph, struct faults *f)
{
    const char *why = NULL;
    uint32_t i = s->n++;
    s->phrases[i] = ph;
    if (pattern_make(ph, &s->patterns[i], &why) == 0)
        return 0;
    fault_pattern(s, i, why, f);
    return CD_ECONFIG;
}

/* In the numbering of match.h; phrases at fault keep their number and have no text. */
static int set_fill(struct set *s, const struct cfg_rules *r, struct faults *f)
{
    int rc = 0;
    for (size_t i = 0; i < r->n; i++) {
        const struct cfg_rule *rule = &r->v[i];
        for (size_t g = 0; g < rule->nall; g++)
            for (size_t k = 0; k < rule->all[g].n; k++)
                rc |= set_add(s, &rule->all[g].v[k], f);
        for (size_t k = 0; k < rule->none.n; k++)
            rc |= set_add(s, &rule->none.v[k], f);
    }
    return rc ? CD_ECONFIG : 0;
}

static int write_database(hs_database_t *db, struct buf *out)
{
    char *bytes = NULL;
    size_t n = 0;
    if (db && hs_serialize_database(db, &bytes, &n) != HS_SUCCESS)
        return CD_EIO;
    wire_bytes(out, bytes, n);
    free(bytes);
    return 0;
}

static int write_set(const struct set *s, hs_database_t *literals, hs_database_t *regexes, struct buf *out)
{
    size_t start = out->len;
    wire_u32(out, MATCH_MAGIC);
    wire_u32(out, MATCH_VERSION);
    wire_str(out, hs_version());
    wire_u32(out, s->n);
    for (uint32_t i = 0; i < s->n; i++) {
        wire_u8(out, s->patterns[i].flags);
        wire_u8(out, s->patterns[i].field);
        wire_u32(out, (uint32_t)s->patterns[i].len);
    }
    int rc = write_database(literals, out);
    if (rc == 0)
        rc = write_database(regexes, out);
    if (rc == 0 && !out->failed) {
        uint8_t digest[SHA256_SIZE];
        sha256(out->data + start, out->len - start, digest);
        buf_append(out, digest, sizeof(digest));
    }
    return rc < 0 ? rc : out->failed ? CD_ENOMEM : 0;
}

int match_compile(const struct cfg_rules *r, struct buf *out, struct faults *f)
{
    uint32_t n = match_pattern_count(r);
    if (n > MATCH_MAX_PATTERNS) {
        faults_add(f, r->v[0].mark, "%u phrases in all rules: at most %d", n, MATCH_MAX_PATTERNS);
        return CD_ECONFIG;
    }
    struct set s = {.phrases = cd_alloc((n + 1) * sizeof(*s.phrases)),
                    .patterns = cd_alloc((n + 1) * sizeof(*s.patterns))};
    hs_database_t *literals = NULL, *regexes = NULL;
    int rc = set_fill(&s, r, f);
    int rc_literals = compile_kind(&s, false, &literals, f);
    int rc_regexes = compile_kind(&s, true, &regexes, f);
    if (rc == 0)
        rc = rc_literals < 0 ? rc_literals : rc_regexes;
    if (rc == 0)
        rc = write_set(&s, literals, regexes, out);
    hs_free_database(literals);
    hs_free_database(regexes);
    for (uint32_t i = 0; i < s.n; i++)
        pattern_done(&s.patterns[i]);
    free(s.phrases);
    free(s.patterns);
    return rc;
}
