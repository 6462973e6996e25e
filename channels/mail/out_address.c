/* Recipients' addresses on their way out. A domain outside ASCII is written as the DNS has it (IDNA 2008, RFC
 * 5891), so that only a local part outside ASCII asks for a relay that knows SMTPUTF8 (RFC 6531). Results are
 * the caller's; what is no address, or has no such form, gives NULL. */
#include "channels/mail/out_message.h"

#include <idn2.h>
#include <string.h>

#include "daemon/intake/handle.h"

bool mail_address_ascii(const char *address)
{
    for (; *address; address++)
        if ((unsigned char)*address >= 0x80)
            return false;
    return true;
}

char *mail_address_on_wire(const char *address)
{
    const char *at = address ? strrchr(address, '@') : NULL;
    char *domain = NULL, *r = NULL;

    if (!at || !mail_address_valid(address, strlen(address), true))
        return NULL;
    if (mail_address_ascii(at))
        return cd_strdup(address);
    if (idn2_to_ascii_8z(at + 1, &domain, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL) == IDN2_OK)
        r = cd_asprintf("%.*s@%s", (int)(at - address), address, domain);
    idn2_free(domain);
    if (r && !mail_address_valid(r, strlen(r), true)) {
        free(r);
        r = NULL;
    }
    return r;
}
