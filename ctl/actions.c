/* Commands whose first word is an action: from the words to the request's fields. Each gets the parsed words and says what is wrong with
 * them, or NULL. */
#include <stdio.h>
#include <string.h>

#include "ctl/commands.h"
#include "daemon/core/str.h"

/* Takes the action out of the request; `otherwise` when none was given. */
static void take_action(json_t *args, const char *otherwise, char out[16])
{
    const char *s = json_string_value(json_object_get(args, "action"));
    snprintf(out, 16, "%s", s ? s : otherwise);
    json_object_del(args, "action");
}

static bool has(const json_t *args, const char *name)
{
    return json_object_get(args, name) != NULL;
}

/* The word after the action becomes the field that has the action's name. */
static void rename_field(json_t *args, const char *from, const char *to)
{
    json_object_set(args, to, json_object_get(args, from));
    json_object_del(args, from);
}

const char *fix_clock(json_t *args)
{
    char action[16];
    take_action(args, "show", action);
    bool advance = str_eq(action, "advance"), given = has(args, "advance");
    if (!advance && !str_eq(action, "show"))
        return "not show or advance";
    if (advance != given)
        return advance ? "advance needs a duration, such as 3d" : "one word too many";
    return NULL;
}

const char *fix_queue(json_t *args)
{
    char action[16];
    take_action(args, "list", action);
    bool list = str_eq(action, "list"), retry = str_eq(action, "retry"), drop = str_eq(action, "drop");
    if (!list && !retry && !drop)
        return "not list, retry or drop";
    if (list == has(args, "id"))
        return list ? "one word too many: list takes none" : "retry and drop need the id of a notification: queue list tells them";
    if (drop != has(args, "reason"))
        return drop ? "drop needs --reason" : "--reason is for drop";
    if (!list && (has(args, "state") || has(args, "limit") || has(args, "after")))
        return "--state, --limit and --after are for list";
    if (!list)
        rename_field(args, "id", action);
    return NULL;
}

const char *fix_pending(json_t *args)
{
    char action[16];
    take_action(args, "list", action);
    bool list = str_eq(action, "list");
    if (!list && !str_eq(action, "retry"))
        return "not list or retry";
    if (list)
        return has(args, "id") || has(args, "all") ? "an id and --all are for retry" : NULL;
    if (has(args, "id") == has(args, "all"))
        return "retry needs an id, or --all";
    if (has(args, "limit") || has(args, "after"))
        return "--limit and --after are for list";
    if (has(args, "id"))
        rename_field(args, "id", "retry");
    return NULL;
}

const char *fix_config(json_t *args)
{
    char action[16];
    take_action(args, "show", action);
    return str_eq(action, "show") ? NULL : "not show";
}

/* A list of complaints, one to be read again, or the complaints of such a list. */
const char *fix_degraded(json_t *args)
{
    char action[16];
    take_action(args, "list", action);
    bool list = str_eq(action, "list"), all = has(args, "all");
    if (!list && !str_eq(action, "reread"))
        return "not list or reread";
    if (list && (has(args, "ref") || all))
        return "a reference and --all are for reread";
    if (!list && has(args, "ref") == all)
        return "reread needs the reference of a complaint, or --all";
    if (has(args, "message") && (list || all))
        return "--message is for reread of one complaint";
    if (has(args, "ref"))
        return has(args, "status") || has(args, "limit") || has(args, "after") ? "--status, --limit and --after are for list and --all" : NULL;
    json_object_set_new(args, "degraded", json_true());
    return NULL;
}

/* "--kinds a,b --once" are {"kinds":["a","b"],"follow":false}. */
const char *fix_subscribe(json_t *args)
{
    char *kinds CD_CLEANUP_FREE = cd_strdup(json_string_value(json_object_get(args, "kinds")));
    if (kinds) {
        json_t *list = json_array();
        char *at = kinds;
        for (char *one; (one = strsep(&at, ","));)
            if (*one)
                json_array_append_new(list, json_string(one));
        json_object_set_new(args, "kinds", list);
    }
    if (json_object_del(args, "once") == 0)
        json_object_set_new(args, "follow", json_false());
    return NULL;
}
