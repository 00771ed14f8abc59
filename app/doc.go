// Package app wires the rooms to a node: it is the only place that knows
// everybody, and the only one that opens listening sockets.
//
// Flow:
//  1. [OpenStores] opens the data directory, or memory, and makes the rooms that
//     keep things: kv, blob, directory, mailbox, story, queue.
//  2. [Start] makes the desks and engines on them, opens the listeners of the
//     configuration and the control socket, and begins the background work:
//     that of the rooms, and giving memory back after a burst.
//  3. [Node.Run] serves until its context ends or the store stops writing; then
//     nothing new is accepted, what runs may finish for 30 s, and the stores
//     close in the reverse order (QU10).
//
// Invariants: one process per data directory; a reload that does not load in
// every part changes nothing (AD1); administration reaches the store only
// through [Admin].
//
// Limits: the control socket takes and gives 16 MiB at most per call; drain 30 s.
package app
