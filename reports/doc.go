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
// Flow of what we report to other domains:
//
//  1. A [Collector] counts judged messages and TLS connections by row, in memory
//     that is bounded, and adds them to the store once a minute.
//  2. A [Mailer] makes of the rows of a day that is over one [Aggregate] or
//     [TLSReport] for each domain, asks the DNS who wants it, and queues the mail
//     in the transaction that marks the report as sent.
//  3. What comes back is noted by [Mailer.Bounced]; what always comes back is no
//     longer sent.
//
// Flow of what others report to us:
//
//  1. [ReadReports] finds reports in a message in whatever they are packed, and
//     [ReadFile] in a file.
//  2. A [Store] keeps each once, with whether its sender is proven.
//  3. [Store.ViewDMARC], [Store.ViewTLS] and [Store.Complaints] put them together
//     and say what to do.
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
//   - A domain gets one report a day of each kind, once, and only at addresses
//     that want it (MA8).
//   - Reading takes no more memory than [ReadLimits] allows, whatever an archive
//     says of itself; there are no entities and no recursion over what is read.
//   - What strangers send grows neither memory nor store beyond their bounds, and a
//     report that is proven is never replaced by one that is not.
//   - Texts exist in all languages with all plural forms, or a test fails.
//
// Limits: MaxSize; values from outside 1,000 octets in a field and 500 in the
// text; at most 40 addresses and 10 replies in the text; [Limits] for reading;
// [LimiterOptions] (SC9, G10); [CollectorOptions], [StoreOptions], [ReadLimits]
// (MA8, PA8).
//
// Standards: RFC 3464 (DSN), RFC 3461 §4, §6 (what is asked for), RFC 6522
// (multipart/report), RFC 6533 (UTF-8), RFC 3463 and RFC 5248 (status codes),
// RFC 3834 and RFC 5230 §4.5, §4.6 (automatic answers), RFC 5321 §4.5.5, §6.1,
// RFC 2852 §4 (deliver by). RFC 9990 and RFC 7489 §7.2, appendix C (DMARC aggregate
// reports), RFC 9991 (failure reports), RFC 8460 (TLS reports), RFC 5965, 6591,
// 6650, 6692 (Abuse Reporting Format), RFC 6590 (redaction).
package reports
