// Package transfer moves mail in and out: from and to files of other software, and
// from live IMAP servers.
//
// Flow in: (1) a [Source] lists mailboxes; (2) for each, [Desk.Prepare] finds or
// makes the mailbox that it becomes; (3) the source tells its messages, and
// [Desk.Known] which of them came before; (4) the others go in batches of 256
// messages or 16 MiB, as frames, to [Desk.Put], which stages the bodies and stores
// them with the rows of the journal in one commit. [Import] drives the four; it runs
// where the source can be read, the Desk where the store is, and the control socket
// is between them.
//
// Flow out: [Desk.Mailboxes], [Desk.List] and [Desk.Bodies] give mailboxes, messages
// and octets; [Export] writes them as Maildir, mbox, files or zip.
//
// Invariants: what Put reported is on stable storage, and is not imported again; a
// move that was cut off at any moment goes on without a duplicate and without a gap;
// two messages with the same octets are two messages; UIDs and UIDVALIDITY are kept
// only where nobody could have seen them mean something else (IM9); what is changed
// or left out is told. Bodies are streamed, never held.
//
// Limits: [Batch]; a frame has 64 KiB at most, what is told of a message 256 KiB; a
// batch at the desk 1,024 messages.
//
// Standards: RFC 9051, RFC 3501 and RFC 6154 (special use) as a client; RFC 4155
// (mbox); RFC 1939 §7 (unique-ids).
package transfer
