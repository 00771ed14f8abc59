// Package sasl holds SASL mechanisms as small state machines. It knows no
// protocol and no store: a protocol engine feeds it what the other side said,
// decoded from base64. An [Authenticator] is the server's side and asks the
// directory; a [Client], which [ChooseClient] picks from what a server offers, is
// the other one.
//
// Why SCRAM is written here and not taken from a library: the one that was looked
// at (xdg-go/scram 1.4.0, which the tests meet on both sides) takes proofs in more
// than one base64 form, computes whatever iteration count a server asks for, fixes
// the type of channel binding before the client has said which one it uses, and
// finds tls-server-end-point on the client's side only.
//
// Flow of the server: (1) an engine announces [Authenticator.Mechanisms]; (2) the client
// names one and [Authenticator.Start] gives a [Server]; (3) each response goes
// into [Server.Next], which gives a challenge, success or an error; (4) after
// success [Server.Identity] is the canonical name that the directory returned.
//
// Invariants: a Server that failed or succeeded never succeeds again; no
// credential outlives the exchange; user names and passwords are valid UTF-8
// without control characters; what the directory says about unknown users and
// wrong passwords passes through unchanged. A message means one thing in one form:
// no octet of a SCRAM exchange can be changed. Channel binding that is offered
// cannot be talked away. A client takes success only from a server that proved
// what its mechanism makes it prove, and gives no password away in clear.
//
// Limits: 16 KiB, 10 responses and 60 s per exchange, user names of 255 octets and
// passwords of 1,024 (AU4); clients compute 4,096 to 1,000,000 iterations.
//
// Standards: RFC 4422 (framework, EXTERNAL), RFC 4616 (PLAIN),
// draft-murchison-sasl-login (LOGIN), RFC 5802 and 7677 (SCRAM), RFC 5056, 5929 and
// 9266 (channel bindings), RFC 4013 (SASLprep), RFC 7628 and 6750 (OAUTHBEARER),
// RFC 2195 (CRAM-MD5), RFC 2831 (DIGEST-MD5, historic by RFC 6331), RFC 4648 §4
// (base64, strict as RFC 4954 §4 wants it). XOAUTH2 is a vendor's.
package sasl
