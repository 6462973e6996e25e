/* JSON from outside to one object of bounded depth. jansson does the reading; what it would take amiss is found before, and its message
 * made fit for an answer. The caller owns the object; nothing else is kept. */
#include "channels/json_read.h"

#include <stdio.h>
#include <string.h>

#include "daemon/core/err.h"

/* jansson recurses for each level, so the depth is counted before it runs. Brackets inside strings do not
 * count. */
static bool too_deep(const char *p, size_t n)
{
    unsigned depth = 0;
    bool string = false;
    for (size_t i = 0; i < n; i++) {
        if (string) {
            if (p[i] == '\\')
                i++;
            else if (p[i] == '"')
                string = false;
        } else if (p[i] == '"') {
            string = true;
        } else if (p[i] == '{' || p[i] == '[') {
            if (++depth > JSON_READ_MAX_DEPTH)
                return true;
        } else if ((p[i] == '}' || p[i] == ']') && depth > 0) {
            depth--;
        }
    }
    return false;
}

int json_read_object(const char *p, size_t n, json_t **ret, char message[JSON_READ_MESSAGE])
{
    json_error_t je;

    if (too_deep(p, n)) {
        snprintf(message, JSON_READ_MESSAGE, "nested too deeply: at most %d levels", JSON_READ_MAX_DEPTH);
        return CD_EINVAL;
    }
    json_t *o = json_loadb(p, n, JSON_REJECT_DUPLICATES, &je);
    if (!o) {
        snprintf(message, JSON_READ_MESSAGE, "at byte %d: %.150s", je.position, je.text);
        for (size_t len = strlen(message); !utf8_valid(message, len); len--) /* the library, or we, may have cut a character */
            message[len - 1] = '\0';
        return CD_EINVAL;
    }
    if (!json_is_object(o)) {
        json_decref(o);
        snprintf(message, JSON_READ_MESSAGE, "not an object");
        return CD_EINVAL;
    }
    *ret = o;
    return 0;
}
