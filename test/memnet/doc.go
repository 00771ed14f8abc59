// Package memnet is a network in memory for tests: TCP-like connections between
// netip addresses, without the system, so that they work in the fake time of a
// testing/synctest bubble.
//
// Flow:
//  1. A test makes a [Network], gives [Network.Listen] to servers and
//     [Network.Dial] or [Network.DialFrom] to clients.
//  2. A connection is a link of two streams, each with room for 64 KiB: a write
//     blocks while its stream is full, as with TCP and unlike net.Pipe.
//  3. [Network.SetFault] makes hosts misbehave: unreachable, silent, slow, or
//     resetting after so many octets. Where nothing listens, connecting is
//     refused.
//
// Invariants:
//   - Errors are those of the net package: *net.OpError around ECONNREFUSED,
//     ECONNRESET, net.ErrClosed, os.ErrDeadlineExceeded.
//   - To close a connection with octets unread resets it, and so does to write to
//     one that the other side closed (RFC 9293 §3.6.1, §3.10.7.4). What arrived before
//     a reset can still be read.
//   - All waiting is on conditions, channels and timers of the bubble that made the
//     network; a network serves one bubble only, or none.
//   - A listener or connection that is closed leaves no goroutine.
//
// Limits: 64 KiB per direction, 128 connections not yet accepted per listener.
package memnet
