// Package reports makes and reads the reports that mail systems send to people
// about their mail, and knows when a program must stay silent.
//
// Flow of a delivery status notification:
//
//  1. The queue owes its sender a word about some recipients. Whoever makes the
//     report fills in a [DSN]; [DSN.Split] divides it in the rare case that there
//     are too many recipients for one.
//  2. A [Limiter] says whether the sender may have another one now, so that one
//     broken or forged sender causes no storm.
//  3. [DSN.Build] writes multipart/report: a text in the sender's language that
//     says for each reason what happened, what the remote server answered and
//     what the sender can do; the delivery status for programs; the header, or
//     on demand the whole, of the original.
//  4. What comes in from other servers is read by [ParseDSN].
//
// [StatusText] gives the plain words for a status code to other rooms;
// [MayAutoReply] says whether a message may be answered by a program at all.
//
// Invariants:
//
//   - No text from outside adds a field, a part or a line (PA6), and controls and
//     bidi marks are escaped wherever it is shown (G6).
//   - A report has at most [MaxSize] octets (SC9) and tells of every recipient
//     that it was made for, or it is not made.
//   - ParseDSN reads from what Build wrote the fields that went in.
//   - The null sender gets no report, and none is made without a date.
//   - Texts exist in all languages with all plural forms, or a test fails.
//
// Limits: MaxSize; values from outside 1,000 octets in a field and 500 in the
// text; at most 40 addresses and 10 replies in the text; [Limits] for reading;
// [LimiterOptions] (SC9, G10).
//
// Standards: RFC 3464 (DSN), RFC 3461 §4, §6 (what is asked for), RFC 6522
// (multipart/report), RFC 6533 (UTF-8), RFC 3463 and RFC 5248 (status codes),
// RFC 3834 and RFC 5230 §4.5, §4.6 (automatic answers), RFC 5321 §4.5.5, §6.1,
// RFC 2852 §4 (deliver by).
package reports
