/* The catalogue's rows and their two printed forms. */
#include "daemon/core/events.h"

#include <string.h>

#define WIDTH 108 /* of the table's text */
#define INDENT 4

static const struct event_info rows[] = {
#define EVENT(id, name, message_id, class, means, remedy) {name, message_id, EVENT_##class, means, remedy},
#include "daemon/core/events.def"
#undef EVENT
};

static const struct event_info unknown = {"unknown", "ed91b607730342af9883fc37f67402f9", EVENT_LOSS,
                                          "An event without a row in the catalogue: a fault of the daemon.", "Report it."};

const char *event_class_name(enum event_class c)
{
    static const char *const names[] = {"ordinary", "storm", "security", "loss-relevant"};
    return names[c];
}

const struct event_info *event_info(enum log_event_id id)
{
    return (unsigned)id < EV_COUNT ? &rows[id] : &unknown;
}

/* Words of `text` in lines of at most WIDTH, each line indented. */
static void wrap(struct buf *out, const char *text)
{
    size_t column = 0;
    while (*text) {
        size_t word = strcspn(text, " ");
        if (column && column + 1 + word > WIDTH) {
            buf_append_char(out, '\n');
            column = 0;
        }
        buf_printf(out, "%*s%.*s", column ? 1 : INDENT, "", (int)word, text);
        column += word + (column ? 1 : INDENT);
        text += word + strspn(text + word, " ");
    }
    buf_append_char(out, '\n');
}

void events_describe(struct buf *out)
{
    buf_printf(out, "Log events: name, class, MESSAGE_ID; what it means; what to do.\n"
                    "Ordinary and security events: 20 lines a second after 200 at once; storm: one in 10 s after 3 at once; the rest\n"
                    "is summed up as suppressed=N. Loss-relevant events are always written.\n\n");
    for (size_t i = 0; i < EV_COUNT; i++) {
        const struct event_info *e = &rows[i];
        buf_printf(out, "%-30s %-14s %s\n", e->name, event_class_name(e->class), e->message_id);
        wrap(out, e->means);
        wrap(out, e->remedy);
    }
}

void events_catalog(struct buf *out)
{
    buf_printf(out, "# What complaintd's log events mean and what to do; written by complaintd --describe-events=catalog.\n");
    for (size_t i = 0; i < EV_COUNT; i++) {
        const struct event_info *e = &rows[i];
        buf_printf(out,
                   "\n-- %s\nSubject: %s\nDefined-By: complaintd\n"
                   "Documentation: file:/usr/share/doc/complaintd/README.md\n\n%s\n\n%s\n",
                   e->message_id, e->name, e->means, e->remedy);
    }
}
