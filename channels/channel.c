/* The words for transports and outcomes that configuration, database and logs use. Static strings, nothing
 * fails. */
#include "channels/channel.h"

static const char *const transports[TR_COUNT] = {
    [TR_MAIL] = "mail",
    [TR_SMS] = "sms",
    [TR_WEBHOOK] = "webhook",
};

const char *transport_name(enum transport t)
{
    return (unsigned)t < TR_COUNT ? transports[t] : "unknown";
}

int transport_from_name(const char *s)
{
    for (int i = 0; i < TR_COUNT; i++)
        if (str_eq(s, transports[i]))
            return i;
    return -1;
}

const char *send_outcome_name(enum send_outcome o)
{
    switch (o) {
    case SEND_SENT:
        return "sent";
    case SEND_RETRY:
        return "retry";
    case SEND_UNKNOWN:
        return "unknown";
    case SEND_REJECTED:
        return "rejected";
    }
    return "unknown";
}
