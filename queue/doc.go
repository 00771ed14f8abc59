// Package queue holds the messages that the server is responsible for until
// each of their recipients is served. docs/queue.md draws its states.
//
// Flow:
//  1. [Queue.Put] writes body, reference, items and story in one commit: when it
//     returns nil the message is ours (QU1).
//  2. The item is handed in memory to a lane of its transport; nothing is read
//     back. What finds no room stays in the store and is found by a scan.
//  3. A lane gives all items that gathered while its last commit was under way
//     to [Transport].Deliver at once, so that one commit serves many messages.
//  4. The transport does its work in [Batch.Update], and [Batch.Finish] takes
//     the served recipients off the queue in the same commit (QU3).
//  5. Recipients that were deferred make the item Waiting; a clock finds it by
//     the index of due times and hands it to its lane again (QU7).
//
// Keys:
//
//	'q' 'n' id       → record    New: accepted, never tried
//	'q' 'w' id       → record    Waiting: tried, due again
//	'q' 'h' id       → record    Held: failed or quarantined
//	'q' 'd' due id   → empty     one per Waiting item, by time
//
// The state is part of the key, so that a start after a crash walks the new
// items and the due ones and none of those that wait.
//
// Invariants:
//   - An item is in exactly one state, and its body is referenced as long as it
//     is in any.
//   - An item in memory is claimed: it is in one lane once, and nobody else of
//     this process works on it. The store belongs to one process. What is read
//     of an item in a transaction therefore needs no scope of its own; the
//     fence of its lease is compared all the same, for the day when several
//     processes share a store (QU9).
//   - Items whose first recipient shares a mailbox go through one lane, in order.
//   - Mail is never deleted because it cannot be delivered: it is Held.
//   - A member of a batch that fails does not hurt the others: they are tried one by one.
//     One that panics three times is quarantined (G4).
//
// Limits: [Limits].
//
// Standards: RFC 5321 §4.5.4.1 (retries), §6.1 (responsibility).
package queue
