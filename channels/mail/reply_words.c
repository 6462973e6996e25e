/* What mail programs write around a quoted or forwarded mail, and what devices add below one, as lists of folded text. A phrase is
 * one more string; a list is looked through only for a line whose shape says that it may be one of its kind. */
#include <string.h>

#include "channels/mail/reply_impl.h"
#include "daemon/core/str.h"

static bool is_letter(char c)
{
    return c >= 'a' && c <= 'z'; /* of folded text */
}

/* ---- attributions ---- */

static const char *const verbs[] = {
    "wrote",      "writes",    "écrit",     "schrieb",     "schreef", "geschreven", "escribió",       "escreveu", "escribiu",
    "escribe",    "scritto",   "scrive",    "skrev",       "napisał", "pisze",      "написал",        "пишет",    "пише",
    "написав",    "写道",      "寫道",      "写到",        "のメール", "書きました", "書き込みました", "書いた",   "작성",
    "썼습니다",   "쓴 글",     "yazdı",     "napsal",      "napísal", "kirjoitti",  "írta",           "a scris",  "έγραψε",
    "đã viết",    "menulis",   "כתב",       "كتب",         "va escriure", "rašė",   "napisao",        "เขียน",
};

bool reply_has_verb(const char *f)
{
    static bool first[256]; /* bytes that a verb begins with */
    if (!first[(unsigned char)*verbs[0]])
        for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
            first[(unsigned char)*verbs[i]] = true;
    for (const char *p = f; *p; p++) {
        if (!first[(unsigned char)*p])
            continue;
        for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
            if (*verbs[i] == *p && str_starts(p, verbs[i]) &&
                (!is_letter(*p) || ((p == f || !is_letter(p[-1])) && !is_letter(p[strlen(verbs[i])]))))
                return true;
    }
    return false;
}

static const char *const starters[] = {
    "on ",   "at ",   "le ",  "am ",   "el ",  "em ",  "il ",   "op ",  "den ", "dnia ", "w dniu ", "---- on ",
    "dne ",  "dňa ",  "pe ",  "pada ", "vào ", "la ",  "på ",   "a(z) ", "στις ", "在",   "於",      "于",
    "пн, ",  "вт, ",  "ср, ", "чт, ",  "пт, ", "сб, ", "вс, ",
};

bool reply_is_starter(const char *f)
{
    for (size_t i = 0; i < ARRAY_LEN(starters); i++)
        if (str_starts(f, starters[i]))
            return true;
    return false;
}

/* ---- headers ---- */

