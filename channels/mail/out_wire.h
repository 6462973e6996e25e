#pragma once
/* Private to channels/mail: what the front and a mail worker say to each other. A worker's configuration and
 * a job are written by the front; answers are read by the front, which trusts no length or number in them. */
#include "channels/channel.h"

#define OUT_BATCH_MAX 20          /* messages of one job, one SMTP session */
#define OUT_MESSAGE_MAX CD_MIB(1) /* bytes of one built message */
#define OUT_DETAIL_MAX 200

/* The relay, as a worker needs it. Owns its strings. */
struct relay {
    char *host, *user, *password, *ca_file, *hostname, *home;
    uint32_t port;
    bool starttls;
    int64_t timeout_us; /* of a whole job; the front kills the worker then */
};
void relay_write(const struct config *cfg, struct buf *out);
/* From a descriptor, read from its beginning. CD_EIO, CD_EINVAL. */
int relay_read(int fd, struct relay *ret) CD_MUSTUSE;
void relay_free(struct relay *r);

/* One message of a job; the strings are owned, `text` lies in the frame. */
struct out_message {
    char *from; /* envelope, "" is the null reverse-path */
    char *rcpt;
    const uint8_t *text;
    size_t ntext;
};
void job_begin(struct buf *b, uint32_t count);
void job_add(struct buf *b, const char *from, const char *rcpt, const void *text, size_t ntext);
/* The number of messages, or CD_EINVAL. job_free() in either case. */
int job_read(const uint8_t *data, size_t n, struct out_message v[OUT_BATCH_MAX]) CD_MUSTUSE;
void job_free(struct out_message v[OUT_BATCH_MAX]);

/* An answer about one message: its text was handed to the relay's connection, or its outcome. */
enum part_kind { PART_BEGUN, PART_OUTCOME };
struct part {
    enum part_kind kind;
    uint32_t index;
    enum send_outcome outcome;
    char *detail;
};
void part_write(struct buf *b, const struct part *p);
int part_read(const uint8_t *data, size_t n,
              struct part *ret) CD_MUSTUSE; /* CD_EINVAL; free(detail) after success */
