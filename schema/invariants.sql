-- Every row that this returns is a fault: (invariant, id, detail). On a healthy database it returns none.
select 'receipt without complaint' as invariant, r.id, r.outcome as detail
    from complaintd.receipts r left join complaintd.complaint c on c.id = r.complaint_id
    where r.outcome in ('new', 'follow-up') and c.id is null
union all
select 'receipt without message', r.id, r.outcome
    from complaintd.receipts r left join complaintd.messages m on m.id = r.id
    where r.outcome not in ('duplicate', 'pending', 'control', 'spooled') and m.id is null
union all
select 'pending receipt without envelope', r.id, r.channel
    from complaintd.receipts r left join complaintd.pending p on p.id = r.id where r.outcome = 'pending' and p.id is null
union all
select 'envelope whose receipt is not pending', p.id, r.outcome
    from complaintd.pending p left join complaintd.receipts r on r.id = p.id where r.outcome is distinct from 'pending'
union all
select 'incoming message without receipt', m.id, m.channel
    from complaintd.messages m left join complaintd.receipts r on r.id = m.id where m.direction = 'in' and r.id is null
union all
select 'two receipts of one envelope', r.id, count(*)::text from complaintd.receipts r group by r.id having count(*) > 1
union all
select 'unknown receipt outcome', r.id, r.outcome from complaintd.receipts r
    where r.outcome not in ('new', 'follow-up', 'duplicate', 'auto-reply', 'bounce', 'bulk', 'own', 'control', 'pending', 'spooled')
union all
select 'unknown word', c.id, concat_ws(' ', c.status, c.outcome, c.priority) from complaintd.complaint c
    where c.status not in ('new', 'open', 'waiting', 'resolved', 'closed') or c.priority not in ('critical', 'high', 'normal', 'low')
       or c.outcome not in ('upheld', 'partly-upheld', 'rejected', 'withdrawn', 'not-a-complaint', 'duplicate')
union all
select 'unknown word', m.id, m.direction from complaintd.messages m where m.direction not in ('in', 'out')
union all
select 'unknown word', n.id, concat_ws(' ', n.class, n.state) from complaintd.notifications n
    where n.class not in ('statutory', 'operational', 'courtesy')
       or n.state not in ('pending', 'sending', 'sent', 'delivered', 'failed', 'unknown', 'suppressed', 'expired', 'dead')
union all
select 'complaint without its first message', c.id, c.ref
    from complaintd.complaint c left join complaintd.messages m on m.id = c.id where m.id is null
union all
select 'message older than its complaint says', m.id, c.ref
    from complaintd.messages m join complaintd.complaint c on c.id = m.complaint_id where m.id < coalesce(c.first_id, c.id)
union all
select 'complaint without receipt', c.id, c.ref
    from complaintd.complaint c left join complaintd.receipts r on r.id = c.id where r.id is null or r.complaint_id <> c.id
union all
select 'complaint without timers', c.id, c.ref
    from complaintd.complaint c left join complaintd.timers t on t.complaint_id = c.id where t.complaint_id is null
union all
select 'complaint without customer row', c.id, c.ref
    from complaintd.complaint c left join complaintd.customers u on u.id = c.customer_id
    where c.customer_id is not null and u.id is null
union all
select 'handle without customer', h.customer_id, left(h.handle, 5)
    from complaintd.customer_handles h left join complaintd.customers u on u.id = h.customer_id where u.id is null
union all
select 'thread key without complaint', k.complaint_id, encode(k.key, 'hex')
    from complaintd.thread_keys k left join complaintd.complaint c on c.id = k.complaint_id where c.id is null
union all
select 'attachment without message', a.message_id, a.n::text
    from complaintd.attachments a left join complaintd.messages m on m.id = a.message_id where m.id is null
union all
select 'attachment outside its message', a.message_id, a.n::text
    from complaintd.attachments a join complaintd.messages m on m.id = a.message_id
    where a.raw_offset < 0 or a.raw_length < 0 or a.raw_offset + a.raw_length > length(m.raw)
union all
select 'text separated in part', m.id, left(m.body, 40)
    from complaintd.message m
    where (m.text_new is null) <> (m.text_quoted is null) or length(m.text_new) > length(m.body) or length(m.text_quoted) > length(m.body)
union all
select 'unknown word', a.message_id, a.kind from complaintd.attachments a
    where a.kind not in ('file', 'inline', 'message', 'calendar', 'signature', 'encrypted', 'container')
union all
select 'member of no container', a.message_id, a.n::text
    from complaintd.attachments a where a.member is not null and not exists (select from complaintd.attachments c
        where c.message_id = a.message_id and c.raw_offset = a.raw_offset and c.member is null and c.kind = 'container')
union all
select 'unknown word', m.id, m.security from complaintd.messages m
    where m.security not in ('smime-signed', 'smime-encrypted', 'pgp-signed', 'pgp-encrypted')
