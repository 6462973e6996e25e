/* multipart/form-data and the heads of requests: what is read, and what two readers could read differently. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "channels/web/form.h"
#include "channels/web/head.h"
#include "channels/web/intake.h"
#include "channels/web/refusal.h"
#include "daemon/core/err.h"
#include "daemon/core/metrics.h"
#include "daemon/intake/filename.h"

#define COMPLAINT "Content-Disposition: form-data; name=\"complaint\"\r\n\r\n{}\r\n"

static size_t parts_of(const char *text, size_t n, const char **ret_fault)
{
    struct form f;
    struct form_part part;
    size_t count = 0;

    if (form_init(&f, text, n, "b"))
        while (form_next(&f, &part))
            count++;
    *ret_fault = f.fault;
    return count;
}

static void a_form_has_its_parts(void **state CD_UNUSED)
{
    static const char text[] = "--b\r\n" COMPLAINT "--b\r\nX: y\r\n\r\n\r\n--c\r\n--b\0\r\n--b\r\n\r\n\r\n--b--\r\n";
    struct form f;
    struct form_part part;

    assert_true(form_init(&f, text, sizeof text - 1, "b"));
    assert_true(form_next(&f, &part));
    assert_int_equal(part.nbody, 2);
    assert_memory_equal(part.body, "{}", 2);
    assert_false(form_next(&f, &part)); /* "--b\0" begins a line as a delimiter does and goes on */
    assert_non_null(f.fault);
    static const char good[] = "--b\r\n" COMPLAINT "--b\r\nX: y\r\n\r\n\r\n--c\r\n-b\0\r\n--b\r\n\r\n\r\n--b--\r\n";
    assert_true(form_init(&f, good, sizeof good - 1, "b"));
    assert_true(form_next(&f, &part) && form_next(&f, &part));
    assert_int_equal(part.nhead, 6);
    assert_int_equal(part.nbody, 10);
    assert_memory_equal(part.body, "\r\n--c\r\n-b\0", 10);
    assert_true(form_next(&f, &part));
    assert_int_equal(part.nhead, 0);
    assert_int_equal(part.nbody, 0);
    assert_false(form_next(&f, &part));
    assert_null(f.fault);
}

static void a_broken_form_is_a_fault(void **state CD_UNUSED)
{
    static const char *const bad[] = {
        "", "-", "--b", "--b-", "--b\r", "--b\r\n", "--c--", "\r\n--b--", "--b--x", "--b--\r\nx", "--b \r\n" COMPLAINT "--b--",
        "--b\n" COMPLAINT "--b--", "--b\r\n" COMPLAINT "--b", "--b\r\n" COMPLAINT "--b-", "--b\r\n" COMPLAINT "--bc\r\n\r\n\r\n--b--",
        "--b\r\nno end of head\r\n--b--", "--b\r\n--b--",
    };
    const char *fault;

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        (void)parts_of(bad[i], strlen(bad[i]), &fault);
        if (!fault)
            print_message("case %zu\n", i);
        assert_non_null(fault);
    }
    assert_int_equal(parts_of("--b--", 5, &fault), 0);
    assert_null(fault);
    CD_CLEANUP_FREE char *pad = cd_alloc(FORM_MAX_HEAD + 100);
    memset(pad, 'x', FORM_MAX_HEAD + 99);
    CD_CLEANUP_FREE char *large = cd_asprintf("--b\r\nX: %s\r\n\r\n\r\n--b--", pad);
    assert_int_equal(parts_of(large, strlen(large), &fault), 0);
    assert_non_null(fault);
}

static void boundaries(void **state CD_UNUSED)
{
    static const char long_one[] = "0123456789012345678901234567890123456789012345678901234567890123456789";

    assert_true(form_boundary_valid("b") && form_boundary_valid("----WebKitFormBoundary'()+_,-./:=? x") && form_boundary_valid(long_one));
    assert_false(form_boundary_valid("") || form_boundary_valid("a ") || form_boundary_valid("a\"b") || form_boundary_valid("a\r\nb") ||
                 form_boundary_valid("\xc3\xa9"));
    CD_CLEANUP_FREE char *over = cd_asprintf("%sx", long_one);
    assert_false(form_boundary_valid(over));
}

