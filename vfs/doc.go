// Package vfs is the file system as a parameter: the real one, one in memory
// that can lose what was not synced, and a wrapper that sees every operation
// and may refuse it. It stands on the vfs package of Pebble, so that the store
// and our own files run over the same file system in every test.
//
// Flow:
//  1. A store takes an [FS] and the path of its directory; it never calls os.
//  2. In service the FS is [OS]: files 0600, directories 0700, links refused.
//  3. A test gives it [Memory] wrapped by [Hook], counts the operations that
//     write, and at the k-th takes [Mem.Crash]: what a power cut would leave.
//  4. [Faults] is a Hook made of the usual failures: the k-th operation, a
//     failing sync, a full disk.
//  5. Where other software may put its hands on a file, [OpenShared] opens it:
//     regular files only, with locks and truncation.
//
// Invariants: an operation that a hook refuses has no effect, but for a write
// that a full disk cuts short; a crash copy holds all that was synced,
// directory entries included, and the chosen share of the rest.
//
// Limits: the real file system is Unix; [Usage] is known on some systems only.
package vfs
