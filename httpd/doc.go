// Package httpd is the desk of the web listeners: what other machines fetch from a
// mail server by HTTP.
//
// Flow:
//  1. app makes a [Server] for each listener, "http" in clear or "https" under TLS,
//     and gives it what it may tell: challenges of certificate authorities and
//     MTA-STS policies.
//  2. A request is answered by its path alone: /.well-known/acme-challenge/TOKEN
//     with the answer to HTTP-01; /.well-known/mta-sts.txt, under TLS and for the
//     host mta-sts.DOMAIN, with the policy of that domain; the rest in clear is
//     sent to https, and under TLS is not there.
//
// Invariants: only GET and HEAD, no request has a body that is read; no answer
// depends on what a client has sent before; nothing of a request is repeated in an
// answer but a host name and a path that are well-formed.
//
// Limits (JM6): header 64 KiB and 10 s; a whole request 30 s, its answer 30 s; idle
// 60 s; connections [Limits]; HTTP/1.1 only, so neither streams nor h2c.
//
// Standards: RFC 9110, RFC 9112, RFC 8555 §8.3, RFC 8737 §3, RFC 8461 §3.3.
package httpd