static int read_head(const char *text, struct form_head *h)
{
    const struct form_part part = {.head = text, .nhead = strlen(text), .body = text + strlen(text)};

    return form_head_read(&part, h);
}

static void heads_of_parts(void **state CD_UNUSED)
{
    static const struct {
        const char *head, *name, *filename, *type, *encoding;
    } good[] = {
        {"Content-Disposition: form-data; name=\"a\"\r\n", "a", NULL, NULL, NULL},
        {"content-disposition: Form-Data;name=a;filename=b.png\r\ncontent-type: IMAGE/png; x=y\r\n", "a", "b.png", "image/png", NULL},
        {"Content-Disposition: form-data; name=\"a\"; filename=\"\"\r\nContent-Transfer-Encoding: Base64\r\n", "a", "", NULL, "base64"},
        {"Content-Disposition: form-data; name=\"a\"; filename=\"x\\\"y%22z%0D.png\"\r\n", "a", "x\"y\"z\r.png", NULL, NULL},
        {"Content-Disposition: form-data; name=\"a\"; filename=\"C:\\dir\\100%25.png\"\r\n", "a", "C:\\dir\\100%25.png", NULL, NULL},
        {"Content-Disposition: form-data; name=\"a\"; filename=\"f\"; filename*=UTF-8''%e5%8f%91%00.txt\r\n", "a", "\xe5\x8f\x91%00.txt", NULL, NULL},
        {"Content-Disposition: form-data; name=\"a\"; filename=\"f\"; filename*=latin1''%e5\r\n", "a", "f", NULL, NULL},
        {"Content-Disposition: form-data; name=\"\xff\"\r\n", "\xef\xbf\xbd", NULL, NULL, NULL},
    };
    static const char *const bad[] = {
        "", "Content-Type: text/plain\r\n", "Content-Disposition: attachment; name=\"a\"\r\n", "Content-Disposition: form-data\r\n",
        "Content-Disposition: form-data; filename=\"a\"\r\n", "Content-Disposition: form-data; name=\"a\r\n",
        "Content-Disposition: form-data; name=\"a\"; name=\"b\"\r\n", "Content-Disposition: form-data; name=\"a\" x\r\n",
        "Content-Disposition: form-data; name=\"a\"\r\nContent-Disposition: form-data; name=\"b\"\r\n",
        "nonsense\r\nContent-Disposition: form-data; name=\"a\"\r\n",
    };
    struct form_head h;

    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        assert_int_equal(read_head(good[i].head, &h), 0);
        assert_true(str_eq(h.name, good[i].name) && str_eq(h.filename, good[i].filename) && str_eq(h.type, good[i].type) &&
                    str_eq(h.encoding, good[i].encoding));
        form_head_free(&h);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(read_head(bad[i], &h), CD_EINVAL);
}

static void file_names(void **state CD_UNUSED)
{
    static const char *const pairs[][2] = {
        {"a.png", "a.png"},       {"../../etc/passwd", "passwd"}, {"C:\\x\\\xe5\x8f\x91.png", "\xe5\x8f\x91.png"},
        {"..", ""},               {"a/", "a"},                    {"x\r\ny\x7f.txt", "xy.txt"},
        {"exe\xe2\x80\xaegnp", "exegnp"}, {"x\xd8\x9cy", "xy"}, {"", ""},               {" . ", ""},
    };

    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        CD_CLEANUP_FREE char *s = cd_strdup(pairs[i][0]);
        filename_make_safe(s);
        assert_string_equal(s, pairs[i][1]);
    }
    CD_CLEANUP_FREE char *s = cd_alloc(400);
    memset(s, 'n', 390);
    memcpy(s + 386, ".png", 5);
    filename_make_safe(s);
    assert_int_equal(strlen(s), FILENAME_MAX_BYTES);
    assert_string_equal(s + strlen(s) - 4, ".png");
}

/* ---- bodies ---- */

static enum api_problem body_of(const char *text, size_t max_json, size_t max_files)
{
    struct intake_body b;

    intake_body_read(text, strlen(text), "b", max_json, max_files, &b);
    assert_true(b.problem ? b.detail && !b.json : b.json != NULL);
    return b.problem;
}

