// Package script drives whole servers through scenarios written as text: each
// .txtar file is one scenario, named by what it shows.
//
// Scenarios right in testdata run in real time on the disk and on real sockets.
// Those in the directories below it run in fake time: a testing/synctest bubble
// holds the node with its disk, the names and the other hosts, so that five days
// of retries pass in a moment.
//
// Verbs beside those of testscript; "!" before one wants it to fail:
//
//	server [any]              start a node; "any", in real time only, takes any recipient
//	restart [D]               stop it in good order and start it on the same data, D later
//	domain NAME [CATCHALL]    add a domain
//	user ADDRESS [QUOTA]      add a user with the password "password"
//	alias ADDRESS TARGET…     add an alias
//	mail FROM TO FILE         send a file by SMTP, its lines ended by CRLF, and wait until it is delivered
//	call OP [JSON]            do any operation of the control socket, print the result
//	talk SERVICE FILE         hold the dialogue that FILE is (see talk.go); also with a peer
//	trace QUERY               print the stories, for stdout
//	corpus N                  in real time: send N varied messages by SMTP and compare what IMAP returns
//
// In fake time "mail" takes several recipients, with parameters, and waits a second.
// There are also:
//
//	submit USER FROM TO… FILE      send a file as a user: 'b@example.net NOTIFY=NEVER', u{1..9}@example.net
//	inbox USER N [MAILBOX]         N messages are in INBOX or another mailbox; print them
//	client ADDRESS [NAME]          from now on strangers send from there and say that name
//	sign DOMAIN FILE               sign a file with DKIM; the key is published
//	seal DOMAIN FILE RESULTS       put an ARC set with these results before a file
//	forge FROM TO FILE             send a message with each line of the file as a field of its header
//	queue N                        N items are in the queue; print them
//	zone [-secure] ORIGIN RECORD…  add a zone of records, or of a file
//	dnsfault NAME TYPE KIND [N]    N questions fail: servfail, nxdomain, silent, …; "ok" ends it
//	peer DOMAIN ADDRESS [RULE…]    make a mail server (see rules.go), and the zone that leads to it
//	peer DOMAIN rules [RULE…]      give it other rules; a file of rules will do too
//	peer DOMAIN refuse|listen      nothing listens there; it listens again
//	received DOMAIN N [FILE]       it took N messages, each with the octets of FILE; print them
//	publish DOMAIN [now]           put its DKIM records into the DNS; let the node look at once
//	verify DOMAIN                  judge the last message that a peer took, print what its signatures prove
//	resend DOMAIN again FROM TO…   the last one that it took comes to us
//	resend DOMAIN back FILE        a report goes to where the last one came from
//	dialogue DOMAIN                print what it said and heard
//	host ADDRESS FAULT             silent, unreachable, latency D, cut-to N, cut-from N, ok
//	clock advance D                let time pass: 90s, 4h, 5d
//	crash [PERCENT]                cut the power, losing what was not synced but for a share
//
// Flow: script_test.go starts the engine, world.go holds what one scenario has,
// internet.go what is around it in fake time, peer.go and rules.go are other
// servers, post.go sends and looks, dkim.go publishes keys and verifies, auth.go
// signs and forges, talk.go speaks dialogues, corpus.go makes messages.
package script
