/* The people of a step. The policy is looked up by its name: a ladder that was changed since the complaint came in is followed as it
 * stands now, level by level. */
#include "daemon/escalation/tell.h"

#include <stdio.h>
#include <string.h>

/* Bits of cfg_tell.by, in the order of enum transport. */
static const char *const transports[] = {"mail", "sms", "webhook"};

static const char *const anchors[] = {"receipt", "acknowledge", "first-response", "resolve"};

static const struct cfg_policy *policy_of(const struct config *c, const char *versioned)
{
    char name[128];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(versioned, "@"), versioned);
    return config_policy(c, name);
}

static const struct cfg_step *step_of(const struct cfg_policy *p, int level)
{
    for (size_t i = 0; p && i < p->nsteps; i++)
        if (p->steps[i].level == level)
            return &p->steps[i];
    return NULL;
}

/* Steps that fell due together (after an outage) tell each recipient once. */
static bool told_already(const json_t *out, const char *transport, const char *to)
{
    size_t i;
    json_t *n;
    json_array_foreach(out, i, n)
        if (str_eq(json_string_value(json_object_get(n, "transport")), transport) && str_eq(json_string_value(json_object_get(n, "recipient")), to))
            return true;
    return false;
}

static void add(const struct config *c, const struct tell_input *in, const char *step, const char *contact, const char *transport, const char *to,
                json_t *out)
{
    char id[UUID_TEXT_SIZE], key[320];
    struct uuid u = uuid_new();
    uuid_format(&u, id);
    snprintf(key, sizeof key, "step.%s.%d.%d.%d.%s.%s", in->complaint_id, in->cycle, in->level, in->repeat, contact,
             transport);
    json_array_append_new(out, json_pack("{s:s, s:s, s:s, s:i, s:s, s:s, s:s, s:{s:s, s:I, s:i, s:s}, s:s, s:s}", "id", id, "purpose", "escalation",
                                         "class", "operational", "level", in->level, "transport", transport, "recipient", to, "language",
                                         c->default_language, "payload", "step", step, "due_us", (json_int_t)in->due_us, "repeat", in->repeat,
                                         "contact", contact, "life", "1 day", "idempotency_key", key));
}

size_t tell_step(const struct config *c, const struct tell_input *in, json_t *out, const char **ret_step)
{
    const struct cfg_step *s = step_of(policy_of(c, in->policy), in->level);
    size_t ways = 0;
    *ret_step = s ? anchors[s->anchor] : "";
    for (size_t i = 0; s && i < s->ntell; i++) {
        const char *name = strcmp(s->tell[i].contact, "team") == 0 ? in->team : s->tell[i].contact;
        const struct contact *who = config_contact(c, name);
        const char *to[] = {who ? who->mail : "", who ? who->sms : "", who ? who->webhook : ""};
        for (size_t t = 0; t < ARRAY_LEN(to); t++)
            if ((s->tell[i].by & (1u << t)) && to[t] && to[t][0]) {
                ways++;
                if (!told_already(out, transports[t], to[t]))
                    add(c, in, *ret_step, name, transports[t], to[t], out);
            }
    }
    return ways;
}
