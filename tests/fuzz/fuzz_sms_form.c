/* Fuzz target: the form of an SMS webhook, read strictly, and the record made of it. Input: the body. */
#include "tests/fuzz/record_check.h"

#include "channels/sms/form.h"
#include "channels/sms/sms_private.h"

static void check_pairs(const struct form *f)
{
    for (size_t i = 0; i < f->n; i++) {
        const struct form_pair *p = &f->v[i];
        FUZZ_CHECK(p->nname > 0 && !p->name[p->nname] && !p->value[p->nvalue]);
        const char *one = form_one(f, p->name);
        if (!one)
            continue;
        FUZZ_CHECK(form_count(f, p->name) == 1 && form_find(f, p->name) && strlen(one) == form_find(f, p->name)->nvalue);
    }
}

/* Written again and read again it is the same, as far as names that need no escape and values without NUL go. */
static void check_again(const struct form *f)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    struct form *again;
    struct buf b;
    size_t k = 0;
    buf_init(&b, CD_MIB(16));
    for (size_t i = 0; i < f->n; i++)
        if (strspn(f->v[i].name, plain) == f->v[i].nname && strlen(f->v[i].value) == f->v[i].nvalue)
            form_append(&b, f->v[i].name, f->v[i].value);
    FUZZ_CHECK(!b.failed && form_parse(b.data, b.len, &again) == 0);
    for (size_t i = 0; i < f->n; i++) {
        if (strspn(f->v[i].name, plain) != f->v[i].nname || strlen(f->v[i].value) != f->v[i].nvalue)
            continue;
        FUZZ_CHECK(k < again->n && str_eq(again->v[k].name, f->v[i].name) && str_eq(again->v[k].value, f->v[i].value));
        k++;
    }
    FUZZ_CHECK(k == again->n);
    form_free(&again);
    buf_free(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct form *f = NULL;
    int rc = form_parse(data, n, &f);
    FUZZ_CHECK((rc == 0) == (f != NULL));
    if (f) {
        FUZZ_CHECK(f->n <= FORM_MAX_PAIRS);
        check_pairs(f);
        check_again(f);
        fuzz_good = f->n > 0;
        form_free(&f);
    }
    struct envelope *e = envelope_new(CH_SMS, n + 1);
    struct record *r = record_new();
    FUZZ_CHECK(!n || buf_append(&e->raw, data, n) == 0);
    FUZZ_CHECK(sms_decode(e, r) == rc);
    if (rc == 0)
        check_record(r, e);
    record_free(&r);
    envelope_free(&e);
    return 0;
}
