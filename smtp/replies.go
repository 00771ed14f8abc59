package smtp

// The replies that are always the same. None repeats what the client said (SS17).
var (
	replyOK           = &Reply{250, "2.0.0", "OK"}
	replyMail         = &Reply{250, "2.1.0", "Sender OK"}
	replyRcpt         = &Reply{250, "2.1.5", "Recipient OK"}
	replyTurned       = &Reply{250, "2.0.0", "Queuing started"}
	replyReset        = &Reply{250, "2.0.0", "Reset"}
	replyCannotVerify = &Reply{252, "2.5.0", "Cannot verify; send mail to find out"}
	replyCannotExpand = &Reply{252, "2.5.0", "Cannot expand; send mail to find out"}
	replyHelp         = &Reply{214, "2.0.0", "EHLO HELO LHLO MAIL RCPT DATA BDAT BURL RSET NOOP VRFY EXPN HELP QUIT STARTTLS AUTH ETRN\nThose that the reply to EHLO or LHLO allows"}
	replyReadyTLS     = &Reply{220, "2.0.0", "Ready to start TLS"}

	replyLocal       = &Reply{421, "4.3.0", "Local error, closing connection"}
	replyTooMany     = &Reply{421, "4.7.0", "Too many connections, try again later"}
	replyUnknown     = &Reply{500, "5.5.2", "Command not recognized"}
	replyBareLine    = &Reply{500, "5.5.2", "Line must end in CRLF"}
	replyLineTooLong = &Reply{500, "5.5.2", "Line too long"}
	replySyntax      = &Reply{501, "5.5.4", "Syntax error in arguments"}
	replyNoArgs      = &Reply{501, "5.5.4", "No arguments allowed"}
	replyOctets      = &Reply{501, "5.5.2", "Illegal octet in command"}
	replyBadSender   = &Reply{501, "5.1.7", "Bad sender address syntax"}
	replyBadRcpt     = &Reply{501, "5.1.3", "Bad recipient address syntax"}
	replyNotUTF8     = &Reply{553, "5.6.7", "Non-ASCII address needs SMTPUTF8"}
	replyNotDone     = &Reply{502, "5.5.1", "Command not implemented"}
	replyHelloFirst  = &Reply{503, "5.5.1", "Say EHLO first"}
	replySequence    = &Reply{503, "5.5.1", "Bad sequence of commands"}
	replyNested      = &Reply{503, "5.5.1", "Transaction already open"}
	replyNeedMail    = &Reply{503, "5.5.1", "Say MAIL first"}
	replyNeedRcpt    = &Reply{554, "5.5.1", "No valid recipients"}
	replyTooManyRcpt = &Reply{452, "4.5.3", "Too many recipients"}
	replyNeedTLS     = &Reply{530, "5.7.0", "Must issue a STARTTLS command first"}
	replyEarly       = &Reply{554, "5.5.0", "Client talked before the greeting"}
	replyPipelining  = &Reply{554, "5.5.0", "Improper pipelining"}
	replyNotSMTP     = &Reply{554, "5.5.0", "This is not the service you want"}
)
