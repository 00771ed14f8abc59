package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/postino-mail/postino"
)

// Exit codes, after sysexits.h where it has a word for the case.
const (
	exitOK       = 0
	exitChecks   = 3  // what was asked for was checked, and is not well
	exitUsage    = 64 // EX_USAGE: the command line makes no sense
	exitData     = 65 // EX_DATAERR: what was given is invalid
	exitNotFound = 67 // EX_NOUSER: no such user, domain, alias or message
	exitTemp     = 75 // EX_TEMPFAIL: try again
	exitDenied   = 77 // EX_NOPERM
	exitConfig   = 78 // EX_CONFIG
	exitFailed   = 1
)

// cli is the command line.
type cli struct {
	Dev      devCmd      `cmd:"" help:"Run a whole mail system on loopback: any sender, any recipient, any login."`
	Serve    serveCmd    `cmd:"" help:"Run the server."`
	Setup    setupCmd    `cmd:"" help:"Write a configuration, create the first domain and user, print the DNS records."`
	User     userCmd     `cmd:"" help:"Users: add, change, list, remove, passwd, app-password, token, sessions, sign-out, quota, limits, delegate."`
	ACL      aclCmd      `cmd:"" name:"acl" help:"Rights of users on the mailboxes of others: list, set, remove."`
	Domain   domainCmd   `cmd:"" help:"Domains: add, change, list, remove, recipients."`
	DKIM     dkimCmd     `cmd:"" name:"dkim" help:"Keys that sign mail: list, records, check, rotate, retire, remove."`
	Alias    aliasCmd    `cmd:"" help:"Aliases: add, list, remove."`
	Cert     certCmd     `cmd:"" help:"Certificates: list, tlsa, check, next-key, rotate."`
	Route    routeCmd    `cmd:"" help:"Routes of mail that is not delivered here: add, list, show, remove, test."`
	Queue    queueCmd    `cmd:"" help:"Mail on its way: list, show, top, hold, release, retry, reroute, remove."`
	Check    checkCmd    `cmd:"" help:"Tell whether this server and its domains are well set up, and what to publish in the DNS."`
	Probe    probeCmd    `cmd:"" help:"Show each step of a delivery to an address, and send nothing."`
	DNS      dnsCmd      `cmd:"" name:"dns" help:"Look up a name, and tell why the answer is believed or not (DNSSEC)."`
	Report   reportCmd   `cmd:"" help:"What others see of your mail, and what you tell them: dmarc, tls, abuse, send, import."`
	Import   importCmd   `cmd:"" help:"Move mail in: from Maildir, mbox, files or another server by IMAP."`
	Export   exportCmd   `cmd:"" help:"Move mail out: as Maildir, mbox, files or a zip archive."`
	Trust    trustCmd    `cmd:"" help:"Forwarders, mailing lists and ARC sealers whose mail is taken against a policy: add, remove, list."`
	Trace    traceCmd    `cmd:"" help:"Tell the story of a message: what was decided, when, by which rule."`
	Config   configCmd   `cmd:"" help:"Configuration file: check."`
	Sendmail sendmailCmd `cmd:"" passthrough:"" help:"Take a message from a program, as sendmail(8) does; also under the names sendmail, mailq and newaliases."`
	Version  versionCmd  `cmd:"" help:"Print the version."`
}

// env is what commands get from the outside.
type env struct {
	ctx      context.Context
	in       *os.File
	out, err io.Writer
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	e := &env{ctx: ctx, in: os.Stdin, out: os.Stdout, err: os.Stderr}
	if args, ok := sendmailByName(os.Args[0], os.Args[1:]); ok {
		os.Exit(runSendmail(e, args))
	}
	os.Exit(run(e, os.Args[1:]))
}

// run carries out one command line and returns the exit code.
func run(e *env, args []string) int {
	var c cli
	code := -1
	parser, err := kong.New(&c,
		kong.Name("postino"),
		kong.Description("Postino, a complete Internet mail system.\n\nTry it now: postino dev"),
		kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Writers(e.out, e.err),
		kong.Exit(func(c int) { code = c }),
		kong.Bind(e),
	)
	if err != nil {
		fmt.Fprintln(e.err, "postino:", err)
		return exitFailed
	}
	k, err := parser.Parse(args)
	if code >= 0 { // --help was printed
		return code
	}
	if err != nil {
		fmt.Fprintln(e.err, "postino:", err)
		var p *kong.ParseError
		if errors.As(err, &p) && p.Context != nil {
			fmt.Fprintf(e.err, "Help: %s --help\n", p.Context.Model.Name)
		}
		return exitUsage
	}
	if err := k.Run(e); err != nil {
		if errors.As(err, new(checked)) {
			return exitChecks
		}
		fmt.Fprintln(e.err, "postino:", postino.Printable(err.Error()))
		return exitCode(err)
	}
	return exitOK
}

// checked ends a command that has said by itself what is not well.
type checked struct{ error }

// exitCode maps the class of an error.
func exitCode(err error) int {
	var own exitError
	if errors.As(err, &own) {
		return own.code
	}
	var bad configError
	if errors.As(err, &bad) {
		return exitConfig
	}
	switch postino.KindOf(err) {
	case postino.Invalid, postino.Conflict:
		return exitData
	case postino.NotFound:
		return exitNotFound
	case postino.Denied:
		return exitDenied
	case postino.Transient, postino.Full:
		return exitTemp
	}
	return exitFailed
}
