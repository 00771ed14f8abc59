// Package wire is the lexical half of IMAP: it cuts the input into lines and
// literals under limits, reads the tokens of RFC 9051 §9 from a line, and prints
// strings, dates and mailbox names. It knows no command.
//
// Flow: (1) [Reader] holds a pooled buffer only while input is at hand and
// gives one line at a time; (2) [Parser] reads tokens from the line; (3) a token
// that is a literal makes the Parser ask its Literals for the octets, which
// answers the client's wish to send, reads them, and puts the line that follows
// into the Parser; (4) the Append functions print answers.
//
// Invariants: a line is looked at once; nothing is allocated before its length is
// checked (security IM1, IM2); bytes that a Parser method returns as []byte
// are valid until the next literal or line, strings for ever.
//
// Limits: the length of a line and of what is discarded are arguments; literal
// sizes are the caller's to check, it sees every announcement first.
//
// Standards: RFC 9051 §4 and §9, RFC 3501 §5.1.3 and §9 (modified UTF-7), RFC 7888
// (non-synchronising literals), RFC 3516 §7 (literal8).
package wire
