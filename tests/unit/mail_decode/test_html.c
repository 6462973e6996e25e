/* HTML to text: layout, what is left out, entities, bounds, and markup that is broken on purpose. */
#include "fixture.h"

#include "channels/mail/html.h"

static char *convert(const char *html, size_t n, size_t cap, bool *ret_cut)
{
    struct buf out;
    buf_init(&out, cap);
    html_to_text(html, n, &out, ret_cut);
    char *s = buf_steal(&out);
    return s ? s : cd_strdup("");
}

static void check(const char *html, const char *text)
{
    bool cut;
    char *s = convert(html, strlen(html), CD_MIB(1), &cut);
    assert_string_equal(s, text);
    assert_false(cut);
    free(s);
}

static void paragraphs(void **state CD_UNUSED)
{
    check("<p>one</p>\n<p>two<br>three<br/><br>four</p>", "one\n\ntwo\nthree\n\nfour");
    check("<div>one</div><div>two</div>three", "one\ntwo\nthree");
    check("a  b\n\tc&nbsp;&nbsp;d", "a b c d");
    check("<h1>Title</h1>text<hr>end", "Title\n\ntext\n----------\nend");
    check("x<b>y</b>z <i> w</i>", "xyz w");
    check("just text", "just text");
    check("", "");
    check("<blockquote>one<p>two</p></blockquote>three", "> one\n>\n> two\n\nthree");
    check("<pre>a\n  b\n\nc</pre>d", "a\n  b\n\nc\nd");
}

static void lists_and_tables(void **state CD_UNUSED)
{
    check("<ul><li>a<li>b<ul><li>c</ul></ul>d", "- a\n- b\n  - c\n\nd");
    check("<ol><li>a</li><li></li><li>c</li></ol>", "1. a\n3. c");
    check("<table><tr><td>a</td><td>b</td></tr><tr><td>c<td>d</table>e", "a\tb\nc\td\ne");
    /* paragraphs that only wrap what is in a cell, as Word and Outlook write them */
    check("<table><tr><td><p>Order</p></td><td><p>4711</p></td></tr><tr><td><div>Paid</div><td><div>yes</div></table><p>Bye", "Order\t4711\nPaid\tyes\n\nBye");
    check("<table><tr><td>a</td><td><p></p></td><td><p>c</p></td></tr></table>", "a\tc");
    check("<table><tr><td><p>one</p><p>two</p></td><td><p>three</p></td></tr></table>", "one\n\ntwo\n\nthree");
    check("<table><tr><td><p>A paragraph in a column of its own that goes on and on, so that nobody would want to have another one in the "
          "same line with it.</p></td><td><p>next</p></td></tr></table>",
          "A paragraph in a column of its own that goes on and on, so that nobody would want to have another one in the same line with it.\n\nnext");
    check("<table><tr><td></td><td><table><tr><td>in</td></tr></table></td></tr></table>", "in");
}

static void links_and_images(void **state CD_UNUSED)
{
    check("<a href='https://shop.example/order/1'>my order</a>.", "my order (https://shop.example/order/1).");
    check("<a href='https://shop.example/'>https://shop.example</a>", "https://shop.example");
    check("<a href='http://shop.example'>shop.example</a>", "shop.example");
    check("<a href='mailto:a@example.net'>a@example.net</a> <a href='tel:+86138'>call</a>",
          "a@example.net call (tel:+86138)");
    check("<a href='javascript:x()'>js</a><a name=here>anchor</a><a href='#top'>top</a>", "jsanchortop");
    check("<img src=x alt='burnt kettle'><img src=y>", "burnt kettle");
}

static void left_out(void **state CD_UNUSED)
{
    check("<html><head><title>t</title><style>p{}</style></head><body>a<script>b</script><style>c</style>d</"
          "body></html>",
          "ad");
    check("a<div style='color:red; DISPLAY : none'>b<p>c</div>d<span hidden>e</span>f", "adf");
    check("a<!-- <p>b</p> --><!--[if mso]>c<![endif]-->d", "ad");
    check("<div style='display:block'>a</div>", "a");
    check("<div style='display:none'>a<br>b<img src=x></p></b></td>c</div>d", "d");
    check("<!VR>a<!EVR>b<![if !vml]>c<![endif]>d<!>e", "abcd<!>e");
    check("<script>if (a <!b>) x();</script>seen <!DOCTYPE html>too", "seen too");
    check("<div style='max-height:0px; overflow:hidden; mso-hide:none'>preview</div>a<div style='OPACITY : 0'>b</div>", "a");
    check("<div style='height:0;overflow:visible'>a</div><div style='max-height:0.5em;overflow:hidden'>b</div><p style='opacity:0.9'>c</p>", "a\nb\n\nc");
    check("<span style='text-indent:-9999px'>off</span><i style='font-size:0'>x<b>y</b></i>z", "z");
    /* columns of a template: the size is said again inside */
    check("<td style='font-size:0px'>hidden<div style='font-size:13px'>seen <b>too</b></div>hidden</td>", "seen too");
    check("<div style='font-size:0;font-size:12px'>a</div>", "a");
    /* nothing else is there: then it is shown */
    check("<p style='font-size:0'>All of it.</p>", "All of it.");
    check("<body style='display:none'>The kettle burns.</body>", "The kettle burns.");
    check("<script>x</script>", "");
}