static void the_complaint_of_a_form(void **state CD_UNUSED)
{
    static const char two[] = "--b\r\nContent-Disposition: form-data; name=\"f\"\r\n\r\nx\r\n--b\r\n" COMPLAINT "--b--";
    int64_t json = metrics_get(M_WEB_LIMIT_JSON), files = metrics_get(M_WEB_LIMIT_FILES);

    assert_int_equal(body_of("--b\r\n" COMPLAINT "--b--", 2, 0), API_OK);
    assert_int_equal(body_of(two, 2, 1), API_OK);
    assert_int_equal(body_of(two, 2, 0), API_TOO_LARGE);
    assert_int_equal(metrics_get(M_WEB_LIMIT_FILES), files + 1);
    assert_int_equal(body_of(two, 1, 1), API_TOO_LARGE);
    assert_int_equal(metrics_get(M_WEB_LIMIT_JSON), json + 1);
    assert_int_equal(body_of("--b\r\n" COMPLAINT "--b\r\n" COMPLAINT "--b--", 2, 5), API_BAD_FORM);
    assert_int_equal(body_of("--b--", 2, 5), API_BAD_FORM);
    assert_int_equal(body_of("--b\r\n" COMPLAINT, 2, 5), API_BAD_FORM);
}

static void the_digest_tells_files_apart_and_not_boundaries(void **state CD_UNUSED)
{
#define PART(boundary, head, body) "--" boundary "\r\nContent-Disposition: form-data; name=\"" head "\"\r\n\r\n" body "\r\n"
    static const struct {
        const char *boundary, *text;
    } forms[] = {
        {"b", PART("b", "complaint", "{ }") PART("b", "f", "xy") "--b--"},
        {"other", PART("other", "f", "xy") PART("other", "complaint", "{}") "--other--\r\n"},
        {"b", PART("b", "complaint", "{}") PART("b", "f", "xz") "--b--"},
        {"b", PART("b", "complaint", "{}") PART("b", "g", "xy") "--b--"},
        {"b", PART("b", "complaint", "{}") PART("b", "f", "x") PART("b", "f", "y") "--b--"},
        {"b", PART("b", "complaint", "{}") "--b--"},
    };
    uint8_t digests[ARRAY_LEN(forms)][SHA256_SIZE];
    json_t *o = json_object();

    for (size_t i = 0; i < ARRAY_LEN(forms); i++)
        intake_body_digest(o, forms[i].text, strlen(forms[i].text), forms[i].boundary, digests[i]);
    assert_memory_equal(digests[0], digests[1], SHA256_SIZE);
    for (size_t i = 1; i < ARRAY_LEN(forms); i++)
        for (size_t k = i + 1; k < ARRAY_LEN(forms); k++)
            assert_memory_not_equal(digests[i], digests[k], SHA256_SIZE);
    json_decref(o);
}

/* ---- the worker ---- */

static struct record *decoded(const char *raw, size_t n, int *ret_rc)
{
    struct envelope *e = envelope_new(CH_WEB, n + 1);
    struct record *r = record_new();

    assert_int_equal(buf_append(&e->raw, raw, n), 0);
    *ret_rc = web_decode(e, r);
    assert_true(record_fits(r, e));
    for (size_t i = 0; i < r->nattachments; i++) {
        uint8_t sha[SHA256_SIZE];
        sha256(e->raw.data + r->attachments[i].offset, (size_t)r->attachments[i].length, sha);
        assert_memory_equal(sha, r->attachments[i].sha256, sizeof sha);
    }
    envelope_free(&e);
    return r;
}

