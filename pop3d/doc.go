// Package pop3d is the desk where the POP3 engine meets the mailboxes: it implements
// pop3.Session and pop3.Maildrop on directory and mailbox.
//
// Flow of a session:
//  1. The engine calls [Desk.NewSession] for a connection; Login, or Authenticate
//     and Bind, asks the directory.
//  2. The user's maildrop is locked and INBOX opened: the snapshot of that moment is
//     the maildrop. What comes or goes later is not seen.
//  3. Retrieve reads one message; who asks for the next ones in turn gets them read
//     ahead, a page at a time. No transaction is open while it writes.
//  4. Update removes what was deleted and gives \Seen to the rest of what was
//     retrieved, in one commit (IM12). Without it nothing changes.
//
// Invariants: one session holds a maildrop at a time, over all listeners that share
// the desk; a session reaches only the account that it logged in to (AU8);
// octets of a message are those that were stored (PA7); a unique-id is that of
// the message for as long as it is in INBOX: UIDVALIDITY and UID, or what it had on the
// server that it came from.
//
// Limits: those of the engine; one page of messages in memory while a client reads
// them in turn, nothing while it is silent.
//
// Standards: RFC 1939 §5 to §7, RFC 2449 §6.5 and §8.1 (LOGIN-DELAY, IN-USE).
package pop3d
