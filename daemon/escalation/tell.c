/* The people of a step, and those of a mail that came back. The policy is looked up by its name: a ladder that was changed since the complaint came in is followed as it
 * stands now, level by level. */
#include "daemon/escalation/tell.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "daemon/core/crypto.h"
#include "daemon/core/uuid.h"

#define TOLD_LIFE_US CD_HOUR(24)

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
static bool told_already(const struct store_notes *out, const char *transport, const char *to)
{
    for (size_t i = 0; i < out->n; i++)
        if (str_eq(out->v[i].transport, transport) && str_eq(out->v[i].recipient, to))
            return true;
    return false;
}

static void add(const struct config *c, const struct tell_input *in, const char *step, const char *contact, const char *transport, const char *to,
                struct store_notes *out)
{
    struct store_note *n = store_notes_add(out);
    json_t *payload =
        json_pack("{s:s, s:I, s:i, s:s}", "step", step, "due_us", (json_int_t)in->due_us, "repeat", in->repeat, "contact", contact);
    n->purpose = "escalation";
    n->class = "operational";
    n->level = in->level;
    n->transport = transport;
    n->recipient = cd_strdup(to);
    n->language = c->default_language;
    n->payload = json_dumps(payload, JSON_COMPACT);
    n->life_us = TOLD_LIFE_US;
    n->key = cd_asprintf("step.%s.%d.%d.%d.%s.%s", in->complaint_id, in->cycle, in->level, in->repeat, contact, transport);
    json_decref(payload);
}

size_t tell_step(const struct config *c, const struct tell_input *in, struct store_notes *out, const char **ret_step)
{
    const struct cfg_step *s = step_of(policy_of(c, in->policy), in->level);
    size_t ways = 0;
    *ret_step = s ? anchors[s->anchor] : "";
    for (size_t i = 0; s && i < s->ntell; i++) {
        const char *name = strcmp(s->tell[i].contact, "team") == 0 ? in->team : s->tell[i].contact;
        bool about = in->about && strlist_has(in->about, name);
        const struct contact *who = about ? NULL : config_contact(c, name);
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

/* The address is in the key as a digest: keys become Message-IDs, and what they name is read on the way. */
size_t tell_undeliverable(const struct config *c, const struct uuid *complaint_id, const char *team, const char *address, const char *error,
                          struct store_notes *out)
{
    const struct contact *who = config_contact(c, team);
    const char *to[] = {who ? who->mail : "", who ? who->sms : "", who ? who->webhook : ""};
    char id[UUID_TEXT_SIZE], hex[17];
    uint8_t digest[SHA256_SIZE];
    size_t ways = 0;
    uuid_format(complaint_id, id);
    sha256(address, strlen(address), digest);
    hex_encode(digest, 8, hex);
    for (size_t t = 0; t < ARRAY_LEN(to); t++) {
        if (!to[t] || !to[t][0])
            continue;
        struct store_note *n = store_notes_add(out);
        json_t *payload = json_pack("{s:s, s:s}", "address", address, "error", error);
        n->purpose = "undeliverable";
        n->class = "operational";
        n->transport = transports[t];
        n->recipient = cd_strdup(to[t]);
        n->language = c->default_language;
        n->payload = payload ? json_dumps(payload, JSON_COMPACT) : cd_strdup("{}");
        n->life_us = TOLD_LIFE_US;
        n->key = cd_asprintf("undeliverable.%s.%s.%s.%s", id, hex, team, transports[t]);
        json_decref(payload);
        ways++;
    }
    return ways;
}
