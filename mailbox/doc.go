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
// Who may do what: a handle is the program's own ([Store.Account]) or a viewer's
// ([Store.AccountFor]): the owner or a guest. Every method asks [Account.may] with
// the access list of the newest state, within the transaction where there is one, by
// the table in rights.go; without a role everything is denied. A guest sees states
// through a lens: only mailboxes on which he has l, and chunks that share
// all columns with the owner's but flags and mod-sequences, in which \Seen is
// his own (private.go, lens.go). Emails he reads only by numbers that are in a
// mailbox he has opened and may still read.
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
//	A mailbox           the access list, when there is one
//	V mailbox viewer    what a guest has of his own: subscription, marks of \Seen
//	N mailbox viewer name   metadata; mailbox 0: beside mailboxes, viewer 0: shared
//	J                   the manifest of the index: its segments, and the email up to which they reach
//	J number kind page  a row of a segment: head, terms, postings; CRC-32C behind it
//	G source item       the journal of what moved in from elsewhere; without item the source
//	O name              the greatest UIDVALIDITY that the name had with another mailbox
//	X                   the account was removed and is being swept
//
// and beside accounts:
//
//	'w' 'a' viewer owner mailbox     index of shares, for one account
//	'w' 'd' domain 0 owner mailbox   the same, for everybody of a domain
//	'w' 'n' name                     metadata that the server shares with all
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
//   - The index never changes what a search finds. Segments are immutable; the
//     manifest that names one is in the commit of its last rows.
//   - The thread of an email never changes; see thread.go.
//   - A mailbox on which a viewer has no l is answered as one that does not exist
//     (AU8). A change of rights holds for the next call on any handle.
//   - What a guest saw changes flags and mod-sequences for him alone; they never go
//     back for him either. A message that is new in a mailbox is unseen for all
//     guests but the one who put it there as seen.
//   - Access lists, index of shares, marks and metadata are written in the commit of
//     their log record. An index row may be stale after a removal; it gives no right.
//   - A move between accounts, and a replacement, are one commit (IM8).
//
// Locks: Store.mu guards the table of accounts, shared.mu the states of one;
// neither is held during a transaction of kv, except shared.mu while a view
// is read. Notices are called without locks.
//
// Limits: [Limits]; 256 marks before neighbours are joined, more only where seen and
// unseen alternate; 32 MiB of rows in one step between accounts. A guest is told
// of mod-sequences that the owner's \Seen moved, with flags as they were. 251
// keywords in a mailbox; messages up to 4 GiB - 1. Dates
// are kept to the second, INTERNALDATE in UTC. A store has one process.
//
// Standards: RFC 9051 (mailboxes §5.1, §6.3; UIDs §2.3.1; flags §2.3.2; search
// §6.4.4), RFC 7162 (CONDSTORE, QRESYNC), RFC 6851 (MOVE), RFC 6154 (special
// use), RFC 8474 (object ids), RFC 8514 (SAVEDATE), RFC 5256 (SORT and THREAD §2,
// §3), RFC 5957 (DISPLAYFROM, DISPLAYTO), RFC 6203 §6 (RELEVANCY), RFC 5255 §4,
// RFC 4314 (ACL), RFC 5464 (METADATA), RFC 8508 (REPLACE), RFC 9208 (QUOTA),
// RFC 5051 and RFC 4790 §9 (collations).
package mailbox
