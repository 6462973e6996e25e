/* The new text of a mail apart from what is quoted: the phrases of mail programs in many languages, text between quotes, forwards,
 * signatures, what only looks like one of these, and hostile texts in linear time. */
#include "fixture.h"

#include <time.h>

#include "reply_check.h"

struct sample {
    const char *name, *text, *want; /* NULL: nothing to separate */
};

static void check(const struct sample *c)
{
    struct buf new_text, quoted;
    size_t n = strlen(c->text);
    buf_init(&new_text, n + n / 2 + 2);
    buf_init(&quoted, n + n / 2 + 2);
    bool separated = reply_split(c->text, n, &new_text, &quoted);
    if (separated != (c->want != NULL) || (c->want && strcmp(buf_str(&new_text), c->want) != 0))
        fail_msg("%s: %s, new:\n%s\n---- quoted:\n%s", c->name, separated ? "separated" : "whole", buf_str(&new_text), buf_str(&quoted));
    if (separated ? !reply_check_whole(c->text, n, &new_text, &quoted) : new_text.len + quoted.len > 0)
        fail_msg("%s: something is lost or twice", c->name);
    buf_free(&new_text);
    buf_free(&quoted);
}

#define OLD "\n\n> The old matter.\n>\n>> Older still.\n"

static void attributions_in_many_languages(void **state CD_UNUSED)
{
    static const struct sample samples[] = {
        {"English", "It broke again.\n\nOn Mon, 2 Nov 2026 at 09:15, Care Desk <care@example.com> wrote:" OLD, "It broke again."},
        {"English, wrapped", "It broke again.\n\nOn Monday, November 2, 2026 at 9:15 AM Care Desk of Example <\ncare@example.com>\nwrote:" OLD,
         "It broke again."},
        {"English, date on a line of its own", "Again.\n\nOn Monday, 2 November 2026,\nCare Desk <care@example.com> wrote:" OLD, "Again."},
        {"English, no quote marks", "Again.\n\nOn 2 Nov 2026, at 09:15, Care Desk <care@example.com> wrote:\n\nThe old matter.", "Again."},
        {"name alone", "Again.\n\nCare Desk wrote:" OLD, "Again."},
        {"Chinese", "还是坏的。\n\n在 2026年11月2日，上午9:15，客服 <care@example.com> 写道：" OLD, "还是坏的。"},
        {"Chinese, name first", "还是坏的。\n\n客服 <care@example.com> 于2026年11月2日周一 上午9:15写道：" OLD, "还是坏的。"},
        {"Chinese, traditional", "還是壞的。\n\n客服 <care@example.com> 於 2026年11月2日 週一 上午9:15寫道：" OLD, "還是壞的。"},
        {"Japanese", "まだ壊れています。\n\n2026年11月2日(月) 9:15 サポート <care@example.com>:" OLD, "まだ壊れています。"},
        {"Japanese, phone", "まだです。\n\n2026/11/02 9:15、サポート <care@example.com>のメール:" OLD, "まだです。"},
        {"German", "Wieder kaputt.\n\nAm 02.11.2026 um 09:15 schrieb Kundendienst <care@example.com>:" OLD, "Wieder kaputt."},
        {"German, verb first", "Wieder kaputt.\n\nKundendienst <care@example.com> schrieb am Mo., 2. Nov.\n2026, 09:15 Uhr:" OLD, "Wieder kaputt."},
        {"French", "Encore cassé.\n\nLe lun. 2 nov. 2026 à 09:15, Service clients <care@example.com> a écrit :" OLD, "Encore cassé."},
        {"French, no-break spaces", "Encore.\n\nLe 2 nov. 2026 à 09:15, Service <care@example.com> a écrit\xc2\xa0:" OLD, "Encore."},
        {"Spanish", "Otra vez.\n\nEl lun, 2 nov 2026 a las 9:15, Atención (<care@example.com>)\nescribió:" OLD, "Otra vez."},
        {"Portuguese", "De novo.\n\nEm seg., 2 de nov. de 2026 às 09:15, Suporte <care@example.com>\nescreveu:" OLD, "De novo."},
        {"Russian", "Опять сломано.\n\nпн, 2 нояб. 2026 г. в 09:15, Служба <care@example.com>:" OLD, "Опять сломано."},
        {"Russian, verb", "Опять.\n\n2 ноября 2026 г., 09:15, Служба <care@example.com> написал(а):" OLD, "Опять."},
        {"Italian", "Ancora rotto.\n\nIl giorno lun 2 nov 2026 alle ore 09:15 Assistenza <care@example.com>\nha scritto:" OLD, "Ancora rotto."},
        {"Dutch", "Weer stuk.\n\nOp ma 2 nov 2026 om 09:15 schreef Klantendienst <care@example.com>:" OLD, "Weer stuk."},
        {"Polish", "Znowu.\n\npon., 2 lis 2026 o 09:15 Obsługa <care@example.com> napisał(a):" OLD, "Znowu."},
        {"Swedish", "Igen.\n\nDen mån 2 nov. 2026 kl 09:15 skrev Kundtjänst <care@example.com>:" OLD, "Igen."},
        {"Korean", "또 고장났어요.\n\n2026년 11월 2일 (월) 오전 9:15, 고객센터 <care@example.com>님이 작성:" OLD, "또 고장났어요."},
        {"Turkish", "Yine bozuk.\n\nDestek <care@example.com>, 2 Kas 2026 Pzt, 09:15 tarihinde şunu yazdı:" OLD, "Yine bozuk."},
        {"Czech", "Zase.\n\npo 2. 11. 2026 v 9:15 odesílatel Podpora <care@example.com> napsal:" OLD, "Zase."},
        {"date only", "Again.\n\n2026-11-02 9:15 GMT+01:00 Care Desk <care@example.com>:" OLD, "Again."},
    };
    for (size_t i = 0; i < ARRAY_LEN(samples); i++)
        check(&samples[i]);
}

