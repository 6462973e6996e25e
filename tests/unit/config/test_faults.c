/* Every kind of fault, with its exact place and text; all of them at once; limits; garbage. */
#include "tests/unit/config/fixture.h"

static void test_keys(void **state CD_UNUSED)
{
    assert_faults("instanse: main\n"
                  "mail:\n"
                  "  lisen: []\n"
                  "  relay: {tls: ssl, colour: red}\n"
                  "  workers: 1\n"
                  "  workers: 2\n"
                  "log:\n"
                  "mail: {max_errors: 5}\n"
                  "? [a]\n"
                  ": 1\n",
                  "c.yaml:1:1: unknown key 'instanse' in this file: write instance\n"
                  "c.yaml:3:3: unknown key 'lisen' in mail: write listen\n"
                  "c.yaml:4:16: mail.relay.tls can't be 'ssl': write none or starttls\n"
                  "c.yaml:4:21: unknown key 'colour' in mail.relay: write host, port, tls, user, password, "
                  "password_file, "
                  "password_credential or ca_file, or remove it\n"
                  "c.yaml:6:3: 'workers' is written twice, first in line 5: keep one of them\n"
                  "c.yaml:7:1: 'log' has no value: write keys below it, or remove the key\n"
                  "c.yaml:8:1: 'mail' is written twice, first in line 2: keep one of them\n"
                  "c.yaml:9:3: a key is a list: write a word and a colon\n");
}

static void test_values(void **state CD_UNUSED)
{
    assert_faults(
        "mail: {max_message: 12x, workers: 010, max_errors: -1, bare_lf: maybe, command_timeout: 4}\n"
        "log: {pii: yes, level: [debug]}\n"
        "notify: {poll: 1h, max_attempts: 0, batch: ~, lease: \"\"}\n"
        "triage: {cpu: 1500ms, default_language: English, fallback_team: {a: b}}\n"
        "hostname: two words\n"
        "instance: \"a\\nb\"\n"
        "state_dir: \"a\\0b\"\n",
        "c.yaml:1:21: mail.max_message is '12x', not a size: write for example 25MB\n"
        "c.yaml:1:35: mail.workers is '010', not a whole number: write for example 2\n"
        "c.yaml:1:52: mail.max_errors is '-1', not a whole number: write for example 10\n"
        "c.yaml:1:65: mail.bare_lf can't be 'maybe': write normalize or reject\n"
        "c.yaml:1:89: mail.command_timeout is '4', not a duration: write for example 5min\n"
        "c.yaml:2:12: log.pii is 'yes': write true or false\n"
        "c.yaml:2:24: log.level is a list: write one of a few words, such as info\n"
        "c.yaml:3:16: notify.poll is 1h, which is too big: write 10ms to 1min\n"
        "c.yaml:3:34: notify.max_attempts is 0, which is too small: write 1 to 100\n"
        "c.yaml:3:37: 'notify.batch' has no value: write a whole number, or remove the key\n"
        "c.yaml:3:54: notify.lease is '', not a duration: write for example 2min\n"
        "c.yaml:4:15: triage.cpu is '1500ms', not a duration of whole seconds: write for example 5s\n"
        "c.yaml:4:41: triage.default_language is 'English', not a language: write a language such as en, zh "
        "or "
        "zh-TW\n"
        "c.yaml:4:65: triage.fallback_team is a group of keys: write a name, such as general\n"
        "c.yaml:5:11: hostname is 'two words', not a host name: write a host name such as mail.example.com, "
        "or an "
        "address\n"
        "c.yaml:6:11: instance is 'a b', not a name: write it without control characters or line ends\n"
        "c.yaml:7:12: state_dir holds a NUL character: write it without\n");
}

