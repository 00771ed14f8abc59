// Package conns keeps the connections of a server: it accepts them, counts them
// against the limits, ends those of users who may not stay, and shuts all down.
// The engines imap, pop3 and smtp stand on it; what is said on a connection is
// theirs.
//
// Flow:
//  1. [Set.Serve] accepts from a listener and starts a goroutine for each
//     connection, which calls [Set.Enter] first and [Set.Leave] at the end.
//  2. Who logs in is counted by [Set.Login], with a question that the set asks
//     again every now and then: may this login go on? [Set.Logout] ends that.
//  3. [Set.Shutdown] closes the listeners, tells every connection to end, and
//     waits; what is left when its time is up is cut.
//
// Invariants: after Shutdown has returned no connection is left and none comes
// in; a login whose right has ended is told so within Limits.Stay and the five
// seconds that an answer may take (AU8); an error of the question ends nobody.
//
// Limits: Limits (IM6, SS14).
package conns
