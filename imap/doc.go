// Package imap is the server side of IMAP4rev2 and IMAP4rev1: it reads commands,
// keeps the protocol's state, asks a [Session] for the rest, and prints the
// answers. It knows no storage and no policy.
//
// Flow: (1) [Server] accepts a connection and asks Options.NewSession for its
// Session; (2) the connection waits without any buffer until input comes, on Linux
// after a moment, and at once in IDLE, without a goroutine too, see parker;
// (3) a line is read under the limits of its state and its tag and name are looked up
// in the command table; (4) the command's own file parses the arguments into
// a request struct, asking the client for literals where they stand; (5) the Session does
// it, writing long answers through [FetchWriter] and [UpdateWriter]; (6) Session.Poll
// writes what else happened; (7) the tagged reply follows, and output is
// written when no more input is waiting. In IDLE the connection waits for input and for
// the Session's notice at once.
//
// Invariants: commands take effect in the order in which they came (IM7); no EXPUNGE
// is written during FETCH, STORE and SEARCH by sequence number (RFC 9051 §7.5.1); a
// literal is refused before its octets are asked for; a Session is told of
// "$", wildcards, charsets, modified UTF-7 and enabled extensions only as fields of
// its requests or not at all; a panic ends one connection (G4).
//
// Limits: see [Limits]; they are those of security IM1 to IM6 and IM10.
//
// Standards: RFC 9051, RFC 3501, and RFC 2177 (IDLE), 2342 (NAMESPACE), 2971 (ID),
// 3348 (CHILDREN), 3502 (MULTIAPPEND), 3516 (BINARY), 3691 (UNSELECT), 4314 (ACL),
// 4315 (UIDPLUS), 4469 (CATENATE), 4731 (ESEARCH), 4959 (SASL-IR), 4978 (COMPRESS),
// 5032 (WITHIN), 5092 (URLs), 5161 (ENABLE), 5182 (SEARCHRES), 5255 (LANGUAGE,
// I18NLEVEL), 5256 (SORT, THREAD), 5258 (LIST-EXTENDED), 5267 (ESORT, CONTEXT), 5464
// (METADATA), 5465 (NOTIFY), 5466 (FILTERS), 5530 (response codes), 5550 §5.7.1
// (URL-PARTIAL), 5819 (LIST-STATUS), 5957 (SORT=DISPLAY), 6154 (SPECIAL-USE), 6203
// (FUZZY), 6851 (MOVE), 7162 (CONDSTORE, QRESYNC), 7377 (MULTISEARCH), 7888 (LITERAL+,
// LITERAL-), 7889 (APPENDLIMIT), 8437 (UNAUTHENTICATE), 8438 (STATUS=SIZE), 8440
// (LIST-MYRIGHTS), 8474 (OBJECTID), 8508 (REPLACE), 8514 (SAVEDATE), 8970 (PREVIEW),
// 9208 (QUOTA), 9394 (PARTIAL), 9585 (INPROGRESS), 9586 (UIDONLY), 9590
// (LIST-METADATA), 9738 (MESSAGELIMIT), 9755 (UTF8=ACCEPT), 9979 (mailbox
// attributes), 10022 (UIDBATCHES).
package imap