static void test_lists(void **state CD_UNUSED)
{
    assert_faults(
        "http: {listen: [localhost:80, \"127.0.0.1\", \"127.0.0.1:0\", \"unix:/x\", 4, ~]}\n"
        "line: {listen: [\"unix:x\", \"[::1:70\", \"127.0.0.1:70\", \"127.0.0.1:70\"]}\n"
        "trusted_clients: [10.1.0.0/8, 10.0.0.0/33, [x]]\n"
        "metrics: {listen: 127.0.0.1:1}\n"
        "clients: [a]\n"
        "mail: 5\n",
        "c.yaml:1:17: 'localhost:80' in http.listen can't be listened on: write a numeric address and a "
        "port, such "
        "as 127.0.0.1:2525 or [::1]:2525\n"
        "c.yaml:1:31: '127.0.0.1' in http.listen can't be listened on: write a numeric address and a port, "
        "such as "
        "127.0.0.1:2525 or [::1]:2525\n"
        "c.yaml:1:44: '127.0.0.1:0' in http.listen can't be listened on: write a port from 1 to 65535 behind "
        "the "
        "address\n"
        "c.yaml:1:59: 'unix:/x' in http.listen can't be listened on: write a numeric address and a port, "
        "such as "
        "127.0.0.1:2525 or [::1]:2525\n"
        "c.yaml:1:70: '4' in http.listen can't be listened on: write a numeric address and a port, such as "
        "127.0.0.1:2525 or [::1]:2525\n"
        "c.yaml:1:73: an entry of http.listen is empty: write one value here, or remove the entry\n"
        "c.yaml:2:17: 'unix:x' in line.listen can't be listened on: write unix: and an absolute path of at "
        "most "
        "107 bytes, such as unix:/run/complaintd/control.sock\n"
        "c.yaml:2:27: '[::1:70' in line.listen can't be listened on: write a numeric address and a port, "
        "such as "
        "127.0.0.1:2525 or [::1]:2525\n"
        "c.yaml:2:54: 127.0.0.1:70 is listened on already: write another port\n"
        "c.yaml:3:19: '10.1.0.0/8' in trusted_clients is not a network: write the network's first address: "
        "all bits "
        "behind the /length are 0\n"
        "c.yaml:3:31: '10.0.0.0/33' in trusted_clients is not a network: write a network such as 10.0.0.0/8, "
        "or one "
        "numeric address\n"
        "c.yaml:3:44: an entry of trusted_clients is a list: write one value here, or remove the entry\n"
        "c.yaml:4:19: metrics.listen is one value: write a list of addresses, such as [\"127.0.0.1:9464\"]\n"
        "c.yaml:5:11: an entry of clients is one value: write the keys of a client\n"
        "c.yaml:6:7: 'mail' is one value: write keys below it\n");
}

static void test_yaml(void **state CD_UNUSED)
{
    assert_faults("", "c.yaml:1:1: the file is empty: write its keys, or do not name the file\n");
    assert_faults("# nothing\n", "c.yaml:1:1: the file is empty: write its keys, or do not name the file\n");
    assert_faults("---\n", "c.yaml:1:1: the file is empty: write its keys, or do not name the file\n");
    assert_faults("- a\n", "c.yaml:1:1: the file is a list: write `instance:` with its values on top\n");
    assert_faults("log:\n\tpii: true\n", "c.yaml:2:1: a tab in the indentation: write spaces\n");
    assert_faults("log: {pii: true\n", "c.yaml:2:1: not valid YAML (did not find expected ',' or '}' while "
                                       "parsing a flow mapping from line 1 on): "
                                       "check indentation, quotes and brackets here\n");
    assert_faults("instance: \"main\nhostname: x\n", "c.yaml:3:1: not valid YAML (found unexpected end of "
                                                     "stream while scanning a quoted scalar from line 1 on): "
                                                     "check indentation, quotes and brackets here\n");
    assert_faults("instance: main\n # 投诉\nhostname: \"é\xff\"\n",
                  "c.yaml:3:13: not valid UTF-8: save the file in the encoding UTF-8\n");
    put_bytes("c.yaml", "instance: é\0\n", 14);
    assert_report(
        "c.yaml:1:12: not valid YAML (control characters are not allowed): remove this character\n");
    assert_faults("instance: &i main\n"
                  "hostname: *i\n"
                  "state_dir: !!str /x\n"
                  "log: !mine {pii: false}\n"
                  "---\n"
                  "log: [\n",
                  "c.yaml:1:11: anchor '&i' is not allowed: write the value at each place that needs it\n"
                  "c.yaml:2:11: alias '*i' is not allowed: write the value itself\n"
                  "c.yaml:3:12: tag '!!str' is not allowed: write the plain value\n"
                  "c.yaml:4:6: tag '!mine' is not allowed: write the plain value\n"
                  "c.yaml:5:1: a second document begins here: remove the '---', one file is one document\n");
    CD_CLEANUP_FREE char *path = in_folder("absent.yaml");
    struct faults f = {0};
    assert_null(config_load(path, &f));
    assert_int_equal(f.n, 1);
    assert_non_null(
        strstr(f.v[0].text, "absent.yaml can't be read (No such file or directory): name a readable file"));
    faults_free(&f);
}