static void headers_in_many_languages(void **state CD_UNUSED)
{
    static const char *const blocks[] = {
        "From: Care Desk <care@example.com>\nSent: Monday, November 2, 2026 9:15 AM\nTo: Ann\nSubject: The kettle",
        "*From:* Care Desk\n*Date:* Monday, 2 November 2026\n*To:* Ann\n*Subject:* The kettle",
        "发件人: 客服 <care@example.com>\n发送时间: 2026年11月2日 9:15\n收件人: 安\n主题: 水壶",
        "发件人：客服\n日期：2026年11月2日\n收件人：安\n主题：水壶",
        "寄件者: 客服\n寄件日期: 2026年11月2日\n收件者: 安\n主旨: 水壺",
        "差出人: サポート\n送信日時: 2026年11月2日 9:15\n宛先: アン\n件名: やかん",
        "Von: Kundendienst\nGesendet: Montag, 2. November 2026 09:15\nAn: Ann\nBetreff: Der Kessel",
        "De : Service clients\nEnvoyé : lundi 2 novembre 2026 09:15\nÀ : Ann\nObjet : La bouilloire",
        "De: Atención\nEnviado el: lunes, 2 de noviembre de 2026 9:15\nPara: Ann\nAsunto: El hervidor",
        "De: Suporte\nEnviada em: segunda-feira, 2 de novembro de 2026 09:15\nPara: Ann\nAssunto: A chaleira",
        "От: Служба\nОтправлено: 2 ноября 2026 г. 9:15\nКому: Анна\nТема: Чайник",
        "Da: Assistenza\nInviato: lunedì 2 novembre 2026 09:15\nA: Ann\nOggetto: Il bollitore",
        "Van: Klantendienst\nVerzonden: maandag 2 november 2026 09:15\nAan: Ann\nOnderwerp: De ketel",
        "보낸 사람: 고객센터\n보낸 날짜: 2026년 11월 2일\n받는 사람: 안\n제목: 주전자",
        "-----Original Message-----\nSender said nothing more.",
        "-----Ursprüngliche Nachricht-----\nVon: Kundendienst",
        "-----Message d'origine-----\nDe : Service",
        "-----Mensaje original-----\nDe: Atención",
        "-----Mensagem original-----\nDe: Suporte",
        "------------------ 原始邮件 ------------------\n发件人: 客服",
        "------------------&nbsp;原始邮件&nbsp;------------------\n发件人: 客服",
        "----- 元のメッセージ -----\nサポート",
        "-------- Исходное сообщение --------\nОт: Служба",
        "---------- Forwarded message ---------\nFrom: Care",
        "-------- Weitergeleitete Nachricht --------\nBetreff: Der Kessel",
        "---------- Пересылаемое сообщение ----------\nОт: Служба",
        "---------- 转发的邮件 ----------\n发件人: 客服",
        "Begin forwarded message:\n\nFrom: Care",
        "Début du message transféré :\n\nDe: Service",
        "________________________________\nFrom: Care\nSent: today\nTo: Ann\nSubject: x",
    };
    for (size_t i = 0; i < ARRAY_LEN(blocks); i++) {
        char *text = cd_asprintf("Once more.\nAnn\n\n%s\n\nThe old matter.\nIt was long.", blocks[i]);
        check(&(struct sample){blocks[i], text, "Once more.\nAnn"});
        free(text);
    }
}

