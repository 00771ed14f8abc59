// Package imap is a second opinion on the IMAP server: a client and a model, written
// from the RFCs apart from package imap, and whole servers in one process that are
// held against both.
//
//  1. A strict client (scan, grammar, response codes) reads every response by the
//     formal syntax of RFC 9051 §9 and of the extensions that the server announces.
//     Any octet that the syntax does not allow fails the test with the transcript.
//  2. A watch over the rules of the dialogue: when EXPUNGE and VANISHED may come
//     (RFC 9051 §7.5.1, RFC 7162 §3.2.10), that sequence numbers are in range, that
//     EXISTS never shrinks, what may come unasked, what ENABLE changes.
//  3. A belief: what a client knows of the open mailbox, from responses alone.
//  4. A model of accounts and random sessions on them: one operation at a time,
//     where each belief is compared with the model after NOOP; and all at once,
//     where all agree in the end.
//  5. Offline clients that resynchronise and converge, with a log that is trimmed.
//  6. The matrix of authorisation: every command on mailboxes that one may and may
//     not see (AU8).
//  7. Arbitrary octets before and after login: what comes back has to pass the grammar
//     (IM1 to IM4).
//
// POSTINO_LONG=1 makes the random histories long, POSTINO_OPS sets their length,
// POSTINO_SEED replays one.
//
// Standards: RFC 9051, RFC 3501, RFC 4314, RFC 4315, RFC 4731, RFC 5161, RFC 5182,
// RFC 5256, RFC 5267, RFC 5464, RFC 5530, RFC 6851, RFC 7162, RFC 7377, RFC 7888, RFC
// 8474, RFC 8508, RFC 8514, RFC 8970, RFC 9208, RFC 9394, RFC 9586, RFC 10022.
package imap
