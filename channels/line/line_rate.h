#pragma once
/* How many requests a second: a bucket a client, shared by its sessions, and one a session before AUTH. Who finds its bucket empty is
 * not read from until there is room again, so that nothing is lost and nothing has to be sent again. */
#include <sys/queue.h>

#include "daemon/core/base.h"

struct line_server;
struct line_session;

struct line_rate {
    int64_t full_us; /* monotonic: when the bucket would be full if nothing came any more */
};

struct line_rates;
struct line_rates *line_rates_new(struct line_server *srv);
void line_rates_free(struct line_rates **r);
/* One request. */
void line_rate_take(struct line_session *s);
/* Whether there is room for one more; if not, the session is woken when there is. */
bool line_rate_room(struct line_session *s);
/* The session is that client's from now on; NULL: nobody's. */
void line_rate_join(struct line_session *s, const char *client);
void line_rate_leave(struct line_session *s); /* before it is freed */
