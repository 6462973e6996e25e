#pragma once
/* Private to channels/mail: what the front and a mail worker say to each other. A worker's configuration and
 * a job are written by the front; answers are read by the front, which trusts no length or number in them. */
#include "channels/channel.h"

#define OUT_BATCH_MAX 50          /* messages of one job, one SMTP session (bound of mail.relay_batch) */
#define OUT_MESSAGE_MAX CD_MIB(1) /* bytes of one built message */
#define OUT_DETAIL_MAX 200

/* What a worker needs to know. Owns its strings. */
struct relay {
    char *host, *user, *password, *ca_file;
    uint32_t port;
    bool starttls;
};
struct out_config {
    struct relay relays[CONFIG_RELAYS];
    size_t nrelays;
    char *hostname, *home;
    int64_t timeout_us; /* without any news of a job; the front kills the worker then */
};
void out_config_write(const struct config *cfg, struct buf *out);
/* From a descriptor, read from its beginning. CD_EIO, CD_EINVAL. */
int out_config_read(int fd, struct out_config *ret) CD_MUSTUSE;
void out_config_free(struct out_config *c);

/* One message of a job; the strings are owned, `text` lies in the frame. */
struct out_message {
    char *from; /* envelope, "" is the null reverse-path */
    char *rcpt;
    const uint8_t *text;
    size_t ntext;
};
void job_begin(struct buf *b, size_t relay, uint32_t count);
void job_add(struct buf *b, const char *from, const char *rcpt, const void *text, size_t ntext);
/* The number of messages, or CD_EINVAL. job_free() in either case. */
int job_read(const uint8_t *data, size_t n, size_t *ret_relay, struct out_message v[OUT_BATCH_MAX]) CD_MUSTUSE;
void job_free(struct out_message v[OUT_BATCH_MAX]);

/* A partial answer: about one message, or about the relay as a whole. */
enum part_kind {
    PART_BEGUN,       /* the text is handed to the relay's connection now */
    PART_OUTCOME,     /* the end of this message in this job */
    PART_ELSEWHERE,   /* likewise, but another relay may have it at once: this one said nothing about it (retry), or can
                       * never carry it (rejected) */
    PART_REACHED,     /* the session came to its first MAIL */
    PART_TURNED_AWAY, /* it did not: the relay answered that it does not want to */
    PART_UNREACHED,   /* it did not: no connection, no TLS, no answer */
};
struct part {
    enum part_kind kind;
    uint32_t index;            /* of the message */
    enum send_outcome outcome; /* of PART_OUTCOME and PART_ELSEWHERE */
    char *detail;
};
void part_write(struct buf *b, const struct part *p);
int part_read(const uint8_t *data, size_t n,
              struct part *ret) CD_MUSTUSE; /* CD_EINVAL; free(detail) after success */
