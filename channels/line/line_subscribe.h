#pragma once
/* SUBSCRIBE: events as they are committed, row by row, until the next request of the session. Inside channels/line only. */
#include "channels/line/line_verbs.h"

enum verb_result line_verb_subscribe(struct line_session *s, struct line_slot *slot, const struct line_request *rq);
/* Looks whether rows may go out again, and whether it has come to its end. */
void line_subscription_turn(struct line_session *s);
/* Answers OK with the cursor reached. Does nothing without a subscription. */
void line_subscription_end(struct line_session *s);
/* The peer has sent its last line: what is there now is still given. */
void line_subscription_finish(struct line_session *s);
void line_subscription_gone(struct line_session *s); /* before the session is freed */
/* Once in a while: a row with the cursor alone to those who have not heard anything for long. */
void line_subscriptions_tick(struct line_server *srv);