union all
select 'scan without message', s.message_id, s.verdict
    from complaintd.scans s left join complaintd.messages m on m.id = s.message_id where m.id is null
union all
select 'unknown word', s.message_id, s.verdict from complaintd.scans s where s.verdict not in ('clean', 'unscanned', 'suspect', 'quarantined')
union all
select 'scanned message that would be checked again', s.message_id, s.verdict
    from complaintd.scans s where s.verdict in ('clean', 'quarantined') and s.next_attempt_at is not null
union all
select 'notification without complaint', n.id, n.purpose
    from complaintd.notifications n left join complaintd.complaint c on c.id = n.complaint_id where c.id is null
union all
select 'notification sent twice under one key', min(n.id::text)::uuid, n.idempotency_key
    from complaintd.notifications n group by n.idempotency_key having count(*) > 1
union all
select 'two acknowledgements of one complaint', n.complaint_id, count(*)::text
    from complaintd.notifications n where n.purpose = 'acknowledgement' group by n.complaint_id having count(*) > 1
union all
select 'sent without a time', n.id, n.state from complaintd.notifications n where n.state in ('sent', 'delivered') and n.sent_at is null
union all
select 'step due in the past that next_at does not show', t.complaint_id, t.next_at::text
    from complaintd.timers t
    where t.next_at is distinct from complaintd.timer_next(t)
union all
select 'step arrays that do not fit each other', t.complaint_id, t.step_fired::text
    from complaintd.timers t
    where array_lower(t.step_fired, 1) <> 1 or array_lower(t.step_stopped, 1) <> 1 or array_lower(t.step_reason, 1) <> 1
       or cardinality(t.step_fired) > coalesce(array_length(t.steps, 1), 0) or cardinality(t.step_stopped) not in (0, coalesce(array_length(t.steps, 1), 0))
       or cardinality(t.steps) <> 4 * coalesce(array_length(t.steps, 1), 0)
union all
select 'gap in the event chain', e.complaint_id, e.seq::text
    from (select complaint_id, seq, prev_hash, hash, lag(hash, 1, '\x'::bytea) over w as before, lag(seq, 1, 0) over w as seq_before
          from complaintd.event window w as (partition by complaint_id order by seq)) e
    where e.seq <> e.seq_before + 1 or e.prev_hash <> e.before
union all
select 'event with a wrong hash', e.complaint_id, e.seq::text
    from complaintd.event e
    where e.hash <> complaintd.event_hash(e.prev_hash, e.id, e.seq, e.at, e.actor, e.kind, e.data)
union all
select 'event of a transaction that has not been', e.id, e.xid::text
    from complaintd.event e where e.xid >= pg_snapshot_xmax(pg_current_snapshot())
union all
select 'complaint without events', c.id, c.ref
    from complaintd.complaint c left join complaintd.event e on e.complaint_id = c.id and e.seq = 1 where e.id is null
union all
select 'state of which its events do not tell', c.id, concat_ws(' ', c.ref, c.status)
    from complaintd.complaint c where complaintd.state_told(c.id) is distinct from c.status
union all
select 'first event of another complaint', e.complaint_id, e.id::text from complaintd.event e where e.seq = 1 and e.id <> e.complaint_id
union all
select 'event that is not what a day was closed with', k.complaint_id, k.seq::text
    from complaintd.closed_heads k left join complaintd.event e on e.complaint_id = k.complaint_id and e.seq = k.seq
    where e.hash is distinct from k.hash
union all
select 'closing that does not hold', null, b ->> 'closing' from complaintd.closing_broken(0, 1000000000) b where b is not null
union all
select 'unknown word', coalesce(a.notification_id, '00000000-0000-0000-0000-000000000000'), a.state from complaintd.addresses a
    where a.state not in ('hard', 'soft')
union all
select 'address marked by no notification', coalesce(a.notification_id, '00000000-0000-0000-0000-000000000000'), a.state
    from complaintd.addresses a left join complaintd.notifications n on n.id = a.notification_id where a.state is not null and n.id is null
union all
select 'two tasks of one address and contact', min(n.id::text)::uuid, n.recipient from complaintd.notifications n where n.purpose = 'undeliverable'
    group by n.complaint_id, n.payload ->> 'address', n.transport, n.recipient having count(*) > 1
union all
select 'acknowledged by what came back', c.id, c.ref from complaintd.complaint c
    join complaintd.notifications n on n.complaint_id = c.id and n.purpose = 'acknowledgement' and n.state = 'failed'
    where c.acknowledged_at = n.sent_at
union all
select 'breaker told of without being open', null, b.name from complaintd.breakers b where b.open_since is null and b.told_at is not null
union all
select 'merged into what is not there or merged itself', c.id, c.ref
    from complaintd.complaint c left join complaintd.complaint o on o.id = c.merged_into
    where c.merged_into is not null and (o.id is null or o.merged_into is not null or o.id = c.id)
