/* Policies: targets per priority and a ladder of steps. Options and what must hold within one policy. */
#include "config/load.h"

#include <stdio.h>
#include <string.h>

static const struct choice anchors[] = {{"receipt", ANCHOR_RECEIPT},
                                        {"acknowledge", ANCHOR_ACKNOWLEDGE},
                                        {"first-response", ANCHOR_FIRST_RESPONSE},
                                        {"resolve", ANCHOR_RESOLVE},
                                        {0}};
static const struct choice priority_bits[] = {{"critical", 1 << PRIO_CRITICAL},
                                              {"high", 1 << PRIO_HIGH},
                                              {"normal", 1 << PRIO_NORMAL},
                                              {"low", 1 << PRIO_LOW},
                                              {0}};
static const struct choice stop_bits[] = {
    {"ack", STOP_ACK}, {"assign", STOP_ASSIGN}, {"reply", STOP_REPLY}, {"resolve", STOP_RESOLVE}, {0}};
/* As enum transport of the channels, which stand above this folder. */
static const struct choice transport_bits[] = {{"mail", 1}, {"sms", 2}, {"webhook", 4}, {0}};

static const struct option tell_options[] = {
    {"contact", OPT_NAME, FIELD(struct cfg_tell, contact), .flags = OPT_REQUIRED, .refers = REF_TOLD,
     .doc = "team (the one that owns the complaint), or the name of a contact or team."},
    {"by", OPT_BITS, FIELD(struct cfg_tell, by), .def = "[mail]", .choices = transport_bits,
     .doc = "Transports, all at once; those that the contact has no address for are left out."},
    {0},
};

static void tell_begin(void *item)
{
    ((struct cfg_tell *)item)->by = 1;
}

static const struct section section_tells = {
    .noun = "tell entry",
    .options = tell_options,
    .item_size = sizeof(struct cfg_tell),
    .mark_offset = NO_OFFSET,
    .name_offset = NO_OFFSET,
    .max = 50,
    .begin = tell_begin,
};

static const struct option step_options[] = {
    {"level", OPT_COUNT, FIELD(struct cfg_step, level), .min = "1", .max = "100", .unit = "level", .flags = OPT_REQUIRED,
     .doc = "Level that a complaint has when the step fires; ascending."},
    {"at", OPT_CHOICE, FIELD(struct cfg_step, anchor), .choices = anchors, .flags = OPT_REQUIRED,
     .doc = "The moment that the offset counts from: receipt, or a target."},
    {"offset", OPT_DURATION, FIELD(struct cfg_step, offset_us), .def = "0s", .min = "-365d", .max = "365d",
     .doc = "Before (-) or after that moment."},
    {"priorities", OPT_BITS, FIELD(struct cfg_step, priorities), .def = "[critical, high, normal, low]",
     .choices = priority_bits, .doc = "Priorities that the step is for."},
    {"tell", OPT_ITEMS, ARRAY(struct cfg_step, tell, ntell), .items = &section_tells, .flags = OPT_REQUIRED,
     .doc = "Who is told."},
    {"stops_on", OPT_BITS, FIELD(struct cfg_step, stops_on), .def = "[ack, assign, reply, resolve]",
     .choices = stop_bits, .doc = "What makes the step unnecessary."},
    {"repeat.times", OPT_COUNT, FIELD(struct cfg_step, repeat_times), .def = "0", .min = "0", .max = "47",
     .unit = "times", .doc = "How often it is repeated."},
    {"repeat.every", OPT_DURATION, FIELD(struct cfg_step, repeat_every_us), .def = "0s", .min = "0s",
     .max = "365d", .doc = "Pause between repeats."},
    {0},
};

static void step_begin(void *item)
{
    struct cfg_step *s = item;
    s->priorities = (1 << PRIO_COUNT) - 1;
    s->stops_on = STOP_ACK | STOP_ASSIGN | STOP_REPLY | STOP_RESOLVE;
}

static void step_end(struct loader *l, void *item, struct yn node)
{
    const struct cfg_step *s = item;
    (void)node;
    if (s->repeat_times && s->repeat_every_us < CD_SEC(1))
        faults_add(l->f, s->mark,
                   "this step repeats without a pause: write repeat: {times: %u, every: 30min}",
                   s->repeat_times);
    if (s->repeat_every_us && !s->repeat_times)
        faults_add(l->f, s->mark, "this step has repeat.every but no repeat.times: write how often");
}

static const struct section section_steps = {
    .noun = "step",
    .options = step_options,
    .item_size = sizeof(struct cfg_step),
    .mark_offset = offsetof(struct cfg_step, mark),
    .name_offset = NO_OFFSET,
    .max = 48,
    .begin = step_begin,
    .end = step_end,
};

#define TARGET(word, prio, key, kind, text)                                                                  \
    {                                                                                                        \
        "targets." word "." key, OPT_DURATION, FIELD(struct cfg_policy, target_us[prio][kind]),              \
            .min = "1s", .max = "3650d", .flags = OPT_REQUIRED, .doc = text                                  \
    }
