#pragma once
/* A guess at the language of a message, for the choice of a template and for rules. */

/* "en", "zh", "ja" or "und", static; `subject` may be "" and both must be valid UTF-8. Looks at the first 8 kB of each. */
const char *language_guess(const char *subject, const char *text);
