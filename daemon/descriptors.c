/* The share of each server, worked out from RLIMIT_NOFILE: a part is kept for ourselves (database, workers, memfds of large jobs,
 * outgoing HTTP, the log), HTTP and line get at most half of the rest, mail four fifths of what then is left. Owns nothing, cannot
 * fail. */
#include "daemon/descriptors.h"

#include <sys/resource.h>

#include "daemon/core/log.h"

#define RAISE_TO 65536
#define OWN_MIN 48u
#define OWN_MAX 384u
#define MAIL_AUTO_MAX 20000u /* some 10 kB each: beyond, memory is what runs out */

void descriptors_raise(void)
{
    struct rlimit l;
    if (getrlimit(RLIMIT_NOFILE, &l) < 0 || l.rlim_cur >= RAISE_TO || l.rlim_cur == l.rlim_max)
        return;
    l.rlim_cur = CD_MIN(l.rlim_max, (rlim_t)RAISE_TO);
    (void)!setrlimit(RLIMIT_NOFILE, &l); /* else the shares are smaller */
}

static void lower(const char *option, uint64_t *value, uint64_t most, uint64_t limit)
{
    most = CD_MAX(most, (uint64_t)1);
    if (*value <= most)
        return;
    log_event(LOG_L_NOTICE, EV_START_DESCRIPTORS, "option=%s value=%llu lowered_to=%llu limit=%llu", option, (unsigned long long)*value,
              (unsigned long long)most, (unsigned long long)limit);
    *value = most;
}

void descriptors_share(struct config *c)
{
    struct rlimit l = {.rlim_cur = 1024};
    (void)!getrlimit(RLIMIT_NOFILE, &l);
    uint64_t limit = CD_MIN((uint64_t)l.rlim_cur, (uint64_t)1 << 20);
    uint64_t own = CD_MIN(OWN_MAX, CD_MAX(OWN_MIN, limit / 4));
    uint64_t rest = limit > own ? limit - own : 0;
    if (c->http_max_connections + c->line_max_connections > rest / 2) {
        lower("http.max_connections", &c->http_max_connections, rest * 3 / 8, limit);
        lower("line.max_connections", &c->line_max_connections, rest / 8, limit);
    }
    uint64_t others = c->http_max_connections + c->line_max_connections;
    uint64_t mail = CD_MAX(rest > others ? (rest - others) * 4 / 5 : 0, (uint64_t)1);
    if (!c->mail_max_connections)
        c->mail_max_connections = CD_MIN(mail, (uint64_t)MAIL_AUTO_MAX);
    else
        lower("mail.max_connections", &c->mail_max_connections, mail, limit);
}
