// Command postino is the mail system: server, development server and the tools
// of the administrator in one binary.
//
// Flow: main reads the command line and signals; a command loads the
// configuration and either runs a node (dev, serve) or has an operation done by
// the server that runs on the data directory, or by the store itself when none
// runs.
//
// Under the name sendmail, or as postino sendmail, it takes a message from a program:
// (1) the flags of sendmail(8) are read; (2) the input becomes lines with CRLF, and an
// envelope; (3) it goes to the server over the socket submit.sock of the data
// directory, on which the server knows the caller by the kernel's word; (4) without a
// server it goes into the spool, which the server empties when it starts. With -t the
// recipients of the header come in addition to those of the command line, as with
// Postfix, and Bcc is removed. The configuration is that of -C, of POSTINO_CONFIG, or
// /etc/postino/postino.toml, and must be readable for the caller.
//
// Exit codes: 0 done; 1 failed; 64 usage; 65 invalid or conflicting input; 67
// not found; 69 refused by the server; 73 the spool cannot be written; 74 the input
// cannot be read; 75 try again; 77 no permission; 78 configuration.
package main
