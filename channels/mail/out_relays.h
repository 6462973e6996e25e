#pragma once
/* Private to channels/mail: which relay gets the next mails. A breaker each: a relay that could not be reached
 * several times in a row is down; after a while one mail tries it. Nothing here fails; times are monotonic. */
#include "channels/channel.h"

enum relay_state { RELAY_UP, RELAY_DOWN, RELAY_PROBING };
struct relays {
    size_t n;
    struct relay_breaker {
        char name[300]; /* "host:port" */
        enum relay_state state;
        uint64_t failures; /* in a row */
        int64_t until_us;  /* DOWN: not before */
    } v[CONFIG_RELAYS];
};
void relays_init(struct relays *r, const struct config *cfg); /* also the rows of /metrics */

enum relay_choice {
    RELAY_TAKE,
    RELAY_PROBE, /* take it with one mail; it is RELAY_PROBING once relays_probe() was called */
    RELAY_WAIT,  /* what comes of a probe decides */
    RELAY_NONE,  /* all are down, or in `tried` */
};
/* The first relay that is not in `tried` (bits by number) and not down. */
enum relay_choice relays_choose(const struct relays *r, unsigned tried, int64_t now_us, size_t *ret_relay);
void relays_probe(struct relays *r, size_t relay);
/* How long until one of them may be tried again. */
int64_t relays_pause_us(const struct relays *r, int64_t now_us);

/* What a session says about its relay. */
void relays_reached(struct relays *r, size_t relay);
void relays_unreached(struct relays *r, const struct config *cfg, size_t relay, const char *why, int64_t now_us);
/* It answered, and does not want to: up, unless this was a probe. */
void relays_turned_away(struct relays *r, const struct config *cfg, size_t relay, int64_t now_us);
/* A session that said none of these: after a probe the relay stays down for another while. */
void relays_undecided(struct relays *r, const struct config *cfg, size_t relay, int64_t now_us);
