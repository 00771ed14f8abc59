package script

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/postino-mail/postino/app"
	"github.com/postino-mail/postino/certs"
	"github.com/postino-mail/postino/dns"
	"github.com/postino-mail/postino/metric"
	"github.com/postino-mail/postino/vfs"
)

// password is that of every user.
const password = "password"

// patience is how long a scenario waits for what must come.
const patience = 30 * time.Second

// world is what one scenario has.
type world struct {
	dir   string
	any   bool
	fake  *internet // nil: real time, disk and sockets
	node  *app.Node
	end   context.CancelFunc
	ended chan error
}

func (w *world) server(_ *testscript.TestScript, args []string) error {
	w.any = len(args) > 0 && args[0] == "any"
	return w.start()
}

func (w *world) start() error {
	options := w.options
	if w.fake != nil {
		options = w.fake.options
	}
	opts, err := options()
	if err != nil {
		return err
	}
	if w.node, err = app.Start(opts); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	w.end, w.ended = cancel, make(chan error, 1)
	go func(n *app.Node, ended chan error) { ended <- n.Run(ctx) }(w.node, w.ended)
	return nil
}

// options are those of a node on disk and on real sockets.
func (w *world) options() (app.Options, error) {
	log := slog.New(slog.DiscardHandler)
	opts, err := app.Dev(app.DevOptions{DataDir: filepath.Join(w.dir, "data"), Password: password, PortBase: -1, Version: "script"}, log)
	opts.Stores.Outward.DNS = dns.NewFake() // nothing asks a real name server
	opts.Stores.Signing.RSA = oneRSA
	if err != nil || w.any {
		return opts, err
	}
	opts.Stores = app.StoreOptions{Files: vfs.OS(), DataDir: filepath.Join(w.dir, "data"), Metrics: metric.New(), Outward: opts.Stores.Outward, Signing: opts.Stores.Signing}
	opts.Hostname, opts.Dev = "mx.example.org", false
	for i := range opts.Listeners { // dialogues log in without TLS
		l := &opts.Listeners[i]
		l.Clear = l.Service == app.IMAP
	}
	opts.Certs, err = certs.SelfSigned(time.Now(), opts.Hostname)
	return opts, err
}

// dial connects to a listener of the node.
func (w *world) dial(address string) (net.Conn, error) {
	if w.fake != nil {
		return w.fake.dial(address)
	}
	return net.Dial("tcp", address)
}

// stop ends everything. A scenario whose node does not stop in good order fails.
func (w *world) stop() error {
	err := w.halt()
	if w.fake != nil {
		err = errors.Join(err, w.fake.stop())
	}
	return err
}

func (w *world) halt() error {
	if w.node == nil {
		return nil
	}
	w.end()
	w.node = nil
	err := <-w.ended
	if w.fake != nil && err != nil && err.Error() == context.DeadlineExceeded.Error() {
		return nil // it cut off what waited for others longer than a stop waits; nothing else went wrong
	}
	return err
}

// restart may be down for a while, in fake time.
func (w *world) restart(_ *testscript.TestScript, args []string) error {
	if err := w.halt(); err != nil {
		return err
	}
	if len(args) > 0 {
		d, err := duration(args[0])
		if err != nil {
			return err
		}
		time.Sleep(d)
	}
	return w.start()
}

func (w *world) call(op string, args, result any) error {
	if w.node == nil {
		return errors.New("no server runs")
	}
	return w.node.Call(context.Background(), op, args, result)
}

// operate does any operation of the control socket: OP [JSON], and prints what it
// returns.
func (w *world) operate(ts *testscript.TestScript, args []string) error {
	in := "{}"
	if len(args) > 1 {
		in = args[1]
	}
	var out json.RawMessage
	if err := w.call(args[0], json.RawMessage(in), &out); err != nil {
		return err
	}
	fmt.Fprintln(ts.Stdout(), string(out))
	return nil
}

func (w *world) domain(_ *testscript.TestScript, args []string) error {
	d := app.Domain{Name: args[0]}
	if len(args) > 1 {
		d.CatchAll = args[1]
	}
	return w.call("domain.add", d, nil)
}

func (w *world) user(_ *testscript.TestScript, args []string) error {
	u := app.User{Address: args[0], Password: password}
	if len(args) > 1 {
		n, err := strconv.ParseInt(args[1], 10, 64)
		if err != nil {
			return err
		}
		u.Quota = n
	}
	return w.call("user.add", u, nil)
}

func (w *world) alias(_ *testscript.TestScript, args []string) error {
	return w.call("alias.add", app.Alias{Address: args[0], Targets: args[1:]}, nil)
}

func (w *world) trace(ts *testscript.TestScript, args []string) error {
	var stories []app.Story
	if err := w.call("trace", app.TraceQuery{Text: args[0], Limit: 10}, &stories); err != nil {
		return err
	}
	for _, s := range stories {
		for _, e := range s.Events {
			fmt.Fprintln(ts.Stdout(), e.Text)
			for _, line := range e.Details {
				fmt.Fprintln(ts.Stdout(), "\t"+line)
			}
		}
	}
	return nil
}

// address is where a service listens, or a peer.
func (w *world) address(service string) (string, error) {
	if w.fake != nil && w.fake.peers[service] != nil {
		return w.fake.peers[service].address, nil
	}
	if w.node == nil {
		return "", errors.New("no server runs")
	}
	for _, l := range w.node.Bound() {
		if string(l.Service) == service {
			return l.Address, nil
		}
	}
	return "", fmt.Errorf("no listener for %s", service)
}

// mail sends a file.
func (w *world) mail(ts *testscript.TestScript, args []string) error {
	text, err := os.ReadFile(ts.MkAbs(args[2]))
	if err != nil {
		return err
	}
	if err := w.send(args[0], args[1], bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n"))); err != nil {
		return err
	}
	for end := time.Now().Add(patience); w.node.Queue.Stats().InMemory > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			return errors.New("the message is still in the queue")
		}
	}
	return nil
}