static const struct {
    const char *name;
    enum reply_header kind;
} headers[] = {
    {"from", RH_FROM},
    {"von", RH_FROM},
    {"absender", RH_FROM},
    {"de", RH_FROM},
    {"expéditeur", RH_FROM},
    {"remitente", RH_FROM},
    {"da", RH_FROM},
    {"mittente", RH_FROM},
    {"van", RH_FROM},
    {"från", RH_FROM},
    {"fra", RH_FROM},
    {"od", RH_FROM},
    {"nadawca", RH_FROM},
    {"от", RH_FROM},
    {"от кого", RH_FROM},
    {"від", RH_FROM},
    {"发件人", RH_FROM},
    {"寄件人", RH_FROM},
    {"寄件者", RH_FROM},
    {"差出人", RH_FROM},
    {"送信者", RH_FROM},
    {"送信元", RH_FROM},
    {"보낸 사람", RH_FROM},
    {"보낸사람", RH_FROM},
    {"lähettäjä", RH_FROM},
    {"kimden", RH_FROM},
    {"feladó", RH_FROM},
    {"de la", RH_FROM},
    {"sent", RH_DATE},
    {"date", RH_DATE},
    {"gesendet", RH_DATE},
    {"datum", RH_DATE},
    {"envoyé", RH_DATE},
    {"envoyé le", RH_DATE},
    {"enviado", RH_DATE},
    {"enviado el", RH_DATE},
    {"enviado em", RH_DATE},
    {"enviada", RH_DATE},
    {"enviada em", RH_DATE},
    {"fecha", RH_DATE},
    {"data", RH_DATE},
    {"inviato", RH_DATE},
    {"verzonden", RH_DATE},
    {"skickat", RH_DATE},
    {"sendt", RH_DATE},
    {"dato", RH_DATE},
    {"wysłano", RH_DATE},
    {"wysłane", RH_DATE},
    {"odesláno", RH_DATE},
    {"отправлено", RH_DATE},
    {"дата", RH_DATE},
    {"发送时间", RH_DATE},
    {"发送日期", RH_DATE},
    {"日期", RH_DATE},
    {"寄件日期", RH_DATE},
    {"傳送日期", RH_DATE},
    {"送信日時", RH_DATE},
    {"日時", RH_DATE},
    {"日付", RH_DATE},
    {"보낸 날짜", RH_DATE},
    {"보낸날짜", RH_DATE},
    {"날짜", RH_DATE},
    {"lähetetty", RH_DATE},
    {"gönderildi", RH_DATE},
    {"tarih", RH_DATE},
    {"elküldve", RH_DATE},
    {"trimis", RH_DATE},
    {"to", RH_TO},
    {"an", RH_TO},
    {"à", RH_TO},
    {"pour", RH_TO},
    {"para", RH_TO},
    {"a", RH_TO},
    {"aan", RH_TO},
    {"till", RH_TO},
    {"til", RH_TO},
    {"do", RH_TO},
    {"komu", RH_TO},
    {"кому", RH_TO},
    {"收件人", RH_TO},
    {"收件者", RH_TO},
    {"宛先", RH_TO},
    {"받는 사람", RH_TO},
    {"받는사람", RH_TO},
    {"vastaanottaja", RH_TO},
    {"kime", RH_TO},
    {"címzett", RH_TO},
    {"către", RH_TO},
    {"subject", RH_SUBJECT},
    {"betreff", RH_SUBJECT},
    {"objet", RH_SUBJECT},
    {"asunto", RH_SUBJECT},
    {"assunto", RH_SUBJECT},
    {"oggetto", RH_SUBJECT},
    {"onderwerp", RH_SUBJECT},
    {"ämne", RH_SUBJECT},
    {"emne", RH_SUBJECT},
    {"temat", RH_SUBJECT},
    {"předmět", RH_SUBJECT},
    {"predmet", RH_SUBJECT},
    {"тема", RH_SUBJECT},
    {"主题", RH_SUBJECT},
    {"主題", RH_SUBJECT},
    {"主旨", RH_SUBJECT},
    {"件名", RH_SUBJECT},
    {"제목", RH_SUBJECT},
    {"aihe", RH_SUBJECT},
    {"konu", RH_SUBJECT},
    {"tárgy", RH_SUBJECT},
    {"subiect", RH_SUBJECT},
    {"cc", RH_OTHER},
    {"bcc", RH_OTHER},
    {"kopie", RH_OTHER},
    {"копия", RH_OTHER},
    {"抄送", RH_OTHER},
    {"副本", RH_OTHER},
    {"참조", RH_OTHER},
    {"reply-to", RH_OTHER},
    {"antwort an", RH_OTHER},
    {"répondre à", RH_OTHER},
    {"responder a", RH_OTHER},
    {"risposta", RH_OTHER},
    {"rispondi a", RH_OTHER},
    {"importance", RH_OTHER},
    {"priority", RH_OTHER},
    {"attachments", RH_OTHER},
};

enum reply_header reply_header_kind(const char *name, size_t n)
{
    for (size_t i = 0; i < ARRAY_LEN(headers); i++)
        if (headers[i].name[0] == name[0] && strlen(headers[i].name) == n && memcmp(headers[i].name, name, n) == 0)
            return headers[i].kind;
    return RH_NONE;
}

/* ---- separators ---- */

static const char *const originals[] = {
    "original message",
    "original email",
    "reply message",
    "ursprüngliche nachricht",
    "originalnachricht",
    "original-nachricht",
    "message d'origine",
    "message original",
    "message initial",
    "mensaje original",
    "mensagem original",
    "messaggio originale",
    "messaggio originario",
    "oorspronkelijk bericht",
    "origineel bericht",
    "ursprungligt meddelande",
    "originalmeddelande",
    "opprinnelig melding",
    "oprindelig meddelelse",
    "alkuperäinen viesti",
    "wiadomość oryginalna",
    "oryginalna wiadomość",
    "původní zpráva",
    "pôvodná správa",
    "исходное сообщение",
    "оригинальное сообщение",
    "первоначальное сообщение",
    "原始邮件",
    "原始郵件",
    "原始信件",
    "邮件原件",
    "回复的原邮件",
    "回复的邮件",
    "回覆的郵件",
    "元のメッセージ",
    "オリジナルメッセージ",
    "원본 메시지",
    "원본 메일",
    "원본메일",
    "özgün ileti",
    "orijinal mesaj",
    "eredeti üzenet",
    "mesajul original",
};
static const char *const forwards[] = {
    "forwarded message",
    "forwarded mail",
    "forwarded email",
    "weitergeleitete nachricht",
    "weitergeleitete mail",
    "message transféré",
    "mensaje reenviado",
    "mensagem encaminhada",
    "mensagem reencaminhada",
    "messaggio inoltrato",
    "doorgestuurd bericht",
    "vidarebefordrat meddelande",
    "videresendt melding",
    "videresendt meddelelse",
    "välitetty viesti",
    "treść przekazanej wiadomości",
    "wiadomość przekazana dalej",
    "přeposlaná zpráva",
    "пересылаемое сообщение",
    "пересланное сообщение",
    "переадресованное сообщение",
    "转发邮件",
    "转发的邮件",
    "转发邮件信息",
    "轉寄郵件",
    "轉寄的郵件",
    "已轉寄的郵件",
    "転送メッセージ",
    "転送されたメッセージ",
    "전달된 메시지",
    "전달된 메일",
    "yönlendirilmiş ileti",
    "iletilmiş mesaj",
};
/* Lines without dashes, of Apple's programs above all. */
static const char *const forward_lines[] = {
    "begin forwarded message:",
    "anfang der weitergeleiteten nachricht:",
    "début du message transféré :",
    "début du message réexpédié :",
    "inicio del mensaje reenviado:",
    "início da mensagem encaminhada:",
    "início da mensagem reenviada:",
    "inizio messaggio inoltrato:",
    "begin doorgestuurd bericht:",
    "vidarebefordrat brev:",
    "start på videresendt besked:",
    "videresendt melding:",
    "początek przekazywanej wiadomości:",
    "начало переадресованного сообщения:",
    "начало пересылаемого сообщения:",
    "下面是被转发的邮件:",
    "以下是转发的邮件:",
    "開始轉寄郵件:",
    "以下是轉寄的郵件:",
    "転送されたメッセージ:",
    "전달된 메시지 시작:",
};

