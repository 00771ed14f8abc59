// Package mailfile puts messages where software other than ours reads them: into
// a Maildir or an mbox file; and it keeps the spool in which programs of this
// machine leave mail for a server that is not running.
//
// Flow of [Maildir.Deliver]: the message goes into a file of tmp, which is synced,
// gets its name in new, and the directory is synced.
//
// Flow of [Mbox.Append]: (1) the file is opened, locked with fcntl and then with a
// dot lock, in the order of Debian Policy §11.6; (2) what an earlier process of
// ours left unfinished is cut off; (3) the message is written behind the end,
// quoted, and synced; (4) after an error the file is cut back to its old length.
//
// Flow of the spool: [Spool.Put] writes a file as a Maildir delivery does;
// [Spool.List] tells the server what is there, [Spool.Open] gives one message with
// its envelope, and the server calls [Spool.Remove] after it has accepted it.
//
// Invariants: a nil error means stable storage; a Maildir never shows a part of a
// message; an mbox keeps no part of a message after an error or after the death of
// the process, and after a power cut the next message begins on a line of its own;
// no link, pipe or device is written to; a spool file is believed only as far as
// its owner may speak, and a damaged one is set aside, never deleted.
//
// Line ends: CRLF becomes LF, as these formats have it. Content is changed in
// nothing else, but for the quoting of mbox.
//
// Limits: [Limits]; a spool file has an envelope of at most 1 MiB.
//
// Standards: https://cr.yp.to/proto/maildir.html (Maildir, names), Maildir++ of
// Courier (folders, ",S="), RFC 4155 appendix A (mbox) with the quoting "mboxrd",
// RFC 3501 §5.1.3 (modified UTF-7 of folder names).
package mailfile
