/* Whether what is declared and what libmagic says are two things, or two names of one. Pure. */
#include <string.h>
#include <strings.h>

#include "channels/mail/decode_magic.h"
#include "daemon/core/str.h"

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
    if ((str_istarts(declared, "text/") || str_istarts(declared, "message/")) && str_istarts(magic, "text/") &&
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
