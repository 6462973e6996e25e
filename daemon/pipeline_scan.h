#pragma once
/* The stage between worker and look-up in which checkers are asked about a mail (daemon/scan). Private to the front. */
#include "daemon/job.h"
#include "daemon/scan/scan.h"

/* What a job has of it; NULL in the job: nothing was asked. */
struct job_scan {
    struct job *job;
    struct scan_mail mail; /* points into the envelope */
    struct scan_result result;
    struct scan *open;     /* under way; NULL: `result` is complete */
    void (*done)(struct job *j);
};
/* true: it is held, and `done` is called later, never from inside. false: it goes on now; whatever can be known is in j->scan. Asked once
 * a job: what was found stays while the job is decided anew. */
bool job_scan_begin(struct scanner *s, const struct config *c, struct job *j, void (*done)(struct job *j)) CD_MUSTUSE;
void job_scan_free(struct job *j); /* `done` is not called any more */

/* ---- for decide.c ---- */

/* Fills the item's scan; to be called at each decision. */
void job_scan_decide(const struct config *c, struct job *j);
/* Why nothing automatic may be sent back; NULL: no objection. */
const char *job_scan_silence(const struct job *j);
