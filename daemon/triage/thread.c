/* Thread decisions. Candidates are looked at in the order of their evidence; the first whose participants know the sender wins. */
#include "daemon/triage/thread.h"

#include <string.h>

static const char *const evidence_names[TE_COUNT] = {"in-reply-to", "references", "same-message-id", "reference-number"};

const char *thread_evidence_name(enum thread_evidence e)
{
    return (unsigned)e < TE_COUNT ? evidence_names[e] : "unknown";
}

static bool takes_part(const struct thread_candidate *c, const char *sender)
{
    return sender && strlist_has(&c->participants, sender);
}

/* A bounce or automatic reply comes from a machine whose address proves nothing, and it changes nothing: the id it answers is enough. */
static bool may_join(const struct record *r, const struct thread_candidate *c, const char *sender)
{
    if (takes_part(c, sender))
        return true;
    bool automatic = r->cls == MC_BOUNCE || r->cls == MC_AUTO_REPLY;
    return automatic && (c->evidence == TE_IN_REPLY_TO || c->evidence == TE_REFERENCES);
}

static const char *judge(const struct record *r, const struct thread_candidate *c, const char *sender, int64_t now_us, int64_t window_us)
{
    if (!may_join(r, c, sender))
        return "sender takes no part in it";
    if (c->closed && r->cls == MC_PERSON && now_us - c->closed_at_us > window_us)
        return "closed too long ago";
    return NULL;
}

void thread_decide(const struct record *r, const char *sender, const struct thread_candidate *c, size_t n, int64_t now_us,
                   int64_t reopen_window_us, struct thread_decision *ret)
{
    *ret = (struct thread_decision){.action = THREAD_NEW, .reasons = json_array()};
    for (int e = 0; e < TE_COUNT; e++)
        for (size_t i = 0; i < n; i++) {
            if (c[i].evidence != (enum thread_evidence)e || ret->action == THREAD_JOIN)
                continue;
            const char *against = judge(r, &c[i], sender, now_us, reopen_window_us);
            json_array_append_new(ret->reasons, json_pack("{s:s, s:s, s:s}", "evidence", evidence_names[e], "ref", c[i].ref, "verdict",
                                                          against ? against : "joined"));
            if (!against) {
                ret->action = THREAD_JOIN;
                ret->candidate = &c[i];
            } else if (ret->action == THREAD_NEW) {
                ret->action = THREAD_LINK;
                ret->candidate = &c[i];
            }
        }
}
