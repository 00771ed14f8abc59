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
	opts, err := app.Dev(app.DevOptions{DataDir: c.Data, Password: c.Password, PortBase: c.PortBase, Version: version()}, newLogger(e.err, "text", level))
	if err != nil {
		return err
	}
	node, err := app.Start(opts)
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
func (c *devCmd) banner(w io.Writer, node *app.Node) {
	at := map[app.Service]string{}
	for _, l := range node.Bound() {
		_, port, _ := net.SplitHostPort(l.Address)
		at[l.Service] = "localhost:" + port
	}
	storage := "memory; keep it with --data DIR"
	if c.Data != "" {
		storage = c.Data
	}
	fmt.Fprintf(w, `Postino dev: nothing leaves this machine
  SMTP         %-16s any sender, any recipient, any login
  Submission   %-16s STARTTLS        %s with TLS
  IMAP         %-16s user = any address, password = %s
  IMAPS        %-16s
  Storage      %s
Try: curl -sS 'imap://%s/INBOX;MAILINDEX=1' -u dev@localhost:%s
Stop with Ctrl-C.
`, at[app.SMTP], at[app.Submission], at[app.Submissions], at[app.IMAP], c.Password, at[app.IMAPS], storage, at[app.IMAP], c.Password)
}
