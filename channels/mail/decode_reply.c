/* text_new and text_quoted of a record; both stay NULL where nothing was separated. Only what persons and their programs answer is
 * looked at: a bounce or a newsletter has no new text of anybody's. Cannot fail. */
#include "channels/mail/decode_impl.h"
#include "channels/mail/reply.h"

#include <string.h>

void decode_reply(struct record *r)
{
    struct buf new_text, quoted;
    size_t n = strlen(r->text);
    if (r->cls != MC_PERSON && r->cls != MC_AUTO_REPLY)
        return;
    buf_init(&new_text, n + n / 2 + 2);
    buf_init(&quoted, n + n / 2 + 2);
    if (reply_split(r->text, n, &new_text, &quoted)) {
        cd_assert(!new_text.failed && !quoted.failed && new_text.len <= n && quoted.len <= n);
        r->text_new = cd_strdup(buf_str(&new_text));
        r->text_quoted = cd_strdup(buf_str(&quoted));
    }
    buf_free(&new_text);
    buf_free(&quoted);
}
