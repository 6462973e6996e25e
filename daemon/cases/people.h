#pragma once
/* Arguments and parameters of the verbs on people: members, absences, customers and their flags. Readers fill *ret (owned) or say what is
 * wrong, as those of verbs.c do. */
#include "channels/channel.h"

bool people_any(const struct config *c); /* some team has members */
const char *people_fault(const struct config *c); /* says that a name is no member's, and which are; valid until the next call */
const char *people_read_member(const struct config *c, const json_t *v, char **ret);
const char *people_read_time(const struct config *c, const json_t *v, char **ret);
const char *people_read_date(const struct config *c, const json_t *v, char **ret);
/* "mail:…", "tel:…", "ext:CLIENT:ID", or an address or number as people write it; in the form that customers are known by. */
const char *people_read_handle(const struct config *c, const json_t *v, char **ret);
const char *people_read_flag(const struct config *c, const json_t *v, char **ret);
const char *people_read_driver(const struct config *c, const json_t *v, char **ret);

/* What complaintd.api_assign() needs of an assignee; NULL for a name that no team has. */
char *people_member_json(const struct config *c, const char *name);
/* What complaintd.api_merge() needs: the teams of every member. */
char *people_teams_json(const struct config *c);
