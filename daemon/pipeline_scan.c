/* The scan of one job. The job owns its job_scan; the scanner holds it while the scan is open, and job_scan_free() takes it back. Nothing
 * here fails: a mail that cannot be asked about is unscanned, and everything that is no mail was never to be. */
#include "daemon/pipeline_scan.h"

#include <stdio.h>
#include <string.h>

#include "daemon/core/log.h"

static void log_verdict(const struct job *j)
{
    const struct scan_result *r = &j->scan->result;
    if (r->verdict != SCAN_SUSPECT && r->verdict != SCAN_QUARANTINED)
        return;
    log_event(LOG_L_NOTICE, EV_SCAN_VERDICT, "id=%s verdict=%s rspamd=%s clamd=%s", j->scan->mail.id, scan_verdict_name(r->verdict),
              r->answer[CHECK_RSPAMD].text[0] ? log_quote(r->answer[CHECK_RSPAMD].text) : "-",
              r->answer[CHECK_CLAMD].text[0] ? log_quote(r->answer[CHECK_CLAMD].text) : "-");
}

static void complete(struct job *j)
{
    j->sender_unproven = j->scan->result.unproven;
    log_verdict(j);
}

static void on_done(void *arg)
{
    struct job_scan *x = arg;
    x->open = NULL;
    complete(x->job);
    x->done(x->job);
}

bool job_scan_begin(struct scanner *s, const struct config *c, struct job *j, void (*done)(struct job *j))
{
    if (j->scan || j->env->channel != CH_MAIL || (!scanner_on(s) && !c->scan_trusted_authserv_ids.n))
        return false;
    struct job_scan *x = cd_alloc(sizeof *x);
    if (!scan_mail_read(&j->env->raw, &j->env->id, &j->env->recipients, &x->mail)) {
        free(x); /* an envelope of another version: its fields in front are read by nobody else either */
        return false;
    }
    j->scan = x;
    x->job = j;
    x->done = done;
    scan_auth_take(c, &x->mail, j->rec->auths, j->rec->nauths, &x->result.auth);
    if (scanner_ask(s, &x->mail, &x->result, on_done, x, &x->open)) {
        j->stage = JOB_SCAN;
        return true;
    }
    complete(j);
    return false;
}

void job_scan_free(struct job *j)
{
    struct job_scan *x = j->scan;
    if (!x)
        return;
    j->scan = NULL;
    scan_cancel(&x->open);
    scan_mail_free(&x->mail);
    free(x);
}

void job_scan_decide(const struct config *c, struct job *j)
{
    struct store_item *it = &j->item;
    if (!j->scan || j->scan->result.verdict == SCAN_OFF)
        return;
    it->scan = scan_verdict_name(j->scan->result.verdict);
    it->scan_detail = scan_result_json(&j->scan->result);
    it->rescan_us = j->scan->result.again ? c->scan_rescan_us : 0;
}

const char *job_scan_silence(const struct job *j)
{
    return j->scan ? scan_result_silence(&j->scan->result) : NULL;
}
