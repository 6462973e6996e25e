/* What the words of a refusal mean: status codes, reply codes, phrases. Texts are borrowed and NUL-terminated; nothing fails. The
 * phrases are those that mail systems have used for decades; a text that has none of them keeps the code it came with. */
#include <stdio.h>
#include <string.h>

#include "channels/mail/bounce.h"

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* ---- codes ---- */

static size_t number(const char *s, size_t most)
{
    size_t n = 0;
    while (n < most && is_digit(s[n]))
        n++;
    return n;
}

/* The length of "5.1.1" at s; 0. */
static size_t status_at(const char *s)
{
    if ((*s != '2' && *s != '4' && *s != '5') || s[1] != '.')
        return 0;
    size_t a = number(s + 2, 3);
    if (!a || s[2 + a] != '.')
        return 0;
    size_t b = number(s + 3 + a, 3), n = 3 + a + b;
    if (!b || is_digit(s[n]) || (s[n] == '.' && is_digit(s[n + 1])) || s[n] == '/')
        return 0; /* an address, a version */
    return n;
}

static bool starts_word(const char *text, const char *p)
{
    return p == text || !(is_digit(p[-1]) || p[-1] == '.' || p[-1] == '/' || (p[-1] | 32) == 'v' || p[-1] == '@' ||
                          ((p[-1] | 32) >= 'a' && (p[-1] | 32) <= 'z'));
}

/* 3: specific, behind a reply code or "#"; 2: specific; 1: X.0.0. */
static int rank(const char *text, const char *p, size_t n)
{
    if (n == 5 && p[2] == '0' && p[4] == '0')
        return 1;
    const char *q = p;
    while (q > text && strchr(" '\"-(", q[-1]))
        q--;
    bool reply = q - text >= 3 && is_digit(q[-1]) && is_digit(q[-2]) && (q[-3] == '4' || q[-3] == '5') && q[-3] == *p;
    return reply || (q > text && q[-1] == '#') ? 3 : 2;
}

bool bounce_find_status(const char *text, char out[BOUNCE_STATUS_SIZE])
{
    int best = 0;
    for (const char *p = text; p && *p; p++) {
        size_t n = is_digit(*p) && starts_word(text, p) ? status_at(p) : 0;
        if (!n)
            continue;
        int k = rank(text, p, n);
        if (k > best) {
            best = k;
            snprintf(out, BOUNCE_STATUS_SIZE, "%.*s", (int)n, p);
        }
        p += n - 1;
    }
    return best > 0;
}

int bounce_find_reply(const char *text)
{
    for (const char *p = text; p && *p; p++) {
        if ((*p != '4' && *p != '5') || !is_digit(p[1]) || !is_digit(p[2]) || p[1] > '7' || !starts_word(text, p))
            continue;
        if (p > text && strchr("-:[+,", p[-1]) && p[-1] != ':' && p[-1] != '[')
            continue; /* within a number, a date, an id */
        char next = p[3];
        if (next == '\0' || next == ' ' || next == '-' || next == '\n' || next == ';' || next == ',' || next == '"' || next == '\'')
            return (p[0] - '0') * 100 + (p[1] - '0') * 10 + (p[2] - '0');
    }
    return 0;
}

/* ---- phrases ---- */