static void signatures(void **state CD_UNUSED)
{
    static const char *const lines[] = {
        "Sent from my iPhone", "发自我的iPhone", "从我的 iPhone 发送", "iPhoneから送信", "Von meinem iPhone gesendet", "Envoyé de mon iPhone",
        "Enviado desde mi iPhone", "Enviado do meu iPhone", "Отправлено с iPhone", "Inviato da iPhone", "Verstuurd vanaf mijn iPhone",
        "Wysłane z iPhone'a", "Skickat från min iPhone", "나의 iPhone에서 보냄", "Get Outlook for iOS<https://aka.ms/x>",
        "Sent from Yahoo Mail on Android", "-- \nAnn Example\nExample Street 5\n+44 20 7946 0000", "--\nAnn", "__________\nSent from my phone",
    };
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        char *text = cd_asprintf("It leaks.\n\n%s", lines[i]);
        check(&(struct sample){lines[i], text, "It leaks."});
        free(text);
        text = cd_asprintf("It leaks.\n\n%s\n\nOn 2 Nov 2026, at 09:15, Care <care@example.com> wrote:" OLD, lines[i]);
        check(&(struct sample){lines[i], text, "It leaks."});
        free(text);
    }
    struct buf b; /* too long for one */
    buf_init(&b, CD_KIB(64));
    buf_append_str(&b, "It leaks.\n-- \n");
    for (int i = 0; i < 40; i++)
        buf_append_str(&b, "And another thing.\n");
    check(&(struct sample){"a long story behind dashes", buf_str(&b), NULL});
    buf_free(&b);
}

