/* A binary tree of libc (tsearch), which is walked in the order of addresses. */
#include "daemon/store/answers.h"

#include <search.h>
#include <string.h>

#include "daemon/core/metrics.h"
#include "daemon/core/str.h"

struct answers {
    void *tree; /* of struct answer_count, owned */
    size_t n;
    char *from;          /* the address behind those that were taken last; NULL: the first */
    int64_t taken_at_us; /* when all of before had been taken */
};

static int by_address(const void *a, const void *b)
{
    return strcmp(((const struct answer_count *)a)->address, ((const struct answer_count *)b)->address);
}

static void count_free(void *p)
{
    struct answer_count *c = p;
    free(c->address);
    free(c);
}

struct answers *answers_new(void)
{
    return cd_alloc(sizeof(struct answers));
}

void answers_free(struct answers **pa)
{
    struct answers *a = *pa;
    if (!a)
        return;
    *pa = NULL;
    tdestroy(a->tree, count_free);
    free(a->from);
    free(a);
}

static struct answer_count *find(const struct answers *a, const char *address)
{
    const struct answer_count key = {.address = (char *)(uintptr_t)address};
    struct answer_count *const *node = tfind(&key, &a->tree, by_address);
    return node ? *node : NULL;
}

static void add(struct answers *a, const char *address, uint64_t n)
{
    struct answer_count *c = find(a, address);
    if (c) {
        c->n += n;
        return;
    }
    if (a->n >= ANSWERS_MAX) {
        metrics_add(M_ANSWERS_UNCOUNTED, n);
        return;
    }
    c = cd_alloc(sizeof *c);
    *c = (struct answer_count){cd_strdup(address), n};
    cd_assert(tsearch(c, &a->tree, by_address));
    a->n++;
}

void answers_count(struct answers *a, const char *address)
{
    add(a, address, 1);
}

uint64_t answers_kept(const struct answers *a, const char *address)
{
    const struct answer_count *c = address ? find(a, address) : NULL;
    return c ? c->n : 0;
}

size_t answers_addresses(const struct answers *a)
{
    return a->n;
}

struct walk {
    const char *from;
    struct answers_taken *taken;
    bool more;
};

static void visit(const void *node, VISIT which, void *arg)
{
    struct walk *w = arg;
    const struct answer_count *c = *(const struct answer_count *const *)node;
    if ((which != postorder && which != leaf) || (w->from && strcmp(c->address, w->from) <= 0))
        return;
    w->more = w->taken->n == ANSWERS_AT_ONCE;
    if (!w->more)
        w->taken->v[w->taken->n++] = *c; /* its address becomes the taker's */
}

struct answers_taken *answers_take(struct answers *a, int64_t now_us)
{
    if (!a->n || (!a->from && a->n < 2 * ANSWERS_AT_ONCE && now_us - a->taken_at_us < ANSWERS_LATER_US))
        return NULL;
    struct walk w = {.from = a->from, .taken = cd_alloc(sizeof *w.taken)};
    twalk_r(a->tree, visit, &w);
    for (size_t i = 0; i < w.taken->n; i++) {
        struct answer_count *c = find(a, w.taken->v[i].address);
        cd_assert(c && tdelete(c, &a->tree, by_address));
        free(c);
        a->n--;
    }
    if (!w.more)
        a->taken_at_us = now_us;
    char *from = w.more ? cd_strdup(w.taken->v[w.taken->n - 1].address) : NULL;
    free(a->from);
    a->from = from;
    if (!w.taken->n)
        answers_taken_free(&w.taken);
    return w.taken;
}

void answers_taken_free(struct answers_taken **pt)
{
    struct answers_taken *t = *pt;
    if (!t)
        return;
    *pt = NULL;
    for (size_t i = 0; i < t->n; i++)
        free(t->v[i].address);
    free(t);
}

void answers_put_back(struct answers *a, struct answers_taken **t)
{
    for (size_t i = 0; *t && i < (*t)->n; i++)
        add(a, (*t)->v[i].address, (*t)->v[i].n);
    answers_taken_free(t);
}
