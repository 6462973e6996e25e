/* libmagic, asked for the MIME type alone. Its readers of compressed files, archives, executables and compound documents
 * are left out: they do more than look for patterns, and a family name is enough here. The handle lives as long as the
 * process. */
#include "channels/mail/decode_magic.h"

#include <magic.h>
#include <string.h>

#include "daemon/core/str.h"

#define MAX_TYPE 127
#define TEXT_BYTES 512 /* of what is text: the library's tests of texts are regular expressions, which cost more than all others */

static magic_t handle;

bool magic_prepare(void)
{
    static const int flags = MAGIC_MIME_TYPE | MAGIC_NO_CHECK_COMPRESS | MAGIC_NO_CHECK_TAR | MAGIC_NO_CHECK_ELF | MAGIC_NO_CHECK_CDF |
                             MAGIC_NO_CHECK_APPTYPE | MAGIC_NO_CHECK_TOKENS | MAGIC_NO_CHECK_JSON | MAGIC_NO_CHECK_CSV;
    static const struct {
        int name;
        size_t value;
    } limits[] = {{MAGIC_PARAM_INDIR_MAX, 15}, {MAGIC_PARAM_NAME_MAX, 50}, {MAGIC_PARAM_REGEX_MAX, 4096}, {MAGIC_PARAM_BYTES_MAX, MAGIC_BYTES}};
    static const char *const files[] = {"/usr/share/misc/magic.mgc", NULL};

    if (handle)
        return true;
    magic_t m = magic_open(flags);
    bool loaded = false;
    for (size_t i = 0; m && i < ARRAY_LEN(files) && !loaded; i++)
        loaded = magic_load(m, files[i]) == 0;
    if (!loaded) {
        if (m)
            magic_close(m);
        return false;
    }
    for (size_t i = 0; i < ARRAY_LEN(limits); i++)
        (void)!!magic_setparam(m, limits[i].name, &limits[i].value);
    handle = m;
    (void)!!magic_type_of("%PDF-1.4\n", 9); /* what it makes on first use */
    return true;
}

static bool is_text(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] < ' ' && p[i] != '\n' && p[i] != '\r' && p[i] != '\t' && p[i] != '\f' && p[i] != '\033')
            return false;
    return true;
}

const char *magic_type_of(const void *p, size_t n)
{
    static char type[MAX_TYPE + 1];
    size_t look = CD_MIN(n, MAGIC_BYTES);
    if (look > TEXT_BYTES && is_text(p, look))
        look = TEXT_BYTES;
    const char *s = handle ? magic_buffer(handle, p, look) : NULL;
    size_t len = 0;

    for (; s && *s > ' ' && *s < 127 && *s != ';' && len < MAX_TYPE; s++)
        type[len++] = *s;
    type[len] = '\0';
    return len > 0 && strchr(type, '/') ? type : NULL;
}
