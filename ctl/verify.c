/* complaintctl verify: has the daemon walk the chains of events, of one complaint or of all of them, page by page. The first broken link ends it. */
#include <stdio.h>

#include "ctl/commands.h"

#define TIMEOUT_S 600
#define PAGE 100

/* One page; *ret_next is where to go on, NULL at the end. */
static int page(struct client *c, json_t *args, json_int_t counts[2], json_t **ret_broken, json_t **ret_next, json_t **closed)
{
    struct answer a;
    int r = client_call(c, "VERIFY", args, &a);
    if (r != EXIT_DONE)
        return r;
    if (!a.ok)
        r = ctl_refused(&a);
    counts[0] += json_integer_value(json_object_get(a.body, "complaints"));
    counts[1] += json_integer_value(json_object_get(a.body, "events"));
    *ret_broken = json_incref(json_object_get(a.body, "broken"));
    *ret_next = json_incref(json_object_get(a.body, "next"));
    if (!*closed)
        *closed = json_incref(json_object_get(a.body, "closed"));
    answer_free(&a);
    return r;
}

static void tell_closed(const json_t *closed)
{
    const char *day = json_string_value(json_object_get(closed, "day")), *hash = json_string_value(json_object_get(closed, "hash"));
    if (day && hash)
        printf("closed up to %s; the journal must say so, too: %s\n", day, hash);
}

static int tell(const struct ctl_globals *g, const json_int_t counts[2], json_t *broken, json_t *closed)
{
    const char *ref = json_string_value(json_object_get(broken, "ref")), *fault = json_string_value(json_object_get(broken, "fault")),
               *day = json_string_value(json_object_get(broken, "day"));
    if (g->json) {
        json_t *o = json_pack("{s:b, s:I, s:I}", "ok", broken == NULL, "complaints", counts[0], "events", counts[1]);
        if (broken)
            json_object_set(o, "broken", broken);
        if (closed)
            json_object_set(o, "closed", closed);
        char *text = json_dumps(o, JSON_COMPACT);
        printf("%s\n", text ? text : "{}");
        free(text);
        json_decref(o);
    } else if (day) {
        printf("%s: %s\n", day, fault ? fault : "broken");
    } else if (broken) {
        printf("%s, event %lld: %s\n", ref ? ref : "?", (long long)json_integer_value(json_object_get(broken, "seq")), fault ? fault : "broken");
    } else {
        printf("%lld events of %lld complaints: every chain is whole\n", (long long)counts[1], (long long)counts[0]);
        tell_closed(closed);
    }
    return broken ? EXIT_REFUSED : EXIT_DONE;
}

int run_verify(const struct ctl_globals *g, json_t *args)
{
    struct client *c = NULL;
    json_t *broken = NULL, *next = NULL, *closed = NULL;
    json_int_t counts[2] = {0};
    int r = ctl_connect(g, TIMEOUT_S, &c);
    if (r == EXIT_DONE)
        json_object_set_new(args, "limit", json_integer(PAGE));
    do {
        if (next)
            json_object_set_new(args, "after", next);
        next = NULL;
        if (r == EXIT_DONE)
            r = page(c, args, counts, &broken, &next, &closed);
    } while (r == EXIT_DONE && next && !broken);
    client_close(&c);
    if (r == EXIT_DONE)
        r = tell(g, counts, broken, closed);
    json_decref(broken);
    json_decref(closed);
    json_decref(next);
    return r;
}