union all
select 'merged, but not closed as a duplicate', c.id, concat_ws(' ', c.status, c.outcome)
    from complaintd.complaint c where c.merged_into is not null and (c.status <> 'closed' or c.outcome is distinct from 'duplicate')
union all
select 'merged, but its clocks run', c.id, t.next_at::text
    from complaintd.complaint c join complaintd.timers t on t.complaint_id = c.id where c.merged_into is not null and t.next_at is not null
union all
select 'message of a complaint that was merged', m.id, c.ref
    from complaintd.messages m join complaintd.complaint c on c.id = m.complaint_id where c.merged_into is not null
union all
select 'first message of a complaint lies with another', c.id, c.ref
    from complaintd.complaint c join complaintd.messages m on m.id = c.id where m.complaint_id is distinct from coalesce(c.merged_into, c.id)
union all
select 'waiting without an end', c.id, c.ref from complaintd.complaint c where c.status = 'waiting' and c.state_until is null
union all
select 'done, but not when or how', c.id, concat_ws(' ', c.status, c.outcome) from complaintd.complaint c
    where (c.status in ('resolved', 'closed') and (c.resolved_at is null or c.outcome is null)) or (c.status = 'closed') <> (c.closed_at is not null)
union all
select 'reply that is not among the messages', n.id, n.payload ->> 'message' from complaintd.notifications n
    left join complaintd.message m on m.id = (n.payload ->> 'message')::uuid and m.direction = 'out' where n.purpose = 'reply' and m.id is null
union all
select 'outgoing message that nobody sends', m.id, m.channel from complaintd.messages m
    where m.direction = 'out' and not exists (select from complaintd.notifications n where n.idempotency_key = 'reply.' || m.id)
union all
select 'alias that leads nowhere', r.complaint_id, r.ref
    from complaintd.ref_aliases r left join complaintd.complaint c on c.id = r.complaint_id where c.id is null or c.merged_into is not null
union all
select 'link to what is not there', l.complaint_id, l.kind
    from complaintd.links l left join complaintd.complaint c on c.id = l.complaint_id left join complaintd.complaint o on o.id = l.other_id
    where c.id is null or o.id is null
union all
select 'complaint with somebody it is about', c.id, concat_ws(' ', c.ref, c.assignee) from complaintd.complaint c where c.assignee = any (c.about)
union all
select 'complaint with a team it is about', c.id, concat_ws(' ', c.ref, c.team)
    from complaintd.complaint c where c.team = any (c.about) and c.decision::jsonb ->> 'team_from' is distinct from 'nobody-else'
union all
select 'absence that ends before it begins', null, a.who from complaintd.absences a where a.until_at <= a.from_at
union all
select 'told of a complaint that nobody was given', n.id, n.recipient from complaintd.notifications n
    where n.purpose = 'assigned' and not exists (select from complaintd.event e where e.complaint_id = n.complaint_id and e.kind = 'assigned')
union all
select 'customer without a handle', u.id, null
    from complaintd.customers u where not exists (select from complaintd.customer_handles h where h.customer_id = u.id)
union all
select 'unknown word', v.customer_id, v.driver from complaintd.vulnerable_customers v
    where v.driver not in ('health', 'life-event', 'resilience', 'capability')
union all
select 'flag, reading or log of no customer', x.customer_id, x.what from (
    select v.customer_id, 'vulnerable' as what from complaintd.vulnerable_customers v
    union all select r.customer_id, 'read' from complaintd.flag_reads r
    union all select l.customer_id, l.flag from complaintd.customer_log l) x
    left join complaintd.customers u on u.id = x.customer_id where u.id is null
union all
select 'flag vulnerable that nobody set', v.customer_id, v.actor from complaintd.vulnerable_customers v
    where not exists (select from complaintd.customer_log l where l.customer_id = v.customer_id and l.flag = 'vulnerable' and l.action = 'set')
union all
select 'words of a message that is elsewhere', w.message_id, w.complaint_id::text
    from complaintd.search w left join complaintd.message m on m.id = w.message_id and m.complaint_id = w.complaint_id where m.id is null
union all
select 'degraded, though all its messages were read in full', c.id, c.ref
    from complaintd.complaint c where c.degraded and cardinality(complaintd.degraded_messages(c.id)) = 0
union all
select 'message that was not read in full in a complaint that does not say so', m.id, c.ref
    from complaintd.event e join complaintd.message m on m.id = e.id and m.direction = 'in' join complaintd.complaint c on c.id = m.complaint_id
    where e.data like '%"degraded"%' and e.kind <> 'reread' and e.data::jsonb ? 'degraded' and not c.degraded
      and not exists (select from complaintd.event r where r.kind = 'reread' and r.data::jsonb ->> 'result' = 'whole'
                      and r.data::jsonb ->> 'message' = m.id::text)
order by 1, 2;