static void test_names(void **state CD_UNUSED)
{
    assert_faults(
        "mail: {from: care@example.com}\n"
        "desks:\n"
        "  - {name: care, addresses: [a@x.example, no-address, A@x.example], default_team: bilings}\n"
        "  - {name: care, addresses: [a@x.example], policy: standrad}\n"
        "  - {addresses: [c@x.example]}\n"
        "teams:\n"
        "  - {name: billing, mail: \"a b@example.com\", webhook: chat}\n"
        "  - {name: team, sms: 13800138000}\n"
        "  - {name: \"two words\"}\n"
        "contacts: [{name: billing}]\n"
        "categories: [{name: fire, team: firemen}]\n"
        "triage: {fallback_team: billin}\n"
        "policies: [policies/*.yaml]\ncalendars: [calendars/*.yaml]\ntemplates: templates\n",
        "c.yaml:3:43: 'no-address' in addresses is not a mail address: write an address such as "
        "care@example.com\n"
        "c.yaml:3:55: 'A@x.example' is in addresses twice: remove one\n"
        "c.yaml:4:5: a desk 'care' exists already (c.yaml:3): write another name\n"
        "c.yaml:4:5: address a@x.example belongs to desk 'care' already: give it to one desk\n"
        "c.yaml:4:52: there is no policy 'standrad': write 'standard', or add it in a file that `policies:` "
        "names, "
        "such as policies/*.yaml\n"
        "c.yaml:5:5: this desk has no name: write `name:` and a name, such as billing\n"
        "c.yaml:7:27: mail is 'a b@example.com', not a mail address: write an address such as "
        "care@example.com\n"
        "c.yaml:7:55: there is no webhook 'chat': add it below `webhooks:`, or write another\n"
        "c.yaml:8:5: a team can't be named 'team', which is the owning team in ladders: write another name\n"
        "c.yaml:8:23: sms is '13800138000', not a phone number: write + and country code, digits only, in "
        "quotes: "
        "\"+8613800138000\"\n"
        "c.yaml:9:12: name is 'two words', not a name: write one word of letters, digits, '-', '_' and '.'\n"
        "c.yaml:10:12: contact 'billing' has the name of a team: write another name\n");
}

static void test_references(void **state CD_UNUSED)
{
    put("rules/r.yaml", "rules:\n"
                        "  - {id: a, when: {any: [x], desk: [car]}, then: {category: fires, team: generl}}\n"
                        "tests: [{text: x, desk: other, expect: {category: fire, team: nobody}}]\n");
    assert_faults(
        CONFIG "categories: [{name: fire, team: firemen}]\n"
               "triage: {fallback_team: genral}\n"
               "default_policy: gold\n"
               "clients: [{name: c, token: long-enough, desk: shop}]\n"
               "rules: [rules/r.yaml]\n",
        "c.yaml:7:33: there is no team 'firemen': add it below `teams:`, or write another\n"
        "c.yaml:8:25: there is no team 'genral': write 'general', or add it below `teams:`\n"
        "c.yaml:9:17: there is no policy 'gold': add it in a file that `policies:` names, such as "
        "policies/*.yaml, "
        "or write another\n"
        "c.yaml:10:47: there is no desk 'shop': add it below `desks:`, or write another\n"
        "rules/r.yaml:2:37: there is no desk 'car': write 'care', or add it below `desks:`\n"
        "rules/r.yaml:2:61: there is no category 'fires': write 'fire', or add it below `categories:`\n"
        "rules/r.yaml:2:74: there is no team 'generl': write 'general', or add it below `teams:`\n"
        "rules/r.yaml:3:25: there is no desk 'other': add it below `desks:`, or write another\n"
        "rules/r.yaml:3:63: there is no team 'nobody': add it below `teams:`, or write another\n");
}

static void test_members(void **state CD_UNUSED)
{
    put("rules/r.yaml", "rules:\n"
                        "  - {id: a, when: {any: [x]}, then: {about: [ann, billing, an]}}\n"
                        "  - {id: b, when: {any: [x]}, then: {region: \"a b\", skills: fr}}\n"
                        "tests: [{text: x, expect: {about: [bop]}}]\n");
    assert_faults("mail: {from: care@example.com}\n"
                  "desks: [{name: care, addresses: [Care@Example.com]}]\n"
                  "teams:\n"
                  "  - {name: general, assign: turns}\n"
                  "  - {name: billing}\n"
                  "  - name: sales\n"
                  "    assign: round-robin\n"
                  "    members: [{name: ann, capacity: 0}, {name: ann}, {name: billing, mail: x}, {capacity: 5}]\n"
                  "  - {name: more, members: [{name: ann}]}\n"
                  "triage: {conflict_team: ann}\n"
                  "rules: [rules/r.yaml]\n"
                  "policies: [policies/*.yaml]\ncalendars: [calendars/*.yaml]\ntemplates: templates\n",
                  "c.yaml:4:29: assign can't be 'turns': write none, round-robin or load\n"
                  "c.yaml:8:37: capacity is 0, which is too small: write 1 to 100000\n"
                  "c.yaml:8:41: a member 'ann' exists already (c.yaml:8): write another name\n"
                  "c.yaml:8:54: member 'billing' has the name of a team: write another name\n"
                  "c.yaml:8:76: mail is 'x', not a mail address: write an address such as care@example.com\n"
                  "c.yaml:8:80: this member has no name: write `name:` and a name, such as billing\n"
                  "c.yaml:10:25: there is no team 'ann': add it below `teams:`, or write another\n"
                  "rules/r.yaml:3:46: then.region is 'a b', not a name: write one word of letters, digits, '-', '_' and '.'\n"
                  "rules/r.yaml:3:61: then.skills is one value: write a list of names, such as [billing, safety]\n");
    put("rules/r.yaml", "rules:\n  - {id: a, when: {any: [x]}, then: {about: [ann, billing, bop]}}\n");
    assert_faults("mail: {from: care@example.com}\n"
                  "desks: [{name: care, addresses: [Care@Example.com]}]\n"
                  "teams: [{name: general}, {name: billing, members: [{name: ann}]}, {name: sales, assign: load}]\n"
                  "rules: [rules/r.yaml]\n"
                  "policies: [policies/*.yaml]\ncalendars: [calendars/*.yaml]\ntemplates: templates\n",
                  "c.yaml:3:67: team 'sales' has assign: load but no members: write members: [{name: NAME}], or leave assign out\n"
                  "rules/r.yaml:2:60: there is no team, member or contact 'bop': add it below `teams:` or `contacts:`, or write another\n");
}

