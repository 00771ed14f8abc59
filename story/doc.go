// Package story keeps what happened to each message, from the connection that
// brought it to the mailbox that holds it: what was decided, when, and by
// which rule or reply. `postino trace` and the web pages read it.
//
// Flow:
//  1. A room makes an [Event] with [Store.Event] and fills in its facts. The
//     facts are packed as they are added; an event is one small value.
//  2. An event that belongs to a durable step (acceptance, delivery) is written
//     by [Store.Append] into the transaction of that step: no further commit.
//  3. An event without a transaction (a refusal) goes to [Store.Note]: a
//     bounded list in memory that one goroutine writes in batches.
//  4. [Store.Find] turns an address, a Message-ID or an id into messages,
//     [Store.Get] reads the events of one, [Describe] and [Details] word an event.
//
// Keys, all below 's':
//
//	's' 'e' message(8) seq(8)   → version, kind, facts     one per event
//	's' 'x' hash(8) message(8)  → empty                    one per sender, recipient and Message-ID
//
// Invariants:
//   - An event appended in a transaction exists exactly when the step does.
//   - The index is never wrong, only wide: a hash that collides is sorted out
//     by reading the events.
//   - Trimming goes by message, oldest first, and takes the index rows along.
//
// Limits: one fact 1,000 octets, longer ones are cut; one event 512 KiB; age
// and size of the whole by [Options].
package story
