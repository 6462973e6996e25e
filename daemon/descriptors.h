#pragma once
/* How the file descriptors of the process are shared out, so that none of its servers can use them up. */
#include "config/config.h"

/* Raises the soft limit to the hard one, 65536 at most. */
void descriptors_raise(void);
/* Lowers http, line and mail.max_connections to what the limit has room for, and sets mail.max_connections where it is 0. A value
 * that was lowered is logged. */
void descriptors_share(struct config *c);
