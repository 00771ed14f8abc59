// Package relay is the desk between the queue and the servers of others: the
// transport for remote recipients.
//
// Flow, for one item of the queue:
//  1. The directory says which way each recipient goes (ways): by the mail
//     exchangers of its domain, to the hosts of a route by SMTP or LMTP, into
//     files, or nowhere.
//  2. A connection that waits for a next message to the same site is taken from
//     the pool; otherwise the hosts are looked up (resolve, targets): MX records
//     by preference without ourselves and what is worse, addresses without those
//     that mail must not go to.
//  3. The hosts are tried in order (open): what TLS route, domain and message
//     want of it (demand), addresses of both families in turn, greeting, EHLO, TLS,
//     AUTH. How TLS went is told to reports (tell).
//  4. Transactions give the message to the recipients in parts (transact). What
//     a server decided is made durable before its connection is used again (SC6);
//     who was deferred is offered to the next host, once.
//  5. When no host is left, or could be reached, there is the fallback of the
//     route, and then the last words of a server, or the trouble, are the outcome.
//
// [Relay.Verify] asks the primaries of a domain about a recipient, [Relay.Probe]
// goes the way of a message and tells each step.
//
// Invariants:
//   - A recipient never fails because a name server, a network, a server's
//     greeting or one of our routes does: it waits (DN2). It fails by a definite
//     answer about it, or about its domain.
//   - A message whose end was sent and not answered is not offered to another
//     host in the same attempt.
//   - No A record stands in for an MX answer that failed. Addresses of ourselves
//     and of private networks are not connected to, unless a route or the
//     operator says so (SC7).
//   - A password is never sent without TLS.
//   - No mail goes over a connection that has less TLS than is wanted for it now,
//     also when the connection was made for other mail (TL3).
//   - No goroutine outlives its attempt, but for those that say QUIT, which
//     [Relay.Close] waits for.
//
// Limits: [Limits]; 10 hosts and 20 addresses, two of the hosts that answer, in
// one attempt; one step of fallback.
//
// Standards: RFC 5321 §5.1 (locating the host), §4.5.4.1 (strategy), §4.5.3.1.10
// (too many recipients); RFC 7505 (null MX); RFC 7504 (521, 556); RFC 3974 and
// RFC 8305 (both families of addresses); RFC 3207, RFC 7435 and RFC 8314 (TLS);
// RFC 7672 (DANE), RFC 8461 (MTA-STS) and RFC 9525 (names of certificates), as
// tlspolicy decides; RFC 8460 §4.3 (results); RFC 8689 (REQUIRETLS); RFC 6531 §3.2
// (SMTPUTF8); RFC 3461 §5 (delivery status requests go on); RFC 2033 (LMTP); RFC
// 3463, RFC 5248 (enhanced codes).
package relay
