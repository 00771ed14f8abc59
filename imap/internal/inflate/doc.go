// Package inflate decompresses a DEFLATE stream that comes in pieces and never
// waits for the next one.
//
// Flow: (1) [Reader.Fill] reads what a connection has; (2) [Reader.Read] turns it to
// octets until it wants more, goes back to where the unfinished symbol began and says so;
// (3) the caller waits as it would for plain octets, which may last hours, and
// fills again. A decoder that reads for itself cannot be left in the middle of a symbol,
// and shows what a client's partial flush ended only with what follows.
//
// Invariants: between calls nothing is held but unfinished input and the window, which
// is as long as the stream was, up to 32 KiB; a stream that is not well formed gives
// [ErrCorrupt] and nothing after it.
//
// Limits: security IM11: what becomes more than 1,000 times as long, counted for
// each 1 MiB of output, is [ErrBomb].
//
// Standards: RFC 1951; RFC 4978 (IMAP COMPRESS).
package inflate