static void whose_words_they_are(void **state CD_UNUSED)
{
    static const struct sample samples[] = {
        {"plain", "The kettle leaks.\n\nAnn", NULL},
        {"empty", "", NULL},
        {"answers between quotes",
         "On 2 Nov 2026, at 09:15, Care <care@example.com> wrote:\n> Which kettle?\n\nThe red one.\n\n> When?\nYesterday.\n\nAnn\n-- \nAnn E.",
         "The red one.\n\nYesterday.\n\nAnn"},
        {"answer below", "Care wrote:\n> Which kettle?\n\nThe red one.", "The red one."},
        {"forward alone", "---------- Forwarded message ---------\nFrom: Bob <bob@example.net>\nDate: Mon, 2 Nov 2026\nSubject: Kettle\nTo: Ann\n\nIt leaks.",
         "It leaks."},
        {"forward alone, Outlook", "From: Bob\nSent: Monday, 2 November 2026\nTo: Ann\nSubject: Kettle\n\nIt leaks.", "It leaks."},
        {"forward alone, no line between", "---------- 转发的邮件 ----------\n发件人: 安\n主题: 水壶漏水\n而且很烫。\n请退款。", "而且很烫。\n请退款。"},
        {"forward alone, fields that go on", "From: Bob\nSubject: The kettle\n that leaks\nTo: Ann,\n Eve\nDate: 2 Nov 2026\nIt leaks.", "It leaks."},
        {"forward of a forward, none with a word",
         "---------- Forwarded message ----------\nFrom: Bob\n\nSee below.\n\n---------- Forwarded message ----------\nFrom: Ann\n\nIt leaks.",
         "See below.\n\nIt leaks."},
        {"forward of a forward", "My kettle too.\n\n---------- Forwarded message ----------\nFrom: Bob\n\nSee below.\n\n---------- Forwarded "
                                 "message ----------\nFrom: Ann\n\nIt leaks.",
         "My kettle too."},
        {"a line below", "It leaks.\n\n==========", NULL},
        {"forward of an answer", "-----Original Message-----\nFrom: Bob\nSubject: Kettle\n\nIt leaks.\n\nOn 1 Nov 2026, at 09:15, Care <care@example.com> wrote:" OLD,
         "It leaks."},
        {"forward alone, quoted", "> Begin forwarded message:\n>\n> From: Bob\n> Subject: Kettle\n>\n> It leaks.", NULL},
        {"quote alone", "> It leaks.", NULL},
        {"empty answer", "On 2 Nov 2026, at 09:15, Care <care@example.com> wrote:\n> Which kettle?\n", ""},
        {"empty answer, all quoted", "> On 2 Nov 2026, at 09:15, Care <care@example.com> wrote:\n>\n> Which kettle?\n", ""},
        {"signature alone", "Sent from my iPhone", NULL},
        {"a journey is no header", "My trip was ruined.\nFrom: Paris\nTo: Berlin\nDate: 3 May\nYour driver slept.", NULL},
        {"what somebody wrote", "Your agent then wrote:\n\nWe owe you nothing.\n\nThat is wrong.", NULL},
        {"what somebody wrote on a day", "On the 3rd of May 2026 your agent wrote:\n\nWe owe you nothing.\n\nThat is wrong.", NULL},
        {"a colon", "I want three things:\n\n- money\n- an apology\n- sent from my heart, a smile", NULL},
        {"a list of dashes", "Costs:\n----\n12.50\n----\n13.00 in all, please pay", NULL},
        {"code", "```\n# comment\n#\n```\nAs above.", NULL},
        {"an mbox on the way", "I had it.\n>From the first day it leaked.\nAnn", NULL},
        {"wide quote marks", "好的。\n＞ 旧的内容\n＞ 更旧的", "好的。"},
    };
    for (size_t i = 0; i < ARRAY_LEN(samples); i++)
        check(&samples[i]);
}

/* ---- in a mail ---- */

#define HEADERS "From: Ann <anna@example.net>\nTo: care@example.com\nSubject: Re: The kettle\nMIME-Version: 1.0\n"

static void in_a_mail(void **state CD_UNUSED)
{
    struct decoded d = decode(HEADERS "Content-Type: text/html; charset=utf-8\n\n<div>Sie ist wieder kaputt und ich bin nicht zufrieden.</div><div "
                                      "class=gmail_quote>Am Mo., 2. Nov. 2026 um 09:15 Uhr schrieb Care &lt;care@example.com&gt;:<br><blockquote>We "
                                      "wrote this in English about the order C-XXXX.<br>Please be patient with us.</blockquote></div>");
    assert_string_equal(d.r->text_new, "Sie ist wieder kaputt und ich bin nicht zufrieden.");
    assert_non_null(strstr(d.r->text_quoted, "> Please be patient with us."));
    assert_non_null(strstr(d.r->text, "> Please be patient with us."));
    assert_string_equal(d.r->language, "und"); /* not "en", as what is quoted */
    done(&d);
    d = decode(HEADERS "\nIt leaks.\n");
    assert_null(d.r->text_new);
    assert_null(d.r->text_quoted);
    done(&d);
    d = decode(HEADERS "Precedence: bulk\nList-Id: <news.example.net>\n\nNews.\n\n> Said somebody.\n");
    assert_int_equal(d.r->cls, MC_BULK);
    assert_null(d.r->text_new);
    done(&d);
}

