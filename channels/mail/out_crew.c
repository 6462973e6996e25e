/* Starting mail workers. Their configuration, the relays' passwords in it, is in memory only, never in
 * arguments or environment; it is wiped with the crew. */
#include "channels/mail/out_crew.h"

#include <string.h>
#include <unistd.h>

#include "channels/mail/out_wire.h"
#include "daemon/core/log.h"

#define CONFIG_MAX CD_KIB(256)

static void forget(struct buf *b)
{
    if (b->data)
        explicit_bzero(b->data, b->len);
    buf_free(b);
}

static bool names_usable(const struct config *cfg)
{
    for (size_t i = 0; i < config_relays(cfg); i++) {
        struct cfg_relay r = config_relay(cfg, i);
        if (!strchr(r.host, ':')) /* libesmtp ends the name at the first colon */
            continue;
        log_event(LOG_L_ERROR, EV_MAIL_RELAY_ADDRESS, "host=%s hint=%s", log_quote(r.host),
                  log_quote("a relay cannot be a numeric IPv6 address: write a name"));
        return false;
    }
    return true;
}

bool out_crew_fits(const struct out_crew *c, const struct config *cfg)
{
    struct buf now;

    buf_init(&now, CONFIG_MAX);
    out_config_write(cfg, &now);
    bool same = !now.failed && now.len == c->config.len && memcmp(now.data, c->config.data, now.len) == 0;
    forget(&now);
    return same;
}

struct out_crew *out_crew_new(const struct channel_host *host, worker_answer answer, void *arg)
{
    static const char *const argv[] = {"complaintd", "--worker=mail", NULL};
    unsigned workers = (unsigned)host->cfg->mail_workers;

    if (!names_usable(host->cfg))
        return NULL;
    struct out_crew *c = cd_alloc(sizeof *c);
    buf_init(&c->config, CONFIG_MAX);
    out_config_write(host->cfg, &c->config);
    c->config_fd = c->config.failed ? -1 : worker_memfd("mail-config", c->config.data, c->config.len);
    struct worker_pool_options options = {
        .name = "mail",
        .argv = argv,
        .workers = workers,
        .in_flight = 1,
        .max_queued = workers,
        .job_seconds = H_WORKER_MAIL,
        .deadline_us = host->cfg->mail_send_timeout_us,
        .deadline_a_part = true,
        .config_fd = c->config_fd,
        .answer = answer,
        .arg = arg,
    };
    if (c->config_fd >= 0 && worker_pool_new(host->base, &options, &c->pool) == 0)
        return c;
    log_event(LOG_L_ERROR, EV_MAIL_WORKERS_FAILED, "hint=%s",
              log_quote("the mail workers could not be started; see the lines above"));
    out_crew_free(c);
    return NULL;
}

void out_crew_free(struct out_crew *c)
{
    worker_pool_free(&c->pool);
    if (c->config_fd >= 0)
        close(c->config_fd);
    forget(&c->config);
    free(c);
}