static void test_secrets(void **state CD_UNUSED)
{
    put("empty", "\n");
    put("lines", "a\nb\n");
    assert_faults(
        CONFIG "database: {dsn: x, dsn_file: empty}\n"
               "clients:\n"
               "  - {name: a}\n"
               "  - {name: b, token_file: empty}\n"
               "  - {name: c, token_file: lines}\n"
               "  - {name: d, token_file: absent}\n"
               "  - {name: e, token_credential: t}\n"
               "  - {name: f, token_credential: ../t}\n"
               "  - {name: g, token: short}\n"
               "  - {name: h, token: the-same-token}\n"
               "  - {name: i, token: the-same-token}\n"
               "  - {name: j, tokn: x}\n",
        "c.yaml:7:20: 'database.dsn' is given in two ways: keep one of database.dsn, database.dsn_file, "
        "database.dsn_credential\n"
        "c.yaml:9:5: this client has no token: write `token_file: PATH`, `token_credential: NAME` or `token_sha256: HEX`\n"
        "c.yaml:10:27: secret file empty is empty: write the secret into it\n"
        "c.yaml:11:27: secret file lines holds several lines or a NUL: write one line\n"
        "c.yaml:12:27: secret file absent can't be read (No such file or directory): make it, readable for "
        "the "
        "daemon, of at most 64 kB\n"
        "c.yaml:13:33: credential 't' is asked for, but $CREDENTIALS_DIRECTORY is not set: write "
        "LoadCredential=t:PATH into the unit, or a secret file here\n"
        "c.yaml:14:33: '../t' is not the name of a credential: write the name that LoadCredential= gives it\n"
        "c.yaml:15:5: the token of client 'g' is short: write at least 8 bytes, random ones\n"
        "c.yaml:17:5: client 'i' has the token of 'h': write one of its own\n"
        "c.yaml:18:5: this client has no token: write `token_file: PATH`, `token_credential: NAME` or `token_sha256: HEX`\n"
        "c.yaml:18:15: unknown key 'tokn' in this client: write token\n");
    assert_faults(
        CONFIG "clients:\n"
               "  - {name: a, token_sha256: 00ff}\n"
               "  - {name: b, token_sha256: zz3e14c5c9287b18c9122853f5b9460a7737a56d7e9ba02894181ac6aa889425}\n"
               "  - {name: c, token: sesame-one, token_sha256: 003e14c5c9287b18c9122853f5b9460a7737a56d7e9ba02894181ac6aa889425}\n"
               "  - {name: d, token_sha256: 013e14c5c9287b18c9122853f5b9460a7737a56d7e9ba02894181ac6aa889425, desks: [shop]}\n",
        "c.yaml:8:5: the token_sha256 of client 'a' is not 64 hexadecimal digits: write what complaintctl token prints\n"
        "c.yaml:9:5: the token_sha256 of client 'b' is not 64 hexadecimal digits: write what complaintctl token prints\n"
        "c.yaml:10:5: this client has a token and a token_sha256: write one of them\n"
        "c.yaml:11:103: there is no desk 'shop': add it below `desks:`, or write another\n");
}

static void test_thread_keys(void **state CD_UNUSED)
{
    assert_faults(CONFIG "threads:\n"
                         "  keys:\n"
                         "    - {id: a, secret: 0123456789abcdef}\n"
                         "    - {id: ab, secret: 0123456789abcdef}\n"
                         "    - {id: \"0\", secret: 0123456789abcdef}\n"
                         "    - {id: b, secret: short}\n"
                         "    - {id: a, secret: 0123456789abcdeg}\n"
                         "    - {secret: 0123456789abcdef}\n",
                  "c.yaml:10:7: the id of a key is one character of 1-9 and a-z, not 'ab': write one of those\n"
                  "c.yaml:11:7: the id of a key is one character of 1-9 and a-z, not '0': write one of those\n"
                  "c.yaml:12:7: the secret of key 'b' is short: write at least 16 bytes, random ones\n"
                  "c.yaml:13:7: there are two keys 'a': give each an id of its own\n"
                  "c.yaml:14:7: this key has no id: write `id:` and a text, such as \"some words\"\n");
}