/* As mail programs make HTML of an answer, cut down. */
static void html_of_mail_programs(void **state CD_UNUSED)
{
    static const struct {
        const char *name, *html;
    } answers[] = {
        {"Outlook", "<div class=WordSection1><p class=MsoNormal>Still broken.</p><div style='border-top:solid #E1E1E1 1.0pt'><p><b>From:</b> Care "
                    "&lt;care@example.com&gt;<br><b>Sent:</b> Monday, November 2, 2026 9:15 AM<br><b>To:</b> Ann<br><b>Subject:</b> RE: "
                    "x</p></div><p>Old words.</p></div>"},
        {"Gmail", "<div dir=ltr>Still broken.</div><br><div class=gmail_quote><div class=gmail_attr>On Mon, Nov 2, 2026 at 9:15 AM Care &lt;<a "
                  "href='mailto:care@example.com'>care@example.com</a>&gt; wrote:<br></div><blockquote>Old words.</blockquote></div>"},
        {"Apple Mail", "Still broken.<br><br><div>Sent from my iPhone</div><div><br><blockquote type=cite>On 2 Nov 2026, at 09:15, Care "
                       "&lt;care@example.com&gt; wrote:<br></blockquote></div><blockquote type=cite><div>Old words.</div></blockquote>"},
        {"Yahoo", "<div>Still broken.<div class=yahoo_quoted><div>On Monday, November 2, 2026 at 09:15:00 AM GMT+1, Care "
                  "&lt;care@example.com&gt; wrote: </div><div><br></div><div>Old words.</div></div></div>"},
        {"QQ", "<div>Still broken.</div><div>------------------&nbsp;原始邮件&nbsp;------------------</div><div><div><b>发件人:</b>&nbsp;\"客服\""
               "&lt;care@example.com&gt;;</div><div><b>发送时间:</b>&nbsp;2026年11月2日</div><div><b>主题:</b>&nbsp;x</div></div><div>Old "
               "words.</div>"},
        {"Thunderbird", "<p>Still broken.</p><pre class=moz-signature>-- \nAnn</pre><div class=moz-cite-prefix>Am 02.11.26 um 09:15 schrieb "
                        "Care:<br></div><blockquote type=cite>Old words.</blockquote>"},
    };
    for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
        char *raw = cd_asprintf(HEADERS "Content-Type: text/html; charset=utf-8\n\n<html><body>%s</body></html>\n", answers[i].html);
        struct decoded d = decode(raw);
        if (!d.r->text_new || strcmp(d.r->text_new, "Still broken.") != 0 || !strstr(d.r->text_quoted, "Old words."))
            fail_msg("%s: new:\n%s\n---- of:\n%s", answers[i].name, d.r->text_new ? d.r->text_new : "(whole)", d.r->text);
        done(&d);
        free(raw);
    }
}

/* ---- hostile ---- */

/* Whatever stands beside whatever: nothing is lost, nothing is twice. */
static void lines_in_any_order(void **state CD_UNUSED)
{
    static const char *const lines[] = {
        "", "My words.", "> quoted", ">> deeper", "Care wrote:", "On 2 Nov 2026, at 09:15, Care <", "care@example.com> wrote:", "> wrote:", ">:",
        "On 2 Nov 2026, at 09:15, Care <c@example.com> wrote:", "From: Care", "Subject: x", "Date: today", "To: Ann", " goes on", "-- ", "--",
        "-----Original Message-----", "---------- Forwarded message ---------", "Begin forwarded message:", "Sent from my iPhone", "____", "<",
        "2026-11-02 09:15 GMT+01:00 Care", "发件人：客服", "主题：水壶", "写道：", "   ", "\xef\xbc\x9e wide",
    };
    uint32_t seed = 1;
    for (int round = 0; round < 3000; round++) {
        struct buf text, new_text, quoted;
        buf_init(&text, CD_KIB(8));
        unsigned n = 1 + (unsigned)round % 30;
        for (unsigned i = 0; i < n; i++) {
            seed = seed * 1664525u + 1013904223u;
            buf_printf(&text, "%s%s", i ? "\n" : "", lines[(seed >> 16) % ARRAY_LEN(lines)]);
        }
        buf_init(&new_text, text.len + text.len / 2 + 2);
        buf_init(&quoted, text.len + text.len / 2 + 2);
        bool separated = reply_split(buf_str(&text), text.len, &new_text, &quoted);
        if (new_text.failed || quoted.failed || (separated && !reply_check_whole(buf_str(&text), text.len, &new_text, &quoted)))
            fail_msg("lost or twice:\n%s\n---- new:\n%s\n---- quoted:\n%s", buf_str(&text), buf_str(&new_text), buf_str(&quoted));
        buf_free(&text);
        buf_free(&new_text);
        buf_free(&quoted);
    }
}