static void decoding(void **state CD_UNUSED)
{
    static const char json[] = "{\"text\":\"t\"}";
    static const char form[] = "--b\r\nContent-Disposition: form-data; name=\"f\"; "
                               "filename=\"a/b.PNG\"\r\nContent-Type: image/png\r\n\r\nPNG\0\r\n--b\r\nContent-Disposition: form-data; "
                               "name=\"complaint\"\r\n\r\n{\"text\":\"t\"}\r\n--b--";
    static const char broken[] = "--b\r\nContent-Disposition: form-data; "
                                 "name=\"complaint\"\r\n\r\n{\"text\":\"t\"}\r\n--b\r\n\r\nno head\r\n--b\r\ncut";
    static const char *const none[] = {"", "[]", "{}", "--", "--b", "--b--", "--b--\r\n", "--\r\n\r\n", "--b\"\r\n" COMPLAINT "--b\"--"};
    int rc;

    struct record *r = decoded(json, sizeof json - 1, &rc);
    assert_int_equal(rc, 0);
    assert_string_equal(r->text, "t");
    record_free(&r);
    r = decoded(form, sizeof form - 1, &rc);
    assert_int_equal(rc, 0);
    assert_int_equal(r->nattachments, 1);
    assert_string_equal(r->attachments[0].filename, "b.PNG");
    assert_string_equal(r->attachments[0].content_type, "image/png");
    assert_string_equal(r->attachments[0].encoding, "binary");
    assert_int_equal(r->attachments[0].size_bytes, 4);
    assert_int_equal(r->flags & REC_DEGRADED, 0);
    record_free(&r);
    r = decoded(broken, sizeof broken - 1, &rc); /* taken in by who knows whom: nothing is lost */
    assert_int_equal(rc, 0);
    assert_string_equal(r->text, "t");
    assert_int_equal(r->nattachments, 1);
    assert_true(r->flags & REC_DEGRADED);
    record_free(&r);
    for (size_t i = 0; i < ARRAY_LEN(none); i++) {
        r = decoded(none[i], strlen(none[i]), &rc);
        assert_int_equal(rc, CD_EINVAL);
        record_free(&r);
    }
}

/* ---- heads of requests ---- */

static void heads_of_requests(void **state CD_UNUSED)
{
    static const char good[] = "POST /v1/complaints?a=b HTTP/1.1\r\nHost: h\r\nContent-Length:  007\r\nauthorization: Bearer t\r\n"
                               "Content-Type: a/b\r\nIdempotency-Key: k\xc3\xa9\r\n\r\n";
    static const struct {
        const char *text;
        enum api_problem problem;
    } bad[] = {
        {"POST /x HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", API_BAD_REQUEST},
        {"POST /x HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\n", API_BAD_REQUEST},
        {"POST /x HTTP/1.1\r\nContent-Length: +1\r\n\r\n", API_BAD_REQUEST},
        {"POST /x HTTP/1.1\r\nContent-Length: 9223372036854775808\r\n\r\n", API_BAD_REQUEST},
        {"POST /x HTTP/1.1\r\nContent-Length:\r\n\r\n", API_BAD_REQUEST},
        {"POST /x HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n", API_LENGTH_REQUIRED},
        {"GET /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", API_LENGTH_REQUIRED},
        {"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", API_BAD_REQUEST},
        {"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n", API_BAD_REQUEST},
        {"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked, identity\r\n\r\n", API_BAD_REQUEST},
        {"POST /x HTTP/1.1\r\nContent-Length: 1\r\nAuthorization: a\r\nAuthorization: b\r\n\r\n", API_BAD_REQUEST},
        {"POST /x HTTP/1.1\r\nContent-Length: 1\r\nIdempotency-Key: a\r\nidempotency-key: a\r\n\r\n", API_BAD_REQUEST},
        {"GET /x HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", API_BAD_REQUEST},
        {"GET * HTTP/1.1\r\n\r\n", API_BAD_REQUEST},
        {"GET http://a/ HTTP/1.1\r\n\r\n", API_BAD_REQUEST},
        {"GET /x HTTP/1.2\r\n\r\n", API_BAD_REQUEST},
        {"GET /x HTTP/2.0\r\n\r\n", API_BAD_REQUEST},
        {"BREW /x HTTP/1.1\r\n\r\n", API_NOT_IMPLEMENTED},
        {"CONNECT /x HTTP/1.1\r\n\r\n", API_NOT_IMPLEMENTED},
        {"PUT /x HTTP/1.1\r\n\r\n", API_LENGTH_REQUIRED},
    };
    struct web_head h;

    assert_int_equal(web_head_read(good, sizeof good - 1, &h).problem, API_OK);
    assert_int_equal(h.method, WEB_POST);
    assert_string_equal(h.path, "/v1/complaints");
    assert_int_equal(h.length, 7);
    assert_string_equal(h.authorization, "Bearer t");
    assert_string_equal(h.content_type, "a/b");
    assert_string_equal(h.key, ""); /* there, and not ASCII */
    web_head_free(&h);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(web_head_read(bad[i].text, strlen(bad[i].text), &h).problem, bad[i].problem);
        web_head_free(&h);
    }
}

