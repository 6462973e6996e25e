-- Threads: names that stay the same when a mail is sent again, reasons that are kept, and complaints that people split and merge.

-- The key that signed what stands in a notification (daemon/intake/token.h), by its id: set when it is first claimed, so that it goes out
-- with the same Message-ID and the same reply address again, whatever key is the current one by then. Null: nothing in it is signed.
alter table complaintd.notifications add column signed_with text;
