// Package deliver is the desk between the queue and the mailboxes: the
// transport for local recipients.
//
// Flow, for a batch of items of one lane of the queue:
//  1. What a mailbox keeps about a message was made at acceptance and comes
//     along in memory; after a restart it is made again from the stored body.
//  2. In one commit each message is put into the INBOX of each of its
//     recipients, or into the mailbox for junk when acceptance wanted that, the recipients are taken off the queue, and the story is told:
//     exactly once (QU3). All share one stored body; what differs, the
//     Return-Path and Delivered-To fields, is kept beside it.
//  3. A mailbox that is over its quota defers its recipient. One that is gone is
//     resolved again by its address: it is rerouted, sent on to other servers,
//     or it fails.
//
// [Reader] is the transport of mail to the addresses for reports: it keeps the
// reports of other servers, and passes what is none to the postmaster.
//
// Invariants: the octets of the body are never changed. A message that is
// delivered to an address names it in Delivered-To, so that receive can refuse
// it when it comes back (SS24).
//
// Limits: 256 recipients in one commit.
//
// Standards: RFC 5321 §4.4 (Return-Path), RFC 9228 §4 (Delivered-To).
package deliver