#define TARGETS(word, prio)                                                                                  \
    TARGET(word, prio, "acknowledge", TARGET_ACKNOWLEDGE,                                                    \
           "From receipt until the customer has an acknowledgement."),                                       \
        TARGET(word, prio, "first_response", TARGET_FIRST_RESPONSE,                                          \
               "From receipt until a person has answered."),                                                 \
        TARGET(word, prio, "resolve", TARGET_RESOLVE, "From receipt until it is resolved.")

static const struct option policy_options[] = {
    {"name", OPT_NAME, FIELD(struct cfg_policy, name), .flags = OPT_REQUIRED, .doc = "Name that desks use."},
    {"calendar", OPT_NAME, FIELD(struct cfg_policy, calendar), .flags = OPT_REQUIRED, .refers = REF_CALENDAR,
     .doc = "Calendar whose time is counted."},
    TARGETS("critical", PRIO_CRITICAL),
    TARGETS("high", PRIO_HIGH),
    TARGETS("normal", PRIO_NORMAL),
    TARGETS("low", PRIO_LOW),
    {"ladder", OPT_ITEMS, ARRAY(struct cfg_policy, steps, nsteps), .items = &section_steps,
     .doc = "Whom to tell when nobody acts."},
    {0},
};

/* The earliest moment, from receipt, at which the step fires for a priority. */
static int64_t fires_at(const struct cfg_policy *p, const struct cfg_step *s, enum priority prio)
{
    int64_t anchor = s->anchor == ANCHOR_RECEIPT ? 0 : p->target_us[prio][s->anchor - ANCHOR_ACKNOWLEDGE];
    return anchor + s->offset_us;
}

static void check_targets(struct loader *l, const struct cfg_policy *p, enum priority prio)
{
    const int64_t *t = p->target_us[prio];
    for (int k = 0; k + 1 < TARGET_COUNT; k++)
        if (t[k] && t[k + 1] && t[k] > t[k + 1]) {
            char a[32], b[32];
            str_format_duration(t[k], a);
            str_format_duration(t[k + 1], b);
            faults_add(l->f, p->mark,
                       "policy '%s', %s: %s (%s) comes after %s (%s): write acknowledge <= first_response "
                       "<= resolve",
                       show(p->name), priority_name(prio), target_name((enum target_kind)k), a,
                       target_name((enum target_kind)(k + 1)), b);
        }
}

/* The first priority, from critical down, for which the step would fire before the complaint is there. */
static void check_step(struct loader *l, const struct cfg_policy *p, const struct cfg_step *s)
{
    for (int prio = 0; prio < PRIO_COUNT; prio++) {
        bool given = s->anchor == ANCHOR_RECEIPT || p->target_us[prio][s->anchor - ANCHOR_ACKNOWLEDGE];
        if (!(s->priorities & 1 << prio) || !given || fires_at(p, s, (enum priority)prio) >= 0)
            continue;
        faults_add(
            l->f, s->mark,
            "level %d would fire before a complaint of priority %s arrives: write a smaller offset, or "
            "leave %s out of its priorities",
            s->level, priority_name((enum priority)prio), priority_name((enum priority)prio));
        return;
    }
}

static void check_ladder(struct loader *l, const struct cfg_policy *p)
{
    for (size_t i = 0; i < p->nsteps; i++) {
        const struct cfg_step *s = &p->steps[i];
        check_step(l, p, s);
        if (i > 0 && s->level && s->level <= s[-1].level)
            faults_add(l->f, s->mark, "level %d follows level %d: write ascending levels", s->level,
                       s[-1].level);
    }
    for (int prio = 0; prio < PRIO_COUNT; prio++) {
        unsigned fires = 0;
        for (size_t i = 0; i < p->nsteps; i++)
            if (p->steps[i].priorities & 1 << prio)
                fires += 1 + p->steps[i].repeat_times;
        if (fires <= CONFIG_LADDER_FIRES)
            continue;
        faults_add(l->f, p->mark, "policy '%s' fires %u times for %s, repeats counted: write at most %d",
                   show(p->name), fires, priority_name((enum priority)prio), CONFIG_LADDER_FIRES);
        return;
    }
}

static void policy_end(struct loader *l, void *item, struct yn node)
{
    struct cfg_policy *p = item;
    uint8_t digest[SHA256_SIZE];
    struct sha256_ctx *h = sha256_new();
    yn_digest(node, h);
    sha256_end(&h, digest);
    hex_encode(digest, 8, p->version);
    for (int prio = 0; prio < PRIO_COUNT; prio++)
        check_targets(l, p, (enum priority)prio);
    check_ladder(l, p);
}

const struct section section_policies = {
    .noun = "policy",
    .options = policy_options,
    .item_size = sizeof(struct cfg_policy),
    .mark_offset = offsetof(struct cfg_policy, mark),
    .name_offset = offsetof(struct cfg_policy, name),
    .kind = REF_POLICY,
    .max = 1000,
    .end = policy_end,
};

const struct option policies_file_options[] = {
    {"policies", OPT_ITEMS, ARRAY(struct config, policies, npolicies), .items = &section_policies,
     .flags = OPT_REQUIRED, .doc = "The list of policies."},
    {0},
};
