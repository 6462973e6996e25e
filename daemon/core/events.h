#pragma once
/* The catalogue of log events: one row each in events.def, from which the enum, the journal's message ids, the table of
 * `complaintd --describe-events` and the journal's catalogue are made. Read-only tables; nothing can fail. */
#include "daemon/core/buf.h"

enum log_event_id {
#define EVENT(id, name, message_id, class, means, remedy) EV_##id,
#include "daemon/core/events.def"
#undef EVENT
    EV_COUNT
};

/* How many lines of an event are written. What is suppressed is counted, and told by the next summary. */
enum event_class {
    EVENT_ORDINARY, /* 20 a second, after 200 at once */
    EVENT_STORM,    /* comes with every connection while a limit lasts: one in 10 s, after 3 at once */
    EVENT_SECURITY, /* as ordinary: strangers decide how many there are */
    EVENT_LOSS,     /* a promise to a sender, or a complaint or message that may be lost: every one */
};
const char *event_class_name(enum event_class c);

struct event_info {
    const char *name, *message_id;
    enum event_class class;
    const char *means, *remedy;
};
/* Never NULL: "unknown" for what is not in the catalogue. */
const struct event_info *event_info(enum log_event_id id);

void events_describe(struct buf *out); /* a table for people */
void events_catalog(struct buf *out);  /* for journalctl -x, see systemd.journal-catalog */
