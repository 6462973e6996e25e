#pragma once
/* The ledger's keys (design 5.5): what makes two deliveries the same. Pure functions over raw bytes, used alike by front and worker. */
#include "daemon/intake/envelope.h"

/* Mail: finds Message-ID (without <>; "none" when absent, over 255 bytes or not printable), and the SHA-256 over the raw
 * From, Date and Subject fields and the body, without trace headers and recipients. */
void keys_of_mail(const void *raw, size_t n, char **ret_key, uint8_t digest[SHA256_SIZE]);
/* The digest of sms, line and web content. */
void keys_of_text(const void *p, size_t n, uint8_t digest[SHA256_SIZE]);
/* The unique key in the ledger: SHA-256 over channel and key, for mail over the digest as well, cut to 16 bytes. */
#define LEDGER_KEY_SIZE 16
void keys_ledger(const struct envelope *e, uint8_t out[LEDGER_KEY_SIZE]);
/* The key of a Message-ID in thread_keys: SHA-256 of the id without <>, cut to 16 bytes. */
void keys_thread(const char *message_id, uint8_t out[LEDGER_KEY_SIZE]);