static void chunks(void **state CD_UNUSED)
{
    static const char *const sound[] = {"", "1", "1f", "1F\r", "10\r\n", "0\r\n\r\n"};
    static const char *const bad[] = {"\r\n", ";", "1;x", "1;x=\ny\r\n", "10\n", "+1\r\n", "0x1\r\n", "1 \r\n", "1\rx", "g\r\n"};

    for (size_t i = 0; i < ARRAY_LEN(sound); i++)
        assert_true(web_head_chunk_sound(sound[i], strlen(sound[i])));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(web_head_chunk_sound(bad[i], strlen(bad[i])));
    assert_false(web_head_chunk_sound("1\0", 2));
}

static void values_with_parameters(void **state CD_UNUSED)
{
    static const struct {
        const char *value, *want;
    } rows[] = {
        {"a/b; p=v", "v"},        {"a/b;P=\"v w\"", "v w"},     {"a/b; q=1 ; p=\"\"", ""}, {"a/b", NULL},
        {"a/b; p", NULL},         {"a/b; p=\"v", NULL},         {"a/b; p=v; p=v", NULL},   {"a/b; p=v w", NULL},
        {"a/b; p=v;", "v"},       {"a/b; p=\"x\\\"y\"", "x\"y"}, {"a/b; =v; p=w", NULL},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CD_CLEANUP_FREE char *got = web_head_parameter(rows[i].value, "p");
        if (!str_eq(got, rows[i].want))
            print_message("%s: %s\n", rows[i].value, got ? got : "nothing");
        assert_true(str_eq(got, rows[i].want));
    }
    assert_true(web_head_type_is("Application/JSON ; charset=x", "application/json"));
    assert_false(web_head_type_is("application/jsonx", "application/json") || web_head_type_is(NULL, "a/b") || web_head_type_is("", "a/b"));
}

static void refusals_are_whole_answers(void **state CD_UNUSED)
{
    const struct web_head h = {.method = WEB_POST, .path = (char *)"/v1/complaints/x"};

    for (int p = API_OK + 1; p < API_PROBLEM_COUNT; p++) {
        struct web_verdict v = {.problem = (enum api_problem)p, .detail = "why \"so\""};
        CD_CLEANUP_FREE char *text = refusal_text(&v, &h);
        const char *body = strstr(text, "\r\n\r\n");
        assert_non_null(body);
        json_t *o = json_loads(body + 4, 0, NULL);
        assert_non_null(o);
        assert_int_equal(json_integer_value(json_object_get(o, "status")), api_problems[p].status);
        assert_string_equal(json_string_value(json_object_get(o, "detail")), v.detail);
        json_decref(o);
        CD_CLEANUP_FREE char *length = cd_asprintf("\r\nContent-Length: %zu\r\n", strlen(body + 4));
        assert_non_null(strstr(text, length));
        assert_true(!strstr(text, "Allow: GET, HEAD") == (p != API_METHOD) && !strstr(text, "WWW-Authenticate: ") == (p != API_UNAUTHORIZED));
        assert_true(!strstr(text, "Retry-After: ") == !api_problems[p].retry);
        assert_true(p == API_OK + 1 || api_problems[p].status >= api_problems[p - 1].status); /* api_text.c relies on it */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_form_has_its_parts),
        cmocka_unit_test(a_broken_form_is_a_fault),
        cmocka_unit_test(boundaries),
        cmocka_unit_test(heads_of_parts),
        cmocka_unit_test(file_names),
        cmocka_unit_test(the_complaint_of_a_form),
        cmocka_unit_test(the_digest_tells_files_apart_and_not_boundaries),
        cmocka_unit_test(decoding),
        cmocka_unit_test(heads_of_requests),
        cmocka_unit_test(chunks),
        cmocka_unit_test(values_with_parameters),
        cmocka_unit_test(refusals_are_whole_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