static const struct phrase {
    const char *reason, *status; /* what it is called here, and its status where the report has none */
    const char *words;           /* lower case, separated by '|' */
} phrases[] = {
    {"mailbox-full", "5.2.2",
     "mailbox full|mailbox is full|mailbox was full|over quota|overquota|quota exceed|exceeded storage|storage quota|exceeds allowed quota|"
     "quota limit|mailbox size limit|not enough disk space|insufficient disk|disk quota|out of storage|exceeded the local limit|"
     "mailbox exceeded|inbox is full|user's mailbox is full|mapiexceptionshutoffquota|"
     "\xe6\x94\xb6\xe4\xbb\xb6\xe7\xae\xb1\xe5\xb7\xb2\xe6\xbb\xa1|\xe9\x82\xae\xe7\xae\xb1\xe5\xb7\xb2\xe6\xbb\xa1|"
     "\xe9\x82\xae\xe7\xae\xb1\xe7\xa9\xba\xe9\x97\xb4\xe4\xb8\x8d\xe8\xb6\xb3|\xe4\xbf\xa1\xe7\xae\xb1\xe5\xb7\xb2\xe6\xbb\xbf|"
     "\xe3\x83\xa1\xe3\x83\xbc\xe3\x83\xab\xe3\x83\x9c\xe3\x83\x83\xe3\x82\xaf\xe3\x82\xb9\xe3\x81\x8c\xe4\xb8\x80\xe6\x9d\xaf|"
     "postfach ist voll|boite pleine|buz\xc3\xb3n lleno|\xd0\xbf\xd0\xb5\xd1\x80\xd0\xb5\xd0\xbf\xd0\xbe\xd0\xbb\xd0\xbd\xd0\xb5\xd0\xbd"},
    {"suspended", "5.2.1",
     "account has been disabled|account is disabled|account disabled|account that you tried to reach is disabled|user suspended|"
     "account suspended|account is suspended|has been suspended|mailbox disabled|mailbox is disabled|account is inactive|inactive user|"
     "account has been deactivated|mailbox is inactive|no longer in use|account expired|disabled or discontinued|mailbox unavailable or disabled|"
     "recipient is disabled|\xe8\xb4\xa6\xe5\x8f\xb7\xe5\xb7\xb2\xe8\xa2\xab\xe5\x86\xbb\xe7\xbb\x93|\xe5\xb8\x90\xe5\x8f\xb7\xe5\xb7\xb2\xe5\x81\x9c\xe7\x94\xa8"},
    {"host-unknown", "5.1.2",
     "host or domain name not found|host not found|host unknown|unknown host|no such domain|domain not found|domain does not exist|"
     "unrouteable address|unrouteable mail domain|name service error|bad destination system|no mx|couldn't find any host|"
     "doesn't exist in dns|dns error|\xe5\x9f\x9f\xe5\x90\x8d\xe4\xb8\x8d\xe5\xad\x98\xe5\x9c\xa8"},
    {"user-unknown", "5.1.1",
     "user unknown|unknown user|no such user|no such address|no such mailbox|no such recipient|unknown recipient|unknown address|"
     "recipient unknown|unknown local|unknown or invalid|unknown mailbox|invalid recipient|invalid address|invalid user|invalid mailbox|"
     "user not found|user doesn't exist|user does not exist|mailbox not found|mailbox does not exist|mailbox unavailable|no mailbox here|"
     "recipient not found|recipnotfound|recipientnotfound|recipient name is not recognized|recipient address rejected|address rejected|"
     "address does not exist|address you entered couldn't be found|wasn't found at|was not found in|not listed in|does not have|"
     "doesn't have a|account does not exist|that you tried to reach does not exist|not our customer|no account by that name|"
     "not a valid mailbox|no valid recipients|this address no longer accepts|undeliverable address|does not like recipient|"
     "\xe6\x94\xb6\xe4\xbb\xb6\xe4\xba\xba\xe4\xb8\x8d\xe5\xad\x98\xe5\x9c\xa8|\xe7\x94\xa8\xe6\x88\xb7\xe4\xb8\x8d\xe5\xad\x98\xe5\x9c\xa8|"
     "\xe5\x9c\xb0\xe5\x9d\x80\xe4\xb8\x8d\xe5\xad\x98\xe5\x9c\xa8|\xe9\x82\xae\xe7\xae\xb1\xe4\xb8\x8d\xe5\xad\x98\xe5\x9c\xa8|"
     "\xe6\x89\xbe\xe4\xb8\x8d\xe5\x88\xb0\xe6\x94\xb6\xe4\xbb\xb6\xe4\xba\xba|"
     "\xe3\x83\x87\xe3\x82\xa3\xe3\x83\xac\xe3\x82\xaf\xe3\x83\x88\xe3\x83\xaa\xe3\x81\xab\xe3\x81\xaf\xe8\xa6\x8b\xe3\x81\xa4\xe3\x81\x8b\xe3\x82\x8a|"
     "\xe3\x83\x87\xe3\x82\xa3\xe3\x83\xac\xe3\x82\xaf\xe3\x83\x88\xe3\x83\xaa\xe3\x81\xae\xe3\x83\xaa\xe3\x82\xb9\xe3\x83\x88\xe3\x81\xab\xe3\x81\x82\xe3\x82\x8a|"
     "empf\xc3\xa4nger unbekannt|destinataire inconnu|usuario desconocido|"
     "\xd0\xbf\xd0\xbe\xd0\xbb\xd1\x8c\xd0\xb7\xd0\xbe\xd0\xb2\xd0\xb0\xd1\x82\xd0\xb5\xd0\xbb\xd1\x8c \xd0\xbd\xd0\xb5 \xd0\xbd\xd0\xb0\xd0\xb9\xd0\xb4\xd0\xb5\xd0\xbd"},
    {"moved", "5.1.6", "has moved|address has changed|no longer valid; please|user has moved"},
    {"rate-limited", "4.7.0",
     "frequency limited|too many connections|too many messages|rate limit|rate exceeded|receiving mail too quickly|"
     "sending rate|try again later because of|\xe9\xa2\x91\xe7\x8e\x87\xe9\x99\x90\xe5\x88\xb6|\xe9\xa2\x91\xe7\x8e\x87\xe5\x8f\x97\xe9\x99\x90"},
    {"authentication", "5.7.1", "dmarc|spf check|spf fail|sender policy framework|dkim|unauthenticated email|authentication required"},
    {"spam", "5.7.1", "considered as spam|considered spam|is spam|looks like spam|spam message|spam content|spam detected|unsolicited|"
                      "\xe5\x9e\x83\xe5\x9c\xbe\xe9\x82\xae\xe4\xbb\xb6"},
    {"blocked", "5.7.1", "blacklist|blocklist|block list|blocked ip|client host rejected|listed at|listed in dnsbl|rbl|"
                         "poor reputation|access denied|please use the smtp server of your isp|sender denied"},
    {"policy", "5.7.1", "policy|rejected for|header error|not authorized|not permitted|prohibited|relaying denied|relay access denied|"
                        "was rejected by a remote|rejected by a remote mail server|rejected by the recipient domain"},
    {"too-large", "5.3.4", "message too large|message size exceeds|message too big|size limit|exceeds size|exceeds maximum"},
    {"loop", "5.4.6", "mail loop|too many hops|routing loop|looping|loops back to myself"},
    {"content", "5.6.0", "virus|attachment type|bad content|malformed"},
    {"expired", "4.4.7", "delivery time expired|message expired|retry timeout|retry time not reached|cannot send message for|could not be delivered for|"
                         "unable to deliver for|message has been in the queue|too long|undelivered for"},
    {"network", "4.4.1", "connection timed out|connection refused|no route to host|network is unreachable|host is unreachable|"
                         "connection reset|lost connection|deferred"},
    {"system", "5.3.0", "service unavailable|command output|procmail|local configuration error|system error|internal error|i/o error|"
                        "couldn't create|transmission failure"},
};

