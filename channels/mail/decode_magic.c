/* libmagic, asked for the MIME type alone. Its readers of compressed files, archives, executables and compound documents
 * are left out: they do more than look for patterns, and a family name is enough here. The handle lives as long as the
 * process. */
#include "channels/mail/decode_magic.h"

#include <magic.h>
#include <string.h>

#include "daemon/core/str.h"

#define MAX_TYPE 127

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

const char *magic_type_of(const void *p, size_t n)
{
    static char type[MAX_TYPE + 1];
    const char *s = handle ? magic_buffer(handle, p, CD_MIN(n, MAGIC_BYTES)) : NULL;
    size_t len = 0;

    for (; s && *s > ' ' && *s < 127 && *s != ';' && len < MAX_TYPE; s++)
        type[len++] = *s;
    type[len] = '\0';
    return len > 0 && strchr(type, '/') ? type : NULL;
}

/* Types that say nothing, or of which a look at the first bytes cannot tell the kind. */
static bool is_vague(const char *type)
{
    static const char *const types[] = {"application/octet-stream", "application/x-octet-stream", "application/binary", "application/unknown",
                                        "application/x-unknown",    "application/download",       "application/force-download", "text/plain", "inode/x-empty",
                                        "application/x-ole-storage", "application/CDFV2", "application/x-download"};
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (strcasecmp(types[i], type) == 0)
            return true;
    return false;
}

static bool begins(const char *s, size_t n, const char *with)
{
    return n >= strlen(with) && strncasecmp(s, with, strlen(with)) == 0;
}

/* Formats that are made of another: what is declared is the finer word. */
static bool is_made_of(const char *declared, const char *magic)
{
    bool office = strcasestr(declared, "openxmlformats") || strcasestr(declared, "opendocument") || strcasestr(declared, "ms-word") ||
                  strcasestr(declared, "msword") || strcasestr(declared, "ms-excel") || strcasestr(declared, "ms-powerpoint") ||
                  strcasestr(declared, "epub");
    if (str_ieq(magic, "application/zip"))
        return office || strcasestr(declared, "zip") || strcasestr(declared, "java-archive");
    if (strcasestr(magic, "openxmlformats") || strcasestr(magic, "opendocument"))
        return office || strcasestr(declared, "zip");
    if (str_ieq(magic, "text/xml") || str_ieq(magic, "image/svg+xml"))
        return strcasestr(declared, "xml") || strcasestr(declared, "svg") || strcasestr(declared, "html");
    return false;
}

/* "image/pjpeg" and "image/jpeg", "audio/x-wav" and "audio/wav": the same without x-, p- and the like. */
static const char *plain_subtype(const char *s)
{
    static const char *const prefixes[] = {"x-ms-", "x-", "vnd.microsoft.", "vnd."};
    for (size_t i = 0; i < ARRAY_LEN(prefixes); i++)
        if (str_istarts(s, prefixes[i]))
            return s + strlen(prefixes[i]);
    return s;
}

bool magic_differs(const char *declared, const char *magic)
{
    static const char *const alike[][2] = {{"pjpeg", "jpeg"}, {"jpg", "jpeg"}, {"icon", "icon"}, {"windows-bmp", "bmp"}, {"ms-bmp", "bmp"}, {"bitmap", "bmp"}, {"tif", "tiff"},
                                           {"mp3", "mpeg"},   {"gzip", "gzip"}, {"zip-compressed", "zip"}, {"pdf", "pdf"},  {"rtf", "rtf"},         {"quicktime", "mp4"}, {"m4a", "mp4"}};
    if (!declared || !magic || is_vague(declared) || is_vague(magic))
        return false;
    const char *slash = strchr(declared, '/'), *mslash = strchr(magic, '/');
    if (!slash || !mslash || strcasecmp(declared, magic) == 0 || is_made_of(declared, magic))
        return false;
    /* of texts and mails libmagic guesses what they speak of: no finding, as long as they are text */
    if ((begins(declared, strlen(declared), "text/") || begins(declared, strlen(declared), "message/")) && str_istarts(magic, "text/") &&
        !str_ieq(magic, "text/html"))
        return false;
    const char *a = plain_subtype(slash + 1), *b = plain_subtype(mslash + 1);
    if (strcasecmp(a, b) == 0)
        return false;
    for (size_t i = 0; i < ARRAY_LEN(alike); i++)
        if ((str_ieq(a, alike[i][0]) && str_ieq(b, alike[i][1])) || (str_ieq(b, alike[i][0]) && str_ieq(a, alike[i][1])))
            return false;
    /* a mere text behind a type of its own (JSON, CSV, scripts, keys) */
    return !(str_istarts(magic, "text/") && !str_ieq(magic, "text/html") && str_istarts(declared, "application/") && !strcasestr(declared, "pdf") &&
             !strcasestr(declared, "zip") && !strcasestr(declared, "officedocument") && !strcasestr(declared, "msword"));
}
