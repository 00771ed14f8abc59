// Package queue holds the messages that the server is responsible for until
// each of their recipients is served. docs/queue.md draws its states.
//
// Flow:
//  1. [Queue.Put] writes body, reference, items and story in one commit: when it
//     returns nil the message is ours (QU1).
//  2. The item is handed over in memory: to a lane of its transport, or to its
//     site. Nothing is read back. What finds no room stays in the store: New, and
//     found by a scan, or Parked, and brought when its site has room.
//  3. A lane gives all items that gathered while its last commit was under way
//     to [Transport].Deliver at once, so that one commit serves many messages. A
//     site gives one item to each of a few slots (SC8, QU8).
//  4. The transport does its work in [Batch.Update], and [Batch.Finish] takes
//     the served recipients off the queue in the same commit (QU3) and marks which
//     reports are owed; [Batch.Site] says how the site is.
//  5. Recipients that were deferred make the item Waiting; the keeper finds it by
//     the index of due times (QU7).
//  6. Clerks have reports made by the [Reporter] and put them on the queue in the
//     commit that clears the debt.
//
// Keys:
//
//	'q' 'n' id             → record    New: accepted, never tried
//	'q' 'w' id             → record    Waiting: something is to be done when due
//	'q' 'p' id             → record    Parked: due, but there is no room or its site is closed
//	'q' 'h' id             → record    Held: set aside
//	'q' 'd' due id         → empty     one per Waiting item, by time
//	'q' 'b' hash class id  → empty     one per Parked item, by site and priority
//	'q' 't' due id         → empty     one per Parked item, by the time of its next notice or end
//
// The state is part of the key, so that a start after a crash walks the new
// items and the due ones and none of those that wait.
//
// Invariants:
//   - An item is in exactly one state, and its body is referenced as long as it
//     is in any.
//   - An item in memory is claimed: it is in one list once, and nobody else of
//     this process works on it. The store belongs to one process. What is read
//     of an item in a transaction therefore needs no scope of its own; the
//     fence of its lease is compared all the same, for the day when several
//     processes share a store (QU9).
//   - Items of a lane whose first recipient shares a mailbox go in order.
//   - A site has no more attempts under way than its limit, none while it is
//     closed and one while it is probed. No site or sender has more than half of
//     the slots, or of the room in memory.
//   - Each debt gives one report, or a line in the story that says why not.
//   - Mail is not deleted because it cannot be delivered: its sender is told, or
//     it is Held when there is no Reporter.
//   - A member of a batch that fails does not hurt the others: they are tried one by one.
//     One that panics three times is quarantined (G4).
//
// Limits: [Limits], [TransportOptions]; what is remembered of sites and senders
// is bounded by the items in memory and Limits.Sites (G10).
//
// Standards: RFC 5321 §4.5.4.1 (retries), §4.5.5 (null sender), §6.1
// (responsibility); RFC 3461 §4.1, §5.2 (what is owed); RFC 2852 §4.1 (deliver by);
// RFC 4865 §4 (hold until); RFC 6710 §4.1 (priority).
package queue
