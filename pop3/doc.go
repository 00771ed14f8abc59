// Package pop3 is the server side of POP3: it reads commands, keeps the protocol's
// state, asks a [Session] for the login and a [Maildrop] for the rest, and prints the
// answers. It knows no storage and no policy.
//
// Flow: (1) [Server] accepts a connection, counts it, and asks Options.NewSession for
// its Session; (2) a line is read under its limit and its command found in the table;
// (3) USER and PASS, APOP or AUTH ask the Session, which locks the maildrop and opens
// it; (4) RETR lets the Maildrop write the octets of a message into a sender, which
// looks at the header, doubles the dots that begin lines and ends the message;
// (5) output is gathered and written in pieces of 64 KiB, and when no more input is
// waiting, so that pipelined commands are answered together; (6) QUIT gives the
// Maildrop what was deleted and what was retrieved, in one call.
//
// Invariants: commands take effect in the order in which they came (IM7); only QUIT
// changes anything, in one commit (IM12); a connection that breaks, is silent for too
// long or meets the end of the server has changed nothing; a message is sent
// octet for octet: a client that joins the lines, takes one dot away from those
// that begin with one, and takes away a last CRLF that the message does not have, holds
// what is stored, and its size is that of LIST; a panic ends one connection (G4).
//
// Lines of a message end with LF, with or without CR, as most clients read them: a
// bare LF before a dot cannot end a message early. In ASCII mode the header of a
// message in UTF-8 is replaced by that of its surrogate (RFC 6858), whose size LIST does not
// tell (§4 there allows it).
//
// Limits: see [Limits]; they are those of security IM1, IM4 to IM6 and IM12. While a
// client is silent a connection holds no output buffer, and after a second the
// Maildrop is asked to give back what it read ahead.
//
// Standards: RFC 1939 with APOP, TOP and UIDL; RFC 2449 (CAPA; PIPELINING, RESP-CODES,
// LOGIN-DELAY, EXPIRE, IMPLEMENTATION), RFC 2595 §4 (STLS), RFC 3206 (SYS and AUTH),
// RFC 5034 (AUTH), RFC 6856 (UTF8, LANG), RFC 6858 (surrogates), RFC 8314 (implicit TLS).
package pop3
