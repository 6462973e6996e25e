#pragma once
/* Signed names that go out with our mail and come back with the answers to it: of a complaint, in reply addresses and Message-IDs, and
 * of a notification, in envelope senders. Who shows one has had the mail that it stood in. Text: a letter for the kind, a character for
 * the key, the name, and 80 bits of HMAC-SHA256 over all of it, in Crockford's base32, small letters; systems on the way may change the
 * case, which is forgiven. The keys are the process's: the first signs, all of them verify, so that one can be rotated out. Pure otherwise. */
#include "daemon/core/ref.h"
#include "daemon/core/uuid.h"

#define TOKEN_TEXT_SIZE 48
#define TOKEN_MAX_KEYS 16
#define TOKEN_SECRET_SIZE 32

enum token_kind { TOKEN_COMPLAINT, TOKEN_NOTIFICATION };
struct token_key {
    char id; /* one of 0-9 a-z */
    uint8_t secret[TOKEN_SECRET_SIZE];
};
struct token {
    enum token_kind kind;
    char ref[REF_TEXT_SIZE]; /* of TOKEN_COMPLAINT */
    struct uuid id;          /* of TOKEN_NOTIFICATION */
};

/* Copies at most TOKEN_MAX_KEYS; none: nothing is signed, nothing verifies. */
void token_keys_set(const struct token_key *v, size_t n);
/* The id of the key that signs; '\0' without keys. */
char token_key_current(void);

/* Signed with the key of that id, with the current one when there is none of it ('\0' is usual). "" without keys, or when `ref` is no
 * reference. Giving the key makes the text the same again after another became the current one. */
void token_complaint(const char *ref, char key, char out[TOKEN_TEXT_SIZE]);
void token_notification(const struct uuid *id, char key, char out[TOKEN_TEXT_SIZE]);
/* 0; CD_EINVAL: no token; CD_EPERM: one that no key of ours signed. */
int token_read(const char *s, size_t n, struct token *ret) CD_MUSTUSE;
/* The first token in a text, between characters that are no letters or digits, as in "care+TOKEN@example.com" or
 * "ack.TOKEN@example.com". 0; CD_EPERM: only false ones, or four of them before it; CD_ENOTFOUND. NULL has none. */
int token_find(const char *text, struct token *ret) CD_MUSTUSE;
