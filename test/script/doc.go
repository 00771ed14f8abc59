// Package script drives whole servers through scenarios written as text: each
// testdata/*.txtar is one scenario, named by what it shows.
//
// Verbs beside those of testscript:
//
//	server [any]           start a node in memory's stead on disk; "any" takes any recipient
//	restart                stop it in good order and start it on the same data
//	domain NAME            add a domain
//	user ADDRESS [QUOTA]   add a user with the password "password"
//	alias ADDRESS TARGET…  add an alias
//	mail FROM TO FILE      send a file by SMTP, its lines ended by CRLF, and wait until it is delivered
//	talk SERVICE FILE      hold the dialogue that FILE is (see talk.go)
//	corpus N               send N varied messages by SMTP and compare what IMAP returns
//	trace QUERY            print the stories, for stdout
//
// Flow: script_test.go starts the engine, world.go holds what one scenario has,
// talk.go speaks dialogues, corpus.go makes messages.
package script
