// Package sasl holds SASL mechanisms as small state machines. It knows no
// protocol and no store: a protocol engine feeds it what the other side said,
// decoded from base64. An [Authenticator] is the server's side and asks the
// directory; a [Client], which [ChooseClient] picks from what a server offers, is
// the other one.
//
// Flow of the server: (1) an engine announces [Authenticator.Mechanisms]; (2) the client
// names one and [Authenticator.Start] gives a [Server]; (3) each response goes
// into [Server.Next], which gives a challenge, success or an error; (4) after
// success [Server.Identity] is the canonical name that the directory returned.
//
// Invariants: a Server that failed or succeeded never succeeds again; no
// credential outlives the exchange; user names and passwords are valid UTF-8
// without control characters; what the directory says about unknown users and
// wrong passwords passes through unchanged.
//
// Limits: 16 KiB and 10 responses per exchange, user names of 255 octets and
// passwords of 1,024 (AU4).
//
// Standards: RFC 4422 (framework), RFC 4616 (PLAIN), draft-murchison-sasl-login
// (LOGIN), RFC 4648 §4 (base64, strict as RFC 4954 §4 wants it).
package sasl
