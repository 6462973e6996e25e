/* The relays and their breakers. A breaker opens at mail.relay_down_after failures in a row and lets one mail
 * through after each mail.relay_retry; a session that comes to its first MAIL closes it. An answer that a relay
 * gives, whatever it is, is no failure. */
#include "channels/mail/out_relays.h"

#include <stdio.h>
#include <string.h>

#include "daemon/core/log.h"
#include "daemon/core/metrics.h"

_Static_assert(CONFIG_RELAYS <= METRICS_RELAYS, "each relay has its rows");

void relays_init(struct relays *r, const struct config *cfg)
{
    memset(r, 0, sizeof *r);
    r->n = config_relays(cfg);
    for (size_t i = 0; i < METRICS_RELAYS; i++) {
        if (i >= r->n) {
            metrics_relay(i, NULL);
            continue;
        }
        struct cfg_relay c = config_relay(cfg, i);
        snprintf(r->v[i].name, sizeof r->v[i].name, "%s:%llu", c.host, (unsigned long long)c.port);
        metrics_relay(i, r->v[i].name);
        metrics_relay_up(i, true);
    }
}

enum relay_choice relays_choose(const struct relays *r, unsigned tried, int64_t now_us, size_t *ret_relay)
{
    enum relay_choice none = RELAY_NONE;

    for (size_t i = 0; i < r->n; i++) {
        const struct relay_breaker *b = &r->v[i];
        if (tried & 1u << i)
            continue;
        if (b->state == RELAY_UP || (b->state == RELAY_DOWN && now_us >= b->until_us)) {
            *ret_relay = i;
            return b->state == RELAY_UP ? RELAY_TAKE : RELAY_PROBE;
        }
        if (b->state == RELAY_PROBING)
            none = RELAY_WAIT;
    }
    return none;
}

void relays_probe(struct relays *r, size_t relay)
{
    r->v[relay].state = RELAY_PROBING;
}

int64_t relays_pause_us(const struct relays *r, int64_t now_us)
{
    int64_t least = INT64_MAX;

    for (size_t i = 0; i < r->n; i++)
        if (r->v[i].state == RELAY_DOWN)
            least = CD_MIN(least, CD_MAX(r->v[i].until_us - now_us, 0));
    return least == INT64_MAX ? 0 : least;
}

void relays_reached(struct relays *r, size_t relay)
{
    struct relay_breaker *b = &r->v[relay];

    metrics_relay_add(relay, MR_SESSIONS);
    b->failures = 0;
    if (b->state == RELAY_UP)
        return;
    b->state = RELAY_UP;
    metrics_relay_up(relay, true);
    log_event(LOG_L_NOTICE, EV_MAIL_RELAY_BACK, "relay=%s", log_quote(b->name));
}

static void leave_alone(struct relay_breaker *b, const struct config *cfg, int64_t now_us)
{
    b->state = RELAY_DOWN;
    b->until_us = now_us + cfg->mail_relay_retry_us;
}

void relays_unreached(struct relays *r, const struct config *cfg, size_t relay, const char *why, int64_t now_us)
{
    struct relay_breaker *b = &r->v[relay];

    metrics_relay_add(relay, MR_FAILURES);
    b->failures++;
    if (b->state == RELAY_UP && b->failures < cfg->mail_relay_down_after)
        return;
    bool news = b->state == RELAY_UP;
    leave_alone(b, cfg, now_us);
    if (!news)
        return;
    metrics_relay_up(relay, false);
    log_event(LOG_L_ERROR, EV_MAIL_RELAY_DOWN, "relay=%s failures=%llu error=%s", log_quote(b->name), (unsigned long long)b->failures,
              log_text(why));
}

void relays_turned_away(struct relays *r, const struct config *cfg, size_t relay, int64_t now_us)
{
    r->v[relay].failures = 0;
    relays_undecided(r, cfg, relay, now_us);
}

void relays_undecided(struct relays *r, const struct config *cfg, size_t relay, int64_t now_us)
{
    if (r->v[relay].state == RELAY_PROBING)
        leave_alone(&r->v[relay], cfg, now_us);
}