static void test_urls(void **state CD_UNUSED)
{
    assert_faults(
        "webhooks:\n"
        "  - {name: a, secret: s, url: \"http://hooks.example.com/x\"}\n"
        "  - {name: b, secret: s, url: \"http://127.0.0.1:8/x\"}\n"
        "  - {name: c, secret: s, url: \"http://[::1]/x\"}\n"
        "  - {name: d, secret: s, url: \"https://user@hooks.example.com/x\"}\n"
        "  - {name: e, secret: s, url: \"https://hooks.example.com:99999/x\"}\n"
        "  - {name: f, secret: s, url: \"ftp://hooks.example.com\"}\n"
        "  - {name: g, secret: s, url: \"http://127.0.0.1.example.com/\"}\n"
        "  - {name: h, secret: s, url: \"https://hooks.example.com/a b\"}\n",
        "c.yaml:2:31: url is 'http://hooks.example.com/x', not a URL: write https:// (plain http only to "
        "this host "
        "itself)\n"
        "c.yaml:5:31: url is 'https://user@hooks.example.com/x', not a URL: write https://host/path\n"
        "c.yaml:6:31: url is 'https://hooks.example.com:99999/x', not a URL: write https://host/path\n"
        "c.yaml:7:31: url is 'ftp://hooks.example.com', not a URL: write https://host/path\n"
        "c.yaml:8:31: url is 'http://127.0.0.1.example.com/', not a URL: write https:// (plain http only to "
        "this "
        "host itself)\n"
        "c.yaml:9:31: url is 'https://hooks.example.com/a b', not a URL: write https://host/path\n");
    assert_faults(
        CONFIG "sms: {providers: [{name: m, provider: twillio, public_url: \"https://x/y\", account_sid: A,\n"
               "  auth_token: s, from: \"+1\", api_url: \"http://x\"}]}\n",
        "c.yaml:7:39: provider can't be 'twillio': write twilio\n"
        "c.yaml:7:60: public_url is 'https://x/y', not a URL without a path: write https://host or "
        "https://host:port, without a path or a slash at the end\n"
        "c.yaml:8:39: api_url is 'http://x', not a URL: write https:// (plain http only to this host "
        "itself)\n");
}

static void test_policies(void **state CD_UNUSED)
{
    put("policies/standard.yaml", "policies:\n"
                                  "  - name: standard\n"
                                  "    calendar: alway\n"
                                  "    targets:\n"
                                  "      critical: {acknowledge: 2h, first_response: 1h, resolve: 1d}\n"
                                  "      high: {acknowledge: 1h, first_response: 4h}\n"
                                  "      normal: {acknowledge: 4h, first_response: 1d, resolve: 7d}\n"
                                  "      low: {acknowledge: 1d, first_response: 2d, resolve: 14d}\n"
                                  "    ladder:\n"
                                  "      - {level: 2, at: first-response, offset: -2h, tell: [{contact: "
                                  "team}], priorities: [critical]}\n"
                                  "      - {level: 2, at: resolve, tell: [{contact: bos, by: [fax]}], "
                                  "stops_on: [], repeat: {times: 3}}\n"
                                  "      - {level: 3, at: noon, tell: []}\n"
                                  "      - {level: 4, at: resolve, tell: [{contact: team, by: [sms]}], "
                                  "repeat: {times: 47, every: 1h}}\n");
    put("calendars/always.yaml", "calendars:\n"
                                 "  - {name: always, zone: Mars/Phobos, always: true}\n"
                                 "  - {name: up, zone: ../../etc/passwd, always: true}\n"
                                 "  - {name: week, zone: Asia/Shanghai, always: false}\n");
    assert_faults(
        CONFIG "contacts: [{name: boss, mail: boss@example.com}]\n",
        "calendars/always.yaml:2:26: zone is 'Mars/Phobos', not a time zone: write UTC or a zone of the tz "
        "database, such as Asia/Shanghai\n"
        "calendars/always.yaml:3:22: zone is '../../etc/passwd', not a time zone: write UTC or a zone of the "
        "tz database, such as Asia/Shanghai\n"
        "calendars/always.yaml:4:47: calendar 'week' has no working time: write always: true, the only kind "
        "there is so far\n"
        "policies/standard.yaml:2:5: this policy has no targets.high.resolve: write it as a duration, such "
        "as 90s\n"
        "policies/standard.yaml:2:5: policy 'standard', critical: acknowledge (2h) comes after "
        "first-response (1h): write acknowledge <= first_response <= resolve\n"
        "policies/standard.yaml:2:5: policy 'standard' fires 54 times for critical, repeats counted: write "
        "at most 48\n"
        "policies/standard.yaml:3:15: there is no calendar 'alway': write 'always', or add it in a file that "
        "`calendars:` names, such as calendars/*.yaml\n"
        "policies/standard.yaml:10:9: level 2 would fire before a complaint of priority critical arrives: "
        "write a smaller offset, or leave critical out of its priorities\n"
        "policies/standard.yaml:11:9: this step repeats without a pause: write repeat: {times: 3, every: "
        "30min}\n"
        "policies/standard.yaml:11:9: level 2 follows level 2: write ascending levels\n"
        "policies/standard.yaml:11:50: there is no contact or team 'bos': write 'boss', or add it below "
        "`contacts:`\n"
        "policies/standard.yaml:11:60: by can't be 'fax': write mail, sms or webhook\n"
        "policies/standard.yaml:11:78: stops_on is an empty list: write at least one word, or leave the key "
        "out\n"
        "policies/standard.yaml:12:9: level 3 tells nobody: write tell: [{contact: team, by: [mail]}]\n"
        "policies/standard.yaml:12:24: at can't be 'noon': write receipt, acknowledge, first-response or "
        "resolve\n"
        "policies/standard.yaml:13:9: level 4 reaches nobody at 'general': give it an address for one of the "
        "transports, or name another transport or contact\n");
}

