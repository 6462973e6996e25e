/* What is offered to a client that greets with EHLO or LHLO, line by line: it depends on the session. */
#include "channels/mail/smtp.h"

#include <stdio.h>

void smtp_offer(struct smtp_session *s)
{
    const struct config *cfg = s->srv->cfg;
    unsigned long long mails = s->trusted ? 0 : cfg->mail_max_mails_per_session;
    char text[512], mailmax[40] = "";
    if (mails) /* RFC 9422: a limit that is none is not named */
        snprintf(mailmax, sizeof mailmax, " MAILMAX=%llu", mails);
    snprintf(text, sizeof text,
             "250-%s\r\n250-PIPELINING\r\n250-SIZE %llu\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-LIMITS RCPTMAX=%llu%s\r\n", cfg->hostname,
             (unsigned long long)cfg->mail_max_message_bytes, (unsigned long long)cfg->mail_max_recipients, mailmax);
    smtp_reply_raw(s, text);
    if (smtp_tls_offered(s))
        smtp_reply_raw(s, "250-STARTTLS\r\n");
    smtp_reply_raw(s, "250 ENHANCEDSTATUSCODES\r\n");
}

const char *smtp_protocol(const struct smtp_session *s, bool utf8)
{
    static const char *const words[2][2][2] = {{{"ESMTP", "ESMTPS"}, {"UTF8SMTP", "UTF8SMTPS"}}, {{"LMTP", "LMTPS"}, {"UTF8LMTP", "UTF8LMTPS"}}};
    return s->esmtp || utf8 ? words[s->lmtp][utf8][s->tls != NULL] : "SMTP"; /* HELO has no word for TLS */
}
