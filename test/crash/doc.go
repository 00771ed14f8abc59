// Package crash tests the way of a letter from the wire to the mailbox as a
// whole: SMTP engine, desks, queue, mailboxes and store, in one process on a
// file system that can lose power, fill up and fail.
//
//   - crash_test.go cuts the power before every operation that writes and
//     compares the mailboxes with what had been acknowledged (QU1 to QU5). More
//     rounds: POSTINO_CRASH=36 go test -run TestCrash ./test/crash, about 10,000
//     points.
//   - mail_test.go plays dialogues and looks at mailboxes, queue and stories.
//   - bench_test.go measures acceptance with delivery, without the wire.
package crash
