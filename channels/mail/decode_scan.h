#pragma once
/* The look over a raw message before the MIME library sees it: counts what would cost memory out of
 * proportion (parts, header fields, header bytes, parameters) and prepares the bytes to be parsed, the "view". Where a
 * header block is over budget or broken in a way that would lose text, the view is an edited copy, and in
 * small mails without the header fields of the transport, too; else it is the raw message itself. Every
 * place in it can be told as a place in the raw message. Contents are always decoded from the raw message,
 * never from the view. */
#include "daemon/core/buf.h"

#define SCAN_MAX_PARTS 500
#define SCAN_MAX_FIELD CD_KIB(32)       /* one header field with its continuations */
#define SCAN_MAX_BLOCK ((size_t)100000) /* one header block */
#define SCAN_MAX_HEADERS CD_MIB(1)      /* all header blocks of a message together */
#define SCAN_MAX_BLOCK_FIELDS 2000
#define SCAN_MAX_FIELDS 20000
#define SCAN_MAX_PARAMS 100 /* of one Content-Type or Content-Disposition; a name cut into pieces by RFC 2231 has dozens */

enum view_flag {
    VIEW_PARTS = 1 << 0,   /* more than SCAN_MAX_PARTS: the view ends before the first that is too many */
    VIEW_HEADERS = 1 << 1, /* header fields were cut or left out */
    VIEW_PARAMS = 1 << 2,  /* a field with more than SCAN_MAX_PARAMS parameters was cut */
};

struct view_segment {
    size_t view, raw; /* where it begins in the view and in the raw message */
};

struct mail_view {
    const uint8_t *data; /* what is to be parsed: borrowed from raw, or from one of the copies below */
    size_t len;
    unsigned flags;
    size_t body; /* in raw: behind the first header block */
    size_t cut;  /* in raw: where the view ends; the raw length when all is in it */
    struct buf same, edited;
    struct view_segment *segments;
    size_t nsegments;
    /* while it is made */
    const uint8_t *base; /* the raw bytes, mended where their number stays the same */
    size_t done;         /* raw bytes before this are in the edited copy, or left out */
    bool is_edited;
};

/* `raw` must outlive the view. 0, or CD_ENOMEM. */
int mail_view_init(struct mail_view *v, const void *raw, size_t n) CD_MUSTUSE;
void mail_view_free(struct mail_view *v);
size_t mail_view_to_raw(const struct mail_view *v, size_t offset);

/* ---- between decode_view.c and decode_scan.c ---- */

void mail_scan(struct mail_view *v); /* counts and edits */
void mail_view_leave_out(struct mail_view *v, size_t from, size_t to);
void mail_view_insert(struct mail_view *v, size_t at, const char *text);
