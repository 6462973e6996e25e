#pragma once
/* One set of error codes: functions return 0 (or a count) on success and a negative enum cd_err on failure. */

enum cd_err {
    CD_OK = 0,
    CD_ENOMEM = -1000,  /* a cap was reached (buffer, table) */
    CD_EINVAL = -1001,  /* the input is malformed */
    CD_ENOTFOUND = -1002,
    CD_EAGAIN = -1003,  /* temporary: try again later */
    CD_ELIMIT = -1004,  /* a configured limit was reached */
    CD_EIO = -1005,     /* a system call or a library failed; errno or the log says which */
    CD_ETRUNC = -1006,  /* the data ends early */
    CD_EPERM = -1007,   /* not allowed */
    CD_ECONFLICT = -1008,
    CD_ECONFIG = -1009,
    CD_EINTERNAL = -1010,
};

/* The text of a code; never NULL, static storage. */
const char *cd_strerror(int err);