/* The text holds one of the words. */
static bool has_words(const char *lower, const char *words)
{
    size_t len = strlen(lower);
    for (const char *p = words; *p;) {
        size_t n = strcspn(p, "|");
        if (n && memmem(lower, len, p, n))
            return true;
        p += n + (p[n] == '|');
    }
    return false;
}

/* Lower case, and white space of line ends and indents as one space, because systems wrap their sentences anywhere. */
static char *flat(const char *s)
{
    size_t n = CD_MIN(strlen(s), (size_t)BOUNCE_MAX_TEXT), w = 0;
    char *out = cd_alloc(n + 1);
    for (size_t i = 0; i < n; i++) {
        bool space = s[i] == ' ' || s[i] == '\n' || s[i] == '\t' || s[i] == '\r';
        bool quote = i + 2 < n && (uint8_t)s[i] == 0xe2 && (uint8_t)s[i + 1] == 0x80 && (uint8_t)s[i + 2] == 0x99;
        if (quote)
            i += 2;
        if (!space || (w && out[w - 1] != ' '))
            out[w++] = space ? ' ' : quote ? '\'' : s[i];
    }
    out[w] = '\0';
    str_lower(out);
    return out;
}

static const struct phrase *phrase_of(const char *text)
{
    if (!text || !*text)
        return NULL;
    char *lower = flat(text);
    const struct phrase *found = NULL;
    for (size_t i = 0; i < ARRAY_LEN(phrases) && !found; i++)
        if (has_words(lower, phrases[i].words))
            found = &phrases[i];
    free(lower);
    return found;
}

