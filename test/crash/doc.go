// Package crash tests the way of a letter from the wire to the mailbox as a
// whole, and what clients do to mailboxes: engines, desks, queue, mailboxes and
// store on a file system that can lose power, fill up and fail. What counts is
// an outside ledger: what was answered to clients must be there, what was not may
// be there wholly or not at all, nothing twice, nothing back (QU1 to QU5).
//
//   - crash_test.go cuts the power before every operation that writes while
//     letters come in by SMTP, junk among them. More rounds: POSTINO_CRASH=36, about
//     10,000 points.
//   - mixed_test.go does so while clients change their mailboxes in every way,
//     with checkpoints, short logs and sweeps, and cuts some recoveries again.
//     POSTINO_POINTS says how many points, POSTINO_SEED where to begin.
//   - shared_test.go does so while users share mailboxes, change passwords, come and
//     go, and a search index is built; sharedlook_test.go is what anybody sees.
//     POSTINO_SHARED says how many points.
//   - relay_test.go does so while mail goes to servers of others, which outlive the
//     crash with a ledger of their own (abroad_test.go); POSTINO_TRIPS says how many
//     points. relaykill_test.go kills the real program meanwhile,
//     POSTINO_RELAYKILLS times; relaydisk_test.go lets disks fail.
//   - kill_test.go kills the real program under SMTP and IMAP load, POSTINO_KILLS
//     times.
//   - sharedkill_test.go does so while a mailbox is shared, and letters are taken away by
//     POP3, POSTINO_SHAREDKILLS times.
//   - disk_test.go fills real small file systems; node_test.go lets syncs fail
//     below a whole node; shareddisk_test.go does both to accounts that share.
//   - pop3_test.go cuts the power while sessions of POP3 delete; POSTINO_POP3CUTS says
//     how many of the points are looked at.
//   - sample_test.go opens data directories of former programs, testdata/sample-*.tar.gz,
//     and makes such samples: POSTINO_SAMPLE, POSTINO_PROGRAM.
//   - ledger_test.go is the ledger and its judge, judge_test.go shows that the
//     judge sees every kind of damage; direct_test.go and wire_test.go are clients
//     without and with a protocol.
//   - mail_test.go plays dialogues and looks at mailboxes, queue and stories.
//   - bench_test.go measures acceptance with delivery, without the wire.
//
// POSTINO_LONG asks for the long forms: make crash.
package crash
