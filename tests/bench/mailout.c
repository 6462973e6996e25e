/* Mails a second through the product's own way out: mail_out, its worker processes and libesmtp, into a relay that is there
 * already. Started by tests/bench/mailout; the workers are this program itself. Prints one line of JSON; ends with 1 when a mail was
 * not taken. */
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "channels/mail/mail.h"
#include "daemon/core/clock.h"

static struct {
    struct event_base *base;
    struct config cfg;
    struct channel_host host;
    struct mail_out *out;
    uint64_t mails, given, done, sent;
    char detail[256]; /* of one that was not taken */
} b;

static void feed(void)
{
    /* With its header a little over 2 kB, as many are: libesmtp writes those in two pieces. */
    static const char text[] = "Dear customer,\n\nThank you for writing to us. We are sorry that you have had reason to complain, and we take "
                               "what you told us seriously.\n\nYour complaint was received and is recorded under the reference\n\n"
                               "    C-7K2M-AAAA-AAAA\n\nSomeone will read it and look into it. You will hear from us within two working days at "
                               "the latest.\n\nIf you would like to add something, such as a photograph, an order number or anything else "
                               "that has happened since, please simply reply to this mail and leave the reference in the subject line. What "
                               "you send will then be added to the same complaint, and there is no need to write the whole story again.\n\n"
                               "Should you have written to us by another way as well, by text message or by telephone, please tell us so, and we "
                               "put the two together. Whoever looks into your complaint can then see all of it, and you are asked nothing twice. "
                               "You may also name somebody who is to speak for you; we then write to them and not to you.\n\n"
                               "Kind regards\nCustomer care\n";
    char key[64];

    while (b.given < b.mails) {
        struct outgoing m = {.recipient = "customer@shop.example",
                             .subject = "We have received your complaint C-7K2M-AAAA-AAAA",
                             .text = text,
                             .idempotency_key = key,
                             .language = "en",
                             .automatic = true};
        snprintf(key, sizeof key, "bench.%llu", (unsigned long long)b.given);
        if (mail_out_send(b.out, &m) < 0)
            return; /* full: with the next outcome */
        b.given++;
    }
}

static void on_done(void *front, const struct uuid *id, const struct send_result *r)
{
    (void)front;
    (void)id;
    b.done++;
    if (r->outcome == SEND_SENT)
        b.sent++;
    else
        snprintf(b.detail, sizeof b.detail, "%s", r->detail);
    if (b.done == b.mails)
        event_base_loopbreak(b.base);
    else if (b.given - b.done < 500)
        feed();
}

static double cpu_seconds(int who)
{
    struct rusage u;

    getrusage(who, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static uint64_t number(const char *s)
{
    uint64_t n = 0;

    return str_parse_u64(s, 100000000, &n) < 0 ? 0 : n;
}

int main(int argc, char **argv)
{
    if (argc > 1 && str_eq(argv[1], "--worker=mail"))
        return mail_worker_main();
    if (argc != 6 && argc != 7) {
        fprintf(stderr, "usage: complaint-mailout HOST PORT MAILS BATCH WORKERS [CA-FILE: with STARTTLS]\n");
        return 2;
    }
    b.mails = number(argv[3]);
    b.base = event_base_new();
    b.cfg = (struct config){.hostname = (char *)"complaints.example.com",
                            .instance = (char *)"bench",
                            .state_dir = (char *)"/",
                            .mail_from = (char *)"complaints@example.com",
                            .mail_from_name = (char *)"Customer care",
                            .mail_relay_host = argv[1],
                            .mail_relay_port = number(argv[2]),
                            .mail_relay_tls = (char *)(argc > 6 ? "starttls" : "none"),
                            .mail_relay_user = (char *)"",
                            .mail_relay_password = (char *)"",
                            .mail_relay_ca_file = argc > 6 ? argv[6] : (char *)"",
                            .mail_relay_batch = number(argv[4]),
                            .mail_relay_down_after = 3,
                            .mail_relay_retry_us = CD_SEC(30),
                            .mail_workers = number(argv[5]),
                            .mail_send_timeout_us = CD_SEC(60)};
    b.host = (struct channel_host){.base = b.base, .cfg = &b.cfg, .send_done = on_done};
    if (!b.mails || !b.cfg.mail_relay_batch || !b.cfg.mail_workers || mail_out_start(&b.host, &b.out) < 0)
        return 2;
    int64_t start = clock_mono_us();
    feed();
    event_base_dispatch(b.base);
    double seconds = (double)(clock_mono_us() - start) / 1e6;
    mail_out_stop(&b.out);
    printf("{\"mails\": %llu, \"sent\": %llu, \"seconds\": %.3f, \"rate\": %.0f, \"cpu_us_each\": {\"front\": %.0f, \"workers\": %.0f}%s%s%s}\n",
           (unsigned long long)b.mails, (unsigned long long)b.sent, seconds, (double)b.mails / seconds,
           1e6 * cpu_seconds(RUSAGE_SELF) / (double)b.mails, 1e6 * cpu_seconds(RUSAGE_CHILDREN) / (double)b.mails,
           b.detail[0] ? ", \"error\": \"" : "", b.detail[0] ? b.detail : "", b.detail[0] ? "\"" : "");
    event_base_free(b.base);
    return b.sent == b.mails ? 0 : 1;
}