const char *bounce_find_reason(const char *text)
{
    const struct phrase *p = phrase_of(text);
    return p ? p->reason : NULL;
}

bool bounce_is_delay(const char *text)
{
    char *lower = flat(text ? text : "");
    bool delay = has_words(lower, "will keep trying|will continue to|will be retried|still trying|has not yet been delivered|warning message only|"
                                  "not need to resend|(delay)|delivery delayed|delivery is delayed|has been delayed|warning: could not send|"
                                  "temporarily delayed|no action is required|"
                                  "\xe5\xbb\xb6\xe8\xbf\x9f|\xe9\x85\x8d\xe4\xbf\xa1\xe9\x81\x85\xe5\xbb\xb6|verz\xc3\xb6gert");
    bool over = has_words(lower, "given up|giving up|failed permanently|permanent error|permanent fatal|no further attempts");
    free(lower);
    return delay && !over;
}

/* ---- all of it together ---- */

/* By the number, where no phrase was known. */
static const char *reason_of_status(const char *status)
{
    static const struct {
        const char *rest, *reason;
    } by[] = {{".1.1", "user-unknown"}, {".1.10", "user-unknown"}, {".1.2", "host-unknown"}, {".1.6", "moved"},    {".2.1", "suspended"},
              {".2.2", "mailbox-full"}, {".2.3", "too-large"},     {".3.4", "too-large"},    {".4.1", "network"},  {".4.4", "host-unknown"},
              {".4.6", "loop"},         {".4.7", "expired"},       {".7.26", "authentication"}};
    for (size_t i = 0; status && i < ARRAY_LEN(by); i++)
        if (strcmp(status + 1, by[i].rest) == 0)
            return by[i].reason;
    return status && str_starts(status + 1, ".7.") ? "policy" : "other";
}

static bool is_vague(const char *status)
{
    return strlen(status) == 5 && status[2] == '0' && status[4] == '0';
}

/* A code of its own where the report has one, even a vague one: the phrases only speak where it is silent. */
static char *status_of(const struct bounce *b, const char *text, const struct phrase *p)
{
    char code[BOUNCE_STATUS_SIZE];
    bool found = bounce_find_status(b->diagnostic, code);
    if (b->status && (!is_vague(b->status) || !found || code[0] != b->status[0]))
        return cd_strdup(b->status);
    if (found || (!b->diagnostic && bounce_find_status(text, code)))
        return cd_strdup(code);
    int reply = bounce_find_reply(b->diagnostic ? b->diagnostic : text);
    bool later = reply ? reply < 500 : bounce_is_delay(text);
    if (p && (!reply || (p->status[0] == '5') == (reply >= 500)))
        return cd_strdup(p->status);
    return p ? cd_asprintf("%c%s", later ? '4' : '5', p->status + 1) : cd_strdup(later ? "4.0.0" : "5.0.0");
}

void bounce_finish(struct bounce *b, const char *text)
{
    const struct phrase *p = phrase_of(b->diagnostic);
    if (!p)
        p = phrase_of(text);
    char *status = status_of(b, text, p);
    free(b->status);
    b->status = status;
    if (!b->action)
        b->action = cd_strdup(bounce_is_delay(text) ? "delayed" : b->status[0] == '2' ? "delivered" : "failed");
    if (!b->reason)
        b->reason = cd_strdup(p ? p->reason : reason_of_status(b->status));
}
