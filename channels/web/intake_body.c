/* The body of a complaint by HTTP, in the front: where its JSON object stands, whether the form around it is sound, and the digest.
 * No more than that: what parts other than the complaint say is read in the worker. Nothing is kept. */
#include <string.h>

#include "channels/web/form.h"
#include "channels/web/intake.h"
#include "daemon/core/metrics.h"

static void bad(struct intake_body *b, enum api_problem p, const char *detail)
{
    if (!b->problem)
        *b = (struct intake_body){.problem = p, .detail = detail};
}

/* The part that holds the complaint, once. */
static void look_at_part(struct intake_body *b, const struct form_part *part, size_t max_json)
{
    struct form_head h;

    if (form_head_read(part, &h) < 0) {
        bad(b, API_BAD_FORM, "a part without Content-Disposition: form-data; name=\"…\"");
        return;
    }
    if (str_eq(h.name, API_FORM_PART)) {
        if (b->json)
            bad(b, API_BAD_FORM, "two parts named complaint");
        else if (part->nbody > max_json) {
            metrics_inc(M_WEB_LIMIT_JSON);
            bad(b, API_TOO_LARGE, "the part complaint is over web.max_json");
        } else if (!b->problem) {
            b->json = part->body;
            b->njson = part->nbody;
        }
    }
    form_head_free(&h);
}

void intake_body_read(const void *p, size_t n, const char *boundary, size_t max_json, size_t max_files, struct intake_body *ret)
{
    struct form f;
    struct form_part part;
    size_t parts = 0;

    *ret = (struct intake_body){0};
    if (!boundary) {
        ret->json = p;
        ret->njson = n;
        return;
    }
    (void)form_init(&f, p, n, boundary);
    while (!ret->problem && form_next(&f, &part)) {
        if (++parts > max_files + 1) {
            metrics_inc(M_WEB_LIMIT_FILES);
            bad(ret, API_TOO_LARGE, "more files than web.max_files");
            return;
        }
        look_at_part(ret, &part, max_json);
    }
    if (f.fault)
        bad(ret, API_BAD_FORM, f.fault);
    else if (!ret->json)
        bad(ret, API_BAD_FORM, "no part named complaint");
}

static void add_part(struct sha256_ctx *c, const void *p, size_t n)
{
    uint64_t length = n;

    sha256_add(c, &length, sizeof length); /* no two lists of parts read the same */
    sha256_add(c, p, n);
}

void intake_body_digest(const json_t *complaint, const void *p, size_t n, const char *boundary, uint8_t digest[SHA256_SIZE])
{
    CD_CLEANUP_FREE char *canonical = json_dumps(complaint, JSON_SORT_KEYS | JSON_COMPACT);
    struct sha256_ctx *c = sha256_new();
    struct form f;
    struct form_part part;
    struct form_head h;

    cd_assert(canonical);
    sha256_add(c, canonical, strlen(canonical));
    if (boundary && form_init(&f, p, n, boundary))
        while (form_next(&f, &part)) {
            bool is_complaint = form_head_read(&part, &h) == 0 && str_eq(h.name, API_FORM_PART);
            form_head_free(&h);
            if (is_complaint)
                continue;
            add_part(c, part.head, part.nhead);
            add_part(c, part.body, part.nbody);
        }
    sha256_end(&c, digest);
}
