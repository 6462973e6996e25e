-- What signs the names in reply addresses, Message-IDs and envelope senders (daemon/intake/token.h) beside the keys of the configuration:
-- every instance on this database has it, so that signing works without anything written down. Nobody but the owner may read it.
create table complaintd.secrets (
    name text primary key,
    secret bytea not null
);
insert into complaintd.secrets values ('token', sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())));