static void test_rules(void **state CD_UNUSED)
{
    put("rules/r.yaml",
        "rules:\n"
        "  - {id: a, then: {category: fire}}\n"
        "  - {id: b, when: {any: [], text: smoke, all: [[x], []], regex: [\"\", \"  \", [y], ~]}}\n"
        "  - {id: a, when: {any: [x], channl: [sms], attachments: some}, then: {priority: urgent}}\n"
        "  - {when: {any: [x]}, then: {tags: [\"a b\"]}}\n"
        "tests:\n"
        "  - {expect: {priority: highest}}\n"
        "  - {text: x}\n");
    assert_faults(
        CONFIG "rules: [rules/r.yaml]\ncategories: [{name: fire}]\n",
        "rules/r.yaml:2:5: rule 'a' has no condition and would hold always: write when: {any: [\"…\"]}\n"
        "rules/r.yaml:3:5: rule 'b' has no effect: write then: {category: …}\n"
        "rules/r.yaml:3:25: when.any is an empty list: write a list of 1 to 5000 phrases, such as [\"caught "
        "fire\"]\n"
        "rules/r.yaml:3:35: when.text is one value: write a list of 1 to 5000 phrases, such as [\"caught "
        "fire\"]\n"
        "rules/r.yaml:3:53: when.all is an empty list: write a list of 1 to 5000 phrases, such as [\"caught "
        "fire\"]\n"
        "rules/r.yaml:3:66: a phrase of when.regex is empty: write words that a text may hold, or remove it\n"
        "rules/r.yaml:3:70: a phrase of when.regex is empty: write words that a text may hold, or remove it\n"
        "rules/r.yaml:3:76: a phrase of when.regex is a list: write words that a text may hold, or remove "
        "it\n"
        "rules/r.yaml:3:81: a phrase of when.regex is empty: write words that a text may hold, or remove it\n"
        "rules/r.yaml:4:5: a rule 'a' exists already (rules/r.yaml:2): write another name\n"
        "rules/r.yaml:4:30: unknown key 'channl' in when: write channel\n"
        "rules/r.yaml:4:58: when.attachments is 'some': write true or false\n"
        "rules/r.yaml:4:82: then.priority can't be 'urgent': write critical, high, normal or low\n"
        "rules/r.yaml:5:5: this rule has no id: write `id:` and a name, such as billing\n"
        "rules/r.yaml:5:38: 'a b' in then.tags is not a name: write one word of letters, digits, '-', '_' "
        "and '.'\n"
        "rules/r.yaml:7:5: this test has no message: write text: \"…\"\n"
        "rules/r.yaml:7:25: expect.priority can't be 'highest': write critical, high, normal or low\n"
        "rules/r.yaml:8:5: this test expects nothing: write expect: {category: …}\n");
}

