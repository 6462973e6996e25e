#pragma once
/* The budget for everything between a channel and its commit, by count and by bytes; the bytes of messages that are still being
 * read are part of it. As it fills, the mode goes from normal to tight to shed, and comes back with hysteresis, so that it does not
 * flicker at a threshold. Channels turn the mode into answers: "try again", given as early as the medium allows. */
#include "daemon/intake/envelope.h"

enum gate_mode {
    GATE_NORMAL,
    GATE_TIGHT, /* deadlines are short, large messages are refused, small ones pass */
    GATE_SHED,  /* nothing new comes in; what was begun is finished */
    GATE_MODE_COUNT
};
const char *gate_mode_name(enum gate_mode m); /* "normal", "tight", "shed" */

struct gate_limits {
    size_t max_items, max_bytes;
    /* Percent of items or bytes, whichever is fuller: `on` enters the mode at that much or more, `off` leaves it below. 0 in all of
     * them: the mode stays normal and only the two maxima hold. */
    unsigned tight_on, tight_off, shed_on, shed_off;
    size_t large_bytes; /* from here on an envelope is large */
};
void gate_init(const struct gate_limits *l); /* empty, normal */
void gate_set_limits(const struct gate_limits *l); /* what is counted stays; the mode is decided anew */
enum gate_mode gate_mode(void);
bool gate_large(size_t bytes); /* would be refused while the mode is tight */
/* true when one more envelope of about `bytes` that has not been read may begin now. */
bool gate_admits(size_t bytes);
/* true when one more envelope of `bytes` fits, whatever the mode: it has been read already, its memory is spent. */
bool gate_fits(size_t bytes);
void gate_enter(size_t bytes); /* counted until gate_leave */
void gate_leave(size_t bytes);
/* Bytes of messages that a channel reads and has not handed over: counted until gate_unread. */
void gate_read(size_t bytes);
void gate_unread(size_t bytes);
/* The same for bytes that gate_enter() is about to count: the mode is not decided in between, when they are nowhere. Followed by
 * gate_enter(), or by gate_unread(0) when nothing came of it. */
void gate_hand_over(size_t bytes);
/* true while what is there, messages being read included, is within the budget of bytes. */
bool gate_within(void);
