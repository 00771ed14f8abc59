// Package smtp speaks SMTP and LMTP: the wire and the order of commands, no
// policy and no storage. The server, which this text is about, is for whoever
// implements [Backend], [Session], [Transaction] and [Sink]; [Client] is the
// other side.
//
// Flow: (1) [Server.Serve] accepts, reads the PROXY header of listed peers,
// counts the client against its limits and asks the Backend for a Session; (2)
// lines are read into a small buffer inside the [Conn], judged for length and
// octets, and dispatched; replies collect until nothing is left to be read (RFC
// 2920 §3.2); (3) MAIL makes the one Transaction, RCPT adds to it, DATA, BDAT or
// BURL opens its Sink; (4) content is read into a pooled buffer, freed of stuffed
// dots where it lies, checked for line ends and handed to the Sink in pieces,
// whether it came from the client or from a URL; (5) [Sink.Commit] makes it
// durable and only then 250 is said, in LMTP once for each recipient.
//
// Invariants: content ends at CRLF.CRLF and nowhere else, a bare CR or LF is
// refused, and one accepted end is one Commit; a transaction is closed exactly
// once, and nothing of it, nor what XFORWARD told about it, survives EHLO, RSET,
// STARTTLS, AUTH, XCLIENT, QUIT or its end; a message never goes on without a
// piece that failed; octets received before TLS are never read after it; a client
// is who the socket says unless a listed peer tells another; no reply repeats
// what the client said; a panic ends one connection; no goroutine outlives
// [Server.Shutdown]. A test compares all sequences of a few commands with a model.
//
// The client: [NewClient] hears the greeting and what EHLO offers, [Client.StartTLS]
// and [Client.Auth] ask again, and [Client.Send] carries out one transaction in
// as few flights as the server allows: MAIL, all RCPT and DATA at once, or the
// content by BDAT in chunks. Commands are made from typed values only; content
// leaves with CRLF line ends, and in DATA with stuffed dots; every reply that
// decides something is kept word for word. What was sent and not answered is said
// to be unknown.
//
// Extensions: PIPELINING, SIZE, 8BITMIME, SMTPUTF8, ENHANCEDSTATUSCODES, CHUNKING
// and LIMITS are always there. The others are announced, and their parameters
// and commands known, where [Options] says so, of these REQUIRETLS under TLS
// only, STARTTLS and AUTH where they can be used, and XCLIENT and XFORWARD to
// listed peers only; FUTURERELEASE, ETRN and BURL are not for LMTP.
//
// Limits: see [Limits]; all are enforced while reading, before memory is taken.
// A PROXY header has at most 4 KiB, its first version 107 octets; an attribute of
// XCLIENT 255 octets. A silent client costs a goroutine and the Conn, about 2
// KiB, besides TLS.
//
// Standards: RFC 5321; RFC 6409 (what of it is the engine's); RFC 2033 LMTP; RFC
// 1870 SIZE; RFC 1985 ETRN; RFC 2034 and RFC 3463 enhanced codes, RFC 5248; RFC
// 2852 DELIVERBY; RFC 2920 PIPELINING; RFC 3030 CHUNKING and BINARYMIME; RFC 3207
// STARTTLS; RFC 3461 and RFC 6533 DSN parameters; RFC 3848 and RFC 6531 protocol
// names; RFC 3865 NO-SOLICITING; RFC 4468 BURL; RFC 4865 FUTURERELEASE; RFC 4954
// AUTH; RFC 6152 8BITMIME; RFC 6531 SMTPUTF8; RFC 6710 MT-PRIORITY; RFC 7293 RRVS;
// RFC 7504 reply 521; RFC 8689 REQUIRETLS; RFC 9422 LIMITS; XCLIENT and XFORWARD
// as Postfix, PROXY 1 and 2 as HAProxy document them. Requirements SS1 to SS8,
// SS10 to SS17, SS19 and SS23.
package smtp
