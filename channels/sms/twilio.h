#pragma once
/* Private to channels/sms: Twilio's signature of a request. Pure functions. */
#include "channels/sms/form.h"

#define TWILIO_SIGNATURE_SIZE 29 /* base64 of 20 bytes, with NUL */

/* The signature over exactly this URL and all parameters of the form (NULL: the URL alone). */
void twilio_sign(const char *token, const char *url, const struct form *f, char out[TWILIO_SIGNATURE_SIZE]);
/* Whether the signature holds for one of the URL's forms (as given, without a port, with the scheme's default
 * port; apostrophes plain or escaped) and one of two tokens, of which the second may be "". In constant time
 * as to the signature. */
bool twilio_verify(const char *token, const char *old_token, const char *url, const struct form *f,
                   const char *signature);
