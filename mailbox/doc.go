// Package mailbox keeps accounts: their mailboxes, messages, flags, threads and
// quotas. It knows no protocol; imapd, jmapd and deliver stand on it.
//
// Flow of a change:
//
//  1. [Store.Deliver], or a method of [Account], runs in one kv transaction
//     with the account's scope. It reads the account's row and the mailbox's row.
//  2. Each change takes the account's next [ModSeq] and appends one record
//     ([Change]) to the log: appended, flags changed, expunged, mailbox created
//     and so on. Counters and quota are written in the same batch.
//  3. What a message is (blob, envelope, structure, index, summary) is written
//     once as email rows; its copies in mailboxes share them.
//  4. After the commit the new state is published to all handles, and those who
//     asked for it are notified. Deliveries are published by [Batch.Committed];
//     what other transactions change is noticed by [Store.Run].
//  5. In the background Run folds the log's tail into chunks, columns of up to
//     512 messages, trims the log, and sweeps emails that no mailbox holds.
//
// Flow of reading: [Account.Open] reads the chunks of a mailbox and replays the
// log's tail; all views share the columns. A [Snapshot] is immutable: flags,
// UIDs, dates, sizes come from memory. [Account.Emails] reads email rows in
// pages, [Account.OpenBody] the octets, [Account.Search] columns first, then
// summaries, then texts. [Account.Sort] and [Account.Thread] take what they
// compare from the summaries once and keep it, collated, for the next time.
//
// Keys, behind 'a' and eight octets of account:
//
//	H                   the account: positions of the log, next numbers, quota, counters
//	M mailbox           a mailbox: name, UIDVALIDITY, UIDNEXT, counters, keyword table
//	U name              a subscription
//	L modseq            a record of the log
//	P mailbox UID>>9    unique-ids of POP3 that messages brought from elsewhere
//	C mailbox UID>>9    a chunk, stamped with the modseq up to which it is true
//	E email             blob, size, thread, prefix, ENVELOPE, BODYSTRUCTURE
//	I email             the encoded message.Index
//	S email             the [Summary]: what searching, sorting and threading need
//	T hash              the thread of a message-id or of a base subject
//	X                   the account was removed and is being swept
//
// Values begin with a version octet. E rows lie behind one another by number, so
// that FETCH of envelopes is one scan without decoding.
//
// Invariants:
//
//   - The log is the truth: chunks are what its records give. A checkpoint that
//     is lost or cut short costs nothing.
//   - Nothing is shown that a power cut could take back: states are published
//     only when they are durable (IM8).
//   - UIDs, UIDVALIDITY, mod-sequences, mailbox, email and thread numbers never
//     repeat or go back (IM9); a name that is used again gets a greater
//     UIDVALIDITY.
//   - Used quota is the sum over all mailboxes, counted in the batch of the
//     change (IM13); nothing is stored beyond the limit.
//   - The octets of an email are its prefix and its blob, exactly.
//   - The thread of an email never changes; see thread.go.
//
// Locks: Store.mu guards the table of accounts, shared.mu the states of one;
// neither is held during a transaction of kv, except shared.mu while a view
// is read. Notices are called without locks.
//
// Limits: [Limits]; 251 keywords in a mailbox; messages up to 4 GiB - 1. Dates
// are kept to the second, INTERNALDATE in UTC. A store has one process.
//
// Standards: RFC 9051 (mailboxes §5.1, §6.3; UIDs §2.3.1; flags §2.3.2; search
// §6.4.4), RFC 7162 (CONDSTORE, QRESYNC), RFC 6851 (MOVE), RFC 6154 (special
// use), RFC 8474 (object ids), RFC 8514 (SAVEDATE), RFC 5256 (SORT and THREAD §2,
// §3), RFC 5957 (DISPLAYFROM, DISPLAYTO), RFC 6203 §6 (RELEVANCY), RFC 5255 §4,
// RFC 5051 and RFC 4790 §9 (collations).
package mailbox
