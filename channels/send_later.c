/* Reports outcomes from the loop. The event base owns the one-shot event, its callback frees the note. */
#include "channels/send_later.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct note {
    const struct channel_host *host;
    struct uuid id;
    struct send_result result;
};

void send_result_set(struct send_result *r, enum send_outcome outcome, const char *fmt, ...)
{
    char text[sizeof r->detail];
    va_list ap;

    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    for (char *p = text; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            *p = ' ';
    size_t len = utf8_cut(text, CD_MIN((size_t)CD_MAX(n, 0), sizeof text - 1));
    while (len > 0 && text[len - 1] == ' ')
        len--;
    text[len] = '\0';
    CD_CLEANUP_FREE char *clean = utf8_clean(text, len, NULL); /* a peer's words may be in any charset */
    *r = (struct send_result){.outcome = outcome};
    len = utf8_cut(clean, CD_MIN(strlen(clean), sizeof r->detail - 1));
    memcpy(r->detail, clean, len);
}

static void on_later(evutil_socket_t fd, short what, void *arg)
{
    struct note *n = arg;

    (void)fd;
    (void)what;
    n->host->send_done(n->host->front, &n->id, &n->result);
    free(n);
}

void send_later(const struct channel_host *host, const struct uuid *id, enum send_outcome outcome,
                const char *detail)
{
    struct note *n = cd_alloc(sizeof *n);

    n->host = host;
    n->id = *id;
    send_result_set(&n->result, outcome, "%s", detail);
    if (event_base_once(host->base, -1, EV_TIMEOUT, on_later, n, NULL) < 0)
        cd_panic(__FILE__, __LINE__, "event_base_once");
}