static bool is_one_of(const char *const *list, size_t nlist, const char *f, size_t n)
{
    for (size_t i = 0; i < nlist; i++)
        if (strlen(list[i]) == n && memcmp(list[i], f, n) == 0)
            return true;
    return false;
}

bool reply_is_separator_phrase(const char *f, size_t n, bool *ret_forward)
{
    *ret_forward = is_one_of(forwards, ARRAY_LEN(forwards), f, n);
    return *ret_forward || is_one_of(originals, ARRAY_LEN(originals), f, n);
}

bool reply_is_forward_line(const char *f)
{
    return is_one_of(forward_lines, ARRAY_LEN(forward_lines), f, strlen(f));
}

/* ---- devices ---- */

static const char *const device_begins[] = {
    "sent from ",         "sent via ",         "sent with ",       "sent by ",          "sent using ",      "from my iphone",
    "from my ipad",       "from my phone",     "get outlook for",  "get [outlook for",  "envoyé depuis ",   "envoyé de mon ",
    "envoyé à partir d",  "envoyé avec ",      "téléchargez outlook", "obtenez outlook", "télécharger outlook", "von meinem ",
    "gesendet von ",      "gesendet mit ",     "gesendet aus ",    "diese nachricht wurde von mein", "outlook für ", "holen sie sich outlook",
    "enviado desde ",     "enviado do ",       "enviado a partir d", "enviado pelo ",   "enviado con ",     "enviado com ",
    "enviado de mi ",     "obtener outlook",   "obter o outlook",  "obtenha o outlook", "inviato da ",      "inviato dal ",
    "inviato con ",       "scarica outlook",   "ottieni outlook",  "verzonden met ",    "verzonden vanaf ", "verzonden via ",
    "verstuurd vanaf ",   "verstuurd met ",    "outlook voor ",    "skickat från ",     "hämta outlook",    "sendt fra ",
    "hent outlook",       "wysłane z ",        "wysłano z ",       "pobierz outlook",   "отправлено с ",    "отправлено из ",
    "отправлено от ",     "надіслано з ",      "скачать outlook",  "загрузите outlook", "发自",             "從我的",
    "从我的",             "来自我的",          "來自我的",         "寄自",              "获取 outlook",     "取得 outlook",
    "下载 outlook",       "获取outlook",       "lähetetty ",       "odesláno z ",       "odoslané z ",      "trimis de pe ",
    "trimis din ",        "poslano z ",        "나의 iphone",      "내 iphone",         "나의 ipad",        "outlook for ios",
    "outlook for android", "descarga outlook",
};
static const char *const device_ends[] = {
    " from mobile", "から送信", "から送信されました", "から送信。", "에서 보냄", "에서 보냈습니다", "gönderildi", "küldve", "を入手",
};

bool reply_is_device_phrase(const char *f, size_t n)
{
    for (size_t i = 0; i < ARRAY_LEN(device_begins); i++)
        if (str_starts(f, device_begins[i]))
            return true;
    for (size_t i = 0; i < ARRAY_LEN(device_ends); i++) {
        size_t m = strlen(device_ends[i]);
        if (n >= m && memcmp(f + n - m, device_ends[i], m) == 0)
            return true;
    }
    return false;
}
