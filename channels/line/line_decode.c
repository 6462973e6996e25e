/* The decoder of the line channel, in the worker: the raw bytes are the JSON object of a SUBMIT. */
#include "channels/line/line_verbs.h"
#include "channels/submit.h"

int line_decode(const struct envelope *e, struct record *r)
{
    return submit_decode(e, e->raw.data, e->raw.len, r);
}
