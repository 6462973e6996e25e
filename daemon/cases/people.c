/* Readers of arguments about people. Pure; a handle that passes here is written exactly as intake writes it (daemon/job_thread.c), or it
 * would never be found. */
#include "daemon/cases/people.h"

#include <stdio.h>
#include <string.h>

#include "daemon/cases/life.h"
#include "daemon/core/clock.h"
#include "daemon/intake/handle.h"

#define FLAG_CHARACTERS 64
#define HANDLE_BYTES 400

bool people_any(const struct config *c)
{
    for (size_t i = 0; i < c->nteams; i++)
        if (c->teams[i].nmembers)
            return true;
    return false;
}

const char *people_fault(const struct config *c)
{
    struct strlist names = {0};
    for (size_t i = 0; i < c->nteams; i++)
        for (size_t k = 0; k < c->teams[i].nmembers; k++)
            if (!strlist_has(&names, c->teams[i].members[k].name))
                strlist_add(&names, c->teams[i].members[k].name);
    const char *text = life_names_fault(names.n ? "no such member of a team in the configuration; there are"
                                                : "no such member of a team in the configuration, which names none", &names);
    strlist_free(&names);
    return text;
}

const char *people_read_member(const struct config *c, const json_t *v, char **ret)
{
    const char *s = json_string_value(v);
    if (!s || !config_member(c, s))
        return people_fault(c);
    *ret = cd_strdup(s);
    return NULL;
}

const char *people_read_time(const struct config *c CD_UNUSED, const json_t *v, char **ret)
{
    return life_time(v, "not a time such as 2026-11-23T08:00:00Z", ret);
}

const char *people_read_date(const struct config *c CD_UNUSED, const json_t *v, char **ret)
{
    const char *s = json_string_value(v);
    char text[CLOCK_TEXT_SIZE], back[CLOCK_TEXT_SIZE];
    int64_t us;
    if (!s || strlen(s) != 10)
        return "not a date such as 2027-01-31";
    snprintf(text, sizeof text, "%sT00:00:00Z", s);
    if (clock_parse(text, &us) < 0)
        return "not a date such as 2027-01-31";
    clock_format_s(us, back); /* the 31st of a month with 30 days is none */
    if (strncmp(back, s, 10) != 0)
        return "no such day";
    *ret = cd_strdup(s);
    return NULL;
}

/* The clients that an external id belongs to may be gone from the configuration: their customers are not. */
static bool external_valid(const char *s)
{
    const char *id = strchr(s, ':');
    if (!id || !id[1])
        return false;
    for (const char *p = s; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            return false;
    return true;
}

const char *people_read_handle(const struct config *c CD_UNUSED, const json_t *v, char **ret)
{
    static const char wrong[] = "not a mail address, a number with +, or ext:CLIENT:ID";
    const char *s = json_string_value(v);
    if (!s || strlen(s) > HANDLE_BYTES)
        return wrong;
    if (str_starts(s, "ext:")) {
        if (!external_valid(s + 4))
            return wrong;
        *ret = cd_strdup(s);
        return NULL;
    }
    bool mail = str_starts(s, "mail:") || (!str_starts(s, "tel:") && strchr(s, '@'));
    const char *bare = str_starts(s, "mail:") ? s + 5 : str_starts(s, "tel:") ? s + 4 : s;
    char *known CD_CLEANUP_FREE = mail ? mail_address_normalize(bare) : phone_normalize(bare, NULL);
    if (!known)
        return wrong;
    *ret = cd_asprintf("%s:%s", mail ? "mail" : "tel", known);
    return NULL;
}

const char *people_read_flag(const struct config *c CD_UNUSED, const json_t *v, char **ret)
{
    const char *s = json_string_value(v);
    if (!s || !*s || strlen(s) > FLAG_CHARACTERS || s[strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-_")])
        return "not a flag: one word of small letters, digits, '-' and '_', such as vip or vulnerable";
    *ret = cd_strdup(s);
    return NULL;
}

const char *people_read_driver(const struct config *c CD_UNUSED, const json_t *v, char **ret)
{
    static const char *const drivers[] = {"health", "life-event", "resilience", "capability"};
    const char *s = json_string_value(v);
    for (size_t i = 0; s && i < ARRAY_LEN(drivers); i++)
        if (strcmp(s, drivers[i]) == 0) {
            *ret = cd_strdup(s);
            return NULL;
        }
    return "not a driver: health, life-event, resilience or capability";
}

static json_t *teams_of(const struct config *c, const char *name)
{
    json_t *teams = json_array();
    for (size_t t = 0; t < c->nteams; t++)
        if (config_team_has(&c->teams[t], name))
            json_array_append_new(teams, json_string(c->teams[t].name));
    return teams;
}

char *people_teams_json(const struct config *c)
{
    json_t *o = json_object();
    for (size_t t = 0; t < c->nteams; t++)
        for (size_t i = 0; i < c->teams[t].nmembers; i++)
            json_object_set_new(o, c->teams[t].members[i].name, teams_of(c, c->teams[t].members[i].name));
    char *text = json_dumps(o, JSON_COMPACT);
    json_decref(o);
    return text;
}

char *people_member_json(const struct config *c, const char *name)
{
    const struct cfg_member *m = name ? config_member(c, name) : NULL;
    if (!m)
        return NULL;
    json_t *o = json_pack("{s:s, s:o, s:s, s:s, s:s}", "who", m->name, "teams", teams_of(c, name), "mail", m->contact.mail, "sms", m->contact.sms,
                          "language", c->default_language);
    char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
    json_decref(o);
    return text;
}
