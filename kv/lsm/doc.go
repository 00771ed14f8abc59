// Package lsm is the store on one machine: kv.DB on Pebble.
//
// Flow of an Update:
//  1. The locks of its scopes are taken (scope.go) and the closure runs over
//     the newest state; its writes go to a batch (tx.go).
//  2. The committer, the only goroutine that writes to Pebble, applies all
//     batches that wait, releases their locks, and asks for one sync of the
//     write-ahead log; it takes a snapshot of exactly this state (commit.go).
//  3. When the sync has returned, the syncer publishes the snapshot, wakes the
//     updates of the group and notifies watchers (watch.go).
//
// A View reads the snapshot published last, which is durable by construction;
// it waits only when one of its scopes has an applied batch that is not in it.
// An Update that wrote nothing waits likewise until what it read is durable.
//
// Invariants:
//   - A batch is acknowledged after its sync and never after a failed one.
//   - No View shows a write that is not synced.
//   - After the first failure of a sync, or of anything that Pebble calls
//     fatal, nothing is written any more (fail.go): updates return
//     [kv.ErrStopped], views go on reading what was durable, [DB.Failed] tells,
//     and the process restarts from the log. Pebble's goroutine that failed is
//     parked for ever, since what it held must not be written again.
//   - One process has the directory, by a lock file.
//   - Below a threshold of free space only updates that free space are taken
//     (guard.go).
//
// Limits: those of package kv. Scopes share 1,024 locks, so two scopes may
// wait for each other without need; a closure must not start an Update.
package lsm