static int64_t cpu_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* The CPU time of one text of `n` bytes that repeats a piece. */
static int64_t cost(const char *piece, size_t n)
{
    size_t len = strlen(piece);
    char *text = cd_alloc(n + 1);
    struct buf new_text, quoted;
    for (size_t i = 0; i < n; i++)
        text[i] = piece[i % len];
    buf_init(&new_text, n + n / 2 + 2);
    buf_init(&quoted, n + n / 2 + 2);
    int64_t before = cpu_us();
    bool separated = reply_split(text, n, &new_text, &quoted);
    int64_t took = cpu_us() - before;
    assert_false(new_text.failed || quoted.failed);
    assert_true(new_text.len <= n && quoted.len <= n);
    assert_true(separated || new_text.len + quoted.len == 0);
    buf_free(&new_text);
    buf_free(&quoted);
    free(text);
    return took;
}

static void hostile_texts_take_linear_time(void **state CD_UNUSED)
{
    static const char *const pieces[] = {
        "x", ">", "> ", "\n", " \n", "x\n", ">\n", "x\n>\n", "--\n", "--\nx\n", "wrote:\n", "x wrote:\n\n\n\n\n", "On 1 wrote:\n",
        "On 1 Jan 2026 at 10:10, <a@b> wrote:\n>\n", "<\n\n", "From: x\n", "From:\nSubject:\n\n", "Sent from my iPhone\n", "----\n",
        "-----Original Message-----\n", "\xe5\x86\x99\xe9\x81\x93\xef\xbc\x9a\n", "\xc3\x89:\n", "a@b <\n>:\n", "20:20:\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
        cost(pieces[i], CD_KIB(128)); /* memory, caches */
        int64_t one = CD_MIN(cost(pieces[i], CD_KIB(128)), cost(pieces[i], CD_KIB(128))), eight = cost(pieces[i], CD_MIB(1));
        if (eight > 16 * one + 100000) /* twice linear: the machine has other work */
            fail_msg("\"%s\" repeated: 128 kB %lld us, 1 MB %lld us", pieces[i], (long long)one, (long long)eight);
    }
    cost("x", RECORD_MAX_TEXT);
    cost("wrote: <x@example.com>\n>\n", RECORD_MAX_TEXT);
}

static void levels_and_long_lines(void **state CD_UNUSED)
{
    size_t n = 100000;
    char *text = cd_alloc(n + 64);
    memset(text, '>', n);
    memcpy(text + n, " deep\nMy own words.", 19);
    check(&(struct sample){"100,000 levels", text, "My own words."});
    memset(text, 'x', n);
    memcpy(text + n, " wrote:\n> quoted", 17);
    struct buf new_text, quoted; /* somebody's words, though they end so */
    buf_init(&new_text, 2 * n);
    buf_init(&quoted, 2 * n);
    assert_true(reply_split(text, n + 16, &new_text, &quoted));
    assert_int_equal(new_text.len, n + 7);
    assert_string_equal(buf_str(&quoted), "> quoted");
    buf_free(&new_text);
    buf_free(&quoted);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attributions_in_many_languages),
        cmocka_unit_test(headers_in_many_languages),
        cmocka_unit_test(signatures),
        cmocka_unit_test(whose_words_they_are),
        cmocka_unit_test(in_a_mail),
        cmocka_unit_test(html_of_mail_programs),
        cmocka_unit_test(lines_in_any_order),
        cmocka_unit_test(levels_and_long_lines),
        cmocka_unit_test(hostile_texts_take_linear_time),
    };
    return cmocka_run_group_tests(tests, prepare, NULL);
}