static void test_templates(void **state CD_UNUSED)
{
    put("templates/escalation.mail.en.txt", "Subject: {{reff}}\n\né {{nme}} {{ref}\n");
    put("templates/escalation.sms.en.txt", "no reference {{ name }} {{qqqqqqqq}}\n");
    put("templates/acknowledgement.mail.zh.txt", "Dear {{name}}, {{ref}}\n");
    put("templates/acknowledgement.mail.de.txt", "Subject:\n\n{{ref}}\n");
    put("templates/acknowledgement.sms.zh.txt", "");
    put("templates/acknowledgment.sms.en.txt", "x");
    put("templates/escalation.fax.en.txt", "x");
    put("templates/escalation.txt", "x");
    put("templates/escalation.sms.fr.txt", "{{ref}} caf\xe9");
    put("templates/escalation.sms.de.txt", "{{ref}} \x07");
    assert_faults(
        CONFIG, "templates/acknowledgement.mail.de.txt:1:1: the subject is empty: write 1 to 200 bytes\n"
                "templates/acknowledgement.mail.zh.txt:1:1: a mail template begins otherwise: write "
                "`Subject: …` and an empty line\n"
                "templates/acknowledgement.sms.zh.txt:1:1: the template has no text: write some\n"
                "templates/acknowledgment.sms.en.txt:1:1: the name begins with an unknown purpose: write "
                "acknowledgement, reply, escalation, waiting, undeliverable or assigned\n"
                "templates/escalation.fax.en.txt:1:1: the name has an unknown transport: write mail or sms\n"
                "templates/escalation.mail.en.txt:1:1: the reference is never told: write {{ref}} somewhere\n"
                "templates/escalation.mail.en.txt:1:10: unknown placeholder '{{reff}}': write {{ref}}\n"
                "templates/escalation.mail.en.txt:3:3: unknown placeholder '{{nme}}': write {{name}}\n"
                "templates/escalation.mail.en.txt:3:11: '{{' is not closed in this line: write {{name}}\n"
                "templates/escalation.sms.de.txt:1:9: a control character: remove it\n"
                "templates/escalation.sms.en.txt:1:1: the reference is never told: write {{ref}} somewhere\n"
                "templates/escalation.sms.en.txt:1:14: unknown placeholder '{{ name }}': write {{name}}\n"
                "templates/escalation.sms.en.txt:1:25: unknown placeholder '{{qqqqqqqq}}': write {{ref}}, or "
                "another that --describe-config lists\n"
                "templates/escalation.sms.fr.txt:1:1: the template can't be read (not UTF-8): make it a text "
                "of at most 64 kB in UTF-8\n"
                "templates/escalation.txt:1:1: the name is not that of a template: write "
                "PURPOSE.TRANSPORT.LANGUAGE.txt, such as acknowledgement.mail.en.txt, or with a desk's name before .txt\n");
}

static void test_templates_missing(void **state CD_UNUSED)
{
    assert_faults("mail: {from: care@example.com}\n"
                  "triage: {default_language: zh}\n"
                  "desks: [{name: care}]\n"
                  "teams: [{name: general}]\n"
                  "policies: [policies/*.yaml]\ncalendars: [calendars/*.yaml]\ntemplates: templates\n",
                  "c.yaml:7:12: there is no template for acknowledgement by mail in the default language: "
                  "write the file acknowledgement.mail.zh.txt\n"
                  "c.yaml:7:12: there is no template for acknowledgement by sms in the default language: "
                  "write the file acknowledgement.sms.zh.txt\n"
                  "c.yaml:7:12: there is no template for escalation by mail in the default language: write "
                  "the file escalation.mail.zh.txt\n"
                  "c.yaml:7:12: there is no template for escalation by sms in the default language: write "
                  "the file escalation.sms.zh.txt\n"
                  "c.yaml:7:12: there is no template for undeliverable by mail in the default language: write "
                  "the file undeliverable.mail.zh.txt\n"
                  "c.yaml:7:12: there is no template for undeliverable by sms in the default language: write "
                  "the file undeliverable.sms.zh.txt\n"
                  "c.yaml:7:12: there is no template for assigned by mail in the default language: write "
                  "the file assigned.mail.zh.txt\n"
                  "c.yaml:7:12: there is no template for assigned by sms in the default language: write "
                  "the file assigned.sms.zh.txt\n"
                  "c.yaml:7:12: there is no template for reply by mail in the default language: write the file reply.mail.zh.txt\n"
                  "c.yaml:7:12: there is no template for reply by sms in the default language: write the file reply.sms.zh.txt\n"
                  "c.yaml:7:12: there is no template for waiting by mail in the default language: write the file waiting.mail.zh.txt\n"
                  "c.yaml:7:12: there is no template for waiting by sms in the default language: write the file waiting.sms.zh.txt\n");
    assert_faults("templates: nowhere\n", "c.yaml:1:12: folder nowhere can't be read (No such file or "
                                          "directory): name the folder that holds the templates\n");
}