static void entities(void **state CD_UNUSED)
{
    check("&lt;b&gt; &amp; &eacute; &#20013;&#x6587; &euro; &nosuch; &",
          "<b> & \xc3\xa9 \xe4\xb8\xad\xe6\x96\x87 \xe2\x82\xac &nosuch; &");
    check("zero\xe2\x80\x8bwidth soft\xc2\xadhyphen", "zerowidth softhyphen");
}

static void encoding_is_never_changed(void **state CD_UNUSED)
{
    check("<html><head><meta http-equiv='Content-Type' content='text/html; "
          "charset=iso-8859-1'></head><body>R\xc3\xa9"
          "clamation</body>",
          "R\xc3\xa9"
          "clamation");
    check("<?xml version='1.0' encoding='gb2312'?><p>R\xc3\xa9"
          "clamation",
          "R\xc3\xa9"
          "clamation");
}

static void meta(void **state CD_UNUSED)
{
    static const struct {
        const char *html, *charset;
    } v[] = {
        {"<meta charset=\"GBK\">", "GBK"},
        {"<META http-equiv=Content-Type content='text/html; charset=big5'>", "big5"},
        {"<meta name=x content=y><meta charset=utf-8>", "utf-8"},
        {"<p>charset=x</p>", ""},
        {"", ""},
        {"<meta charset=", ""},
        {"<meta charset", ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(v); i++) {
        char got[64];
        html_meta_charset(v[i].html, strlen(v[i].html), got);
        assert_string_equal(got, v[i].charset);
    }
}

static void broken(void **state CD_UNUSED)
{
    check("</div></div><p>a</b></p></p><table><td>b", "a\n\nb");
    check("a < b and c > d", "a < b and c > d");
    check("<html><body>a</body></html>b<html><body>c</body></html></html></body>d", "a\nb\nc\nd");
    check("before<![CDATA[ inside ]]>after<!DOCTYPE html>end", "before<![CDATA[ inside ]]>afterend");
}

static struct buf repeated(const char *first, const char *s, size_t times, const char *last)
{
    struct buf b;
    buf_init(&b, CD_MIB(64));
    buf_append_str(&b, first);
    for (size_t i = 0; i < times; i++)
        buf_append_str(&b, s);
    buf_append_str(&b, last);
    return b;
}

/* Where a tree would stop or grow without bounds, the text behind must still come out. */
static void big_and_deep(void **state CD_UNUSED)
{
    static const struct {
        const char *first, *s;
        size_t times;
        const char *last;
    } v[] = {
        {"", "<div>", 100000, "END"},
        {"", "<b><i>", 50000, "END"},
        {"<p ", "a=b ", 200000, ">END"},
        {"<img src='data:", "AAAAAAAAAA", 1200000, "'>END"},
        {"<div style='display:none'>", "<span>", 50000, "</div>END"},
        {"", "<ul><li>", 20000, "END"},
        {"", "<blockquote>", 20000, "END"},
        {"", "<a href='http://x.example/'>", 50000, "END"},
        {"<!--", "x", 1000000, "-->END"},
        {"", "</p>", 100000, "END"},
        {"", "&#x41;", 300000, "END"},
        {"<table>", "<tr><td>x", 100000, "</table>END"},
    };
    for (size_t i = 0; i < ARRAY_LEN(v); i++) {
        struct buf b = repeated(v[i].first, v[i].s, v[i].times, v[i].last);
        bool cut;
        char *s = convert((const char *)b.data, b.len, CD_MIB(8), &cut);
        print_message("case %zu: %zu bytes of text\n", i, strlen(s));
        assert_non_null(strstr(s, "END"));
        free(s);
        buf_free(&b);
    }
}

static void bounded(void **state CD_UNUSED)
{
    struct buf b = repeated("", "<p>\xe6\xb0\xb4\xe5\xa3\xb6</p>", 10000, "");
    bool cut;
    char *s = convert((const char *)b.data, b.len, 1000, &cut);
    assert_true(cut);
    assert_in_range(strlen(s), 900, 1000);
    assert_true(utf8_valid(s, strlen(s)));
    free(s);
    buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paragraphs),
        cmocka_unit_test(lists_and_tables),
        cmocka_unit_test(links_and_images),
        cmocka_unit_test(left_out),
        cmocka_unit_test(entities),
        cmocka_unit_test(encoding_is_never_changed),
        cmocka_unit_test(meta),
        cmocka_unit_test(broken),
        cmocka_unit_test(big_and_deep),
        cmocka_unit_test(bounded),
    };
    return cmocka_run_group_tests(tests, prepare, NULL);
}
