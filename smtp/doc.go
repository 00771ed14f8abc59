// Package smtp is the SMTP server engine: the wire and the order of commands,
// no policy and no storage. Whoever has those implements [Backend], [Session],
// [Transaction] and [Sink].
//
// Flow: (1) [Server.Serve] accepts, counts the connection against its limits
// and asks the Backend for a Session; (2) lines are read into a small buffer
// inside the [Conn], judged for length and octets, and dispatched; replies
// collect until nothing is left to be read (RFC 2920 §3.2); (3) MAIL makes the
// one Transaction, RCPT adds to it, DATA or BDAT opens its Sink; (4) content is
// read into a pooled buffer, freed of stuffed dots where it lies, checked for
// line ends and handed to the Sink in pieces; (5) [Sink.Commit] makes it
// durable and only then 250 is said.
//
// Invariants: content ends at CRLF.CRLF and nowhere else, a bare CR or LF is
// refused, and one accepted end is one Commit; a transaction is closed exactly
// once, and nothing of it survives EHLO, RSET, STARTTLS, AUTH, QUIT or its
// end; octets received before TLS are never read after it; no reply repeats
// what the client said; a panic ends one connection; no goroutine outlives
// [Server.Shutdown].
//
// Limits: see [Limits]; all are enforced while reading, before memory is taken.
// A silent client costs a goroutine and the Conn, about 2 KiB, besides TLS.
//
// Standards: RFC 5321; RFC 1870 SIZE; RFC 2034 and RFC 3463 enhanced codes, RFC
// 5248; RFC 2920 PIPELINING; RFC 3030 CHUNKING and BINARYMIME; RFC 3207
// STARTTLS; RFC 3461 and RFC 6533 DSN parameters; RFC 3848 and RFC 6531
// protocol names; RFC 4954 AUTH; RFC 6152 8BITMIME; RFC 6531 SMTPUTF8; RFC 7504
// reply 521; RFC 9422 LIMITS. Requirements SS1 to SS17 and SS19.
package smtp
