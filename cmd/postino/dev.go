package main

import (
	"fmt"
	"io"
	"log/slog"
	"net"

	"github.com/postino-mail/postino/app"
)

type devCmd struct {
	Data     string `help:"Keep the mail in this directory instead of memory." placeholder:"DIR"`
	Password string `help:"Password of every user." default:"dev"`
	Quiet    bool   `short:"q" help:"Do not print a line for each message."`
	PortBase int    `help:"Add this to every port, to run several side by side." default:"0"`
}

// Run serves on loopback until interrupted.
func (c *devCmd) Run(e *env) error {
	level := slog.LevelInfo
	if c.Quiet {
		level = slog.LevelWarn
	}
	node, err := app.StartDev(e.ctx, app.DevOptions{DataDir: c.Data, Password: c.Password, PortBase: c.PortBase, Version: version()},
		newLogger(e.err, "text", level))
	if err != nil {
		return err
	}
	if err := node.Welcome(e.ctx); err != nil {
		return err
	}
	c.banner(e.out, node)
	return node.Run(e.ctx)
}

// banner tells how to reach what runs.
func (c *devCmd) banner(w io.Writer, node *app.DevNode) {
	at, rest := bound(node.Node), bound(node.Rest)
	storage := "memory; keep it with --data DIR"
	if c.Data != "" {
		storage = c.Data
	}
	fmt.Fprintf(w, `Postino dev: nothing leaves this machine
  SMTP         %-16s any sender, any recipient, any login
  Submission   %-16s STARTTLS        %s with TLS
  IMAP         %-16s user = any address, password = %s
  IMAPS        %-16s
  POP3         %-16s STLS            %s with TLS
  Storage      %s
  Internet     friend.test takes mail for anybody, read it at IMAP %s; slow.test wants it twice,
               forward.test sends it back to localhost, dead.test is down, nomail.test takes none.
               Mail from here.test is signed (DKIM).
               Fail on purpose: rcpt550@ rcpt451@ data550@ data451@ timeout@ drop@ friend.test
Try: curl -sS 'imap://%s/INBOX;MAILINDEX=1' -u dev@localhost:%s
Stop with Ctrl-C.
`, at[app.SMTP], at[app.Submission], at[app.Submissions], at[app.IMAP], c.Password, at[app.IMAPS], at[app.POP3], at[app.POP3S], storage, rest[app.IMAP], at[app.IMAP], c.Password)
}

// bound tells where the services of a node are.
func bound(n *app.Node) map[app.Service]string {
	at := map[app.Service]string{}
	for _, l := range n.Bound() {
		_, port, _ := net.SplitHostPort(l.Address)
		at[l.Service] = "localhost:" + port
	}
	return at
}
