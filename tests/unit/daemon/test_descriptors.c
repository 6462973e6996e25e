/* Shares of the file descriptors: whatever the limit, servers together stay under it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "daemon/core/log.h"
#include "daemon/descriptors.h"

static struct config shared(uint64_t http, uint64_t line, uint64_t mail)
{
    struct config c = {.http_max_connections = http, .line_max_connections = line, .mail_max_connections = mail};
    descriptors_share(&c);
    return c;
}

static void together_they_fit(void **state)
{
    (void)state;
    static const rlim_t limits[] = {65536, 20000, 4096, 1024, 256, 128, 64};
    static const uint64_t asked[] = {0, 10, 1000, 100000};
    struct rlimit l;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &l), 0);
    for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
        if (limits[i] > l.rlim_max)
            continue;
        l.rlim_cur = limits[i];
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &l), 0);
        for (size_t m = 0; m < ARRAY_LEN(asked); m++) {
            struct config c = shared(1000, 200, asked[m]);
            uint64_t own = CD_MIN((rlim_t)48, limits[i] / 2);
            assert_true(c.http_max_connections && c.line_max_connections && c.mail_max_connections);
            assert_true(c.http_max_connections + c.line_max_connections + c.mail_max_connections + own <= limits[i]);
            if (limits[i] >= 4096) {
                assert_int_equal(c.http_max_connections, 1000);
                assert_int_equal(c.line_max_connections, 200);
            }
            if (asked[m] == 10)
                assert_true(c.mail_max_connections <= 10);
            if (asked[m] == 10 && limits[i] >= 128)
                assert_int_equal(c.mail_max_connections, 10);
        }
    }
    assert_true(shared(1000, 200, 0).mail_max_connections >= 1);
}

static void the_soft_limit_is_raised(void **state)
{
    (void)state;
    struct rlimit l;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &l), 0);
    l.rlim_cur = CD_MIN(l.rlim_max, (rlim_t)256);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &l), 0);
    descriptors_raise();
    rlim_t most = CD_MIN(l.rlim_max, (rlim_t)65536);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &l), 0);
    assert_int_equal(l.rlim_cur, most);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(together_they_fit), cmocka_unit_test(the_soft_limit_is_raised)};
    log_set_level(LOG_L_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
