/* The texts of enum cd_err. */
#include "daemon/core/err.h"

const char *cd_strerror(int err)
{
    switch ((enum cd_err)err) {
    case CD_OK:
        return "no error";
    case CD_ENOMEM:
        return "over a cap";
    case CD_EINVAL:
        return "malformed";
    case CD_ENOTFOUND:
        return "not found";
    case CD_EAGAIN:
        return "try again";
    case CD_ELIMIT:
        return "limit reached";
    case CD_EIO:
        return "input/output error";
    case CD_ETRUNC:
        return "truncated";
    case CD_EPERM:
        return "not allowed";
    case CD_ECONFLICT:
        return "conflict";
    case CD_ECONFIG:
        return "configuration fault";
    case CD_EINTERNAL:
        return "internal error";
    }
    return "unknown error";
}