static void test_general(void **state CD_UNUSED)
{
    assert_faults(
        "mail:\n"
        "  listen: [\"127.0.0.1:25\"]\n"
        "  max_message: 40MB\n"
        "  relay: {host: relay.example.com, user: u, ca_file: none.pem}\n"
        "notify: {retry_base: 1h, retry_max: 1min}\n"
        "rules: [nothing/*.yaml, 5]\n"
        "policies: policies/*.yaml\n"
        "intake: {max_bytes: 32MB}\n",
        "c.yaml:2:11: mail.listen is given but there is no desk: write `desks:` with a name and addresses\n"
        "c.yaml:2:11: mail.from is missing: write below `mail:` a line such as from: complaints@example.com\n"
        "c.yaml:3:16: mail.max_message is bigger than intake.max_bytes, no such mail would ever be taken: "
        "write a smaller one\n"
        "c.yaml:4:42: mail.relay has a user but no password: write password_file: PATH beside it\n"
        "c.yaml:4:42: the password for mail.relay would cross the network in clear: write tls: starttls\n"
        "c.yaml:4:54: none.pem can't be read: name a file of certificates (PEM)\n"
        "c.yaml:5:22: notify.retry_base is longer than notify.retry_max: write a shorter one\n"
        "c.yaml:6:9: 'nothing/*.yaml' in rules finds no file: write the path of a file, relative to this "
        "one, or remove it\n"
        "c.yaml:6:25: '5' in rules finds no file: write the path of a file, relative to this one, or remove "
        "it\n"
        "c.yaml:7:11: policies is one value: write a list of files, such as [policies/*.yaml]\n");
    assert_faults("desks: []\nclients: [{name: till, token: 0123456789abcdef0123456789abcdef, role: intake}]\n",
                  "c.yaml:2:10: clients is given but there is no desk: write `desks:` with a name and addresses\n");
    assert_faults("intake: {tight_at: 60, tight_until: 60, shed_until: 99}\n",
                  "c.yaml:1:37: intake.tight_until must be under intake.tight_at: write a number under 60\n"
                  "c.yaml:1:53: intake.shed_until must be under intake.shed_at: write a number under 95\n");
    assert_faults("intake: {tight_at: 96}\n",
                  "c.yaml:1:20: intake.tight_at must be under intake.shed_at: write a number under 95\n");
    assert_faults("mail: {relay: {password: p}}\n",
                  "c.yaml:1:26: mail.relay has a password but no user: write user: NAME beside it\n");
}

/* What is in the files is the daemon's to judge, again and again. */
static void test_tls(void **state CD_UNUSED)
{
    put("a.pem", "no certificate\n");
    assert_faults("tls:\n"
                  "  min_version: \"1.1\"\n"
                  "  certificates:\n"
                  "    - {certificate: a.pem, key: a.key}\n"
                  "    - {certificate: b.pem}\n"
                  "    - {key: a.pem}\n",
                  "c.yaml:2:16: tls.min_version can't be '1.1': write 1.2 or 1.3\n"
                  "c.yaml:4:7: a.key can't be read: name a PEM file that the daemon's user may read\n"
                  "c.yaml:5:7: b.pem can't be read: name a PEM file that the daemon's user may read\n"
                  "c.yaml:6:7: this certificate has no certificate: write `certificate:` and a path, such as /etc/complaintd/file\n");
    static const char rest[] = CONFIG;
    const struct {
        const char *mail, *faults;
    } cases[] = {
        {"listen: [\"127.0.0.1:465\"], listen_tls: [\"127.0.0.1:465\"]",
         "c.yaml:1:71: mail.listen_tls needs a certificate: write `tls:` with certificates: [{certificate: FILE, key: FILE}]\n"
         "c.yaml:1:72: 127.0.0.1:465 is listened on already: write another port\n"},
        {"require_tls: true",
         "c.yaml:1:45: mail.require_tls needs a certificate: write `tls:` with certificates: [{certificate: FILE, key: FILE}]\n"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CD_CLEANUP_FREE char *text = cd_asprintf("mail: {from: care@example.com, %s}%s", cases[i].mail, strchr(rest, '\n'));
        assert_faults(text, cases[i].faults);
    }
}

static void test_file_of_rules_broken(void **state CD_UNUSED)
{
    put("policies/standard.yaml", "policies: [\n");
    put("policies/other.yaml", "rules: []\n");
    assert_faults(CONFIG,
                  "policies/other.yaml:1:1: unknown key 'rules' in this file: write policies, or remove it\n"
                  "policies/other.yaml:1:1: this file has no policies: write `policies:` and a list of "
                  "groups of keys, such as a line `- name: NAME` for each\n"
                  "policies/standard.yaml:2:1: not valid YAML (did not find expected node content): check "
                  "indentation, quotes and brackets here\n");
}

#define T(f) cmocka_unit_test_setup_teardown(f, folder_make, folder_remove)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_keys),      T(test_values),
        T(test_lists),     T(test_yaml),
        T(test_names),     T(test_references), T(test_tls),
        T(test_members), T(test_secrets),   T(test_thread_keys), T(test_urls),
        T(test_policies),  T(test_rules),
        T(test_templates), T(test_templates_missing),
        T(test_general),   T(test_file_of_rules_broken),
    };
    unsetenv("CREDENTIALS_DIRECTORY");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
