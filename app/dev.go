package app

import (
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/postino-mail/postino/certs"
	"github.com/postino-mail/postino/directory"
	"github.com/postino-mail/postino/metric"
	"github.com/postino-mail/postino/vfs"
)

// DevOptions are what a developer may choose.
type DevOptions struct {
	DataDir  string // empty keeps everything in memory
	Password string
	PortBase int // added to every port; negative takes free ones
	Version  string
}

// devPorts are the ordinary ports with 1000 added.
var devPorts = []struct {
	service Service
	port    int
}{{SMTP, 1025}, {Submission, 1587}, {Submissions, 1465}, {IMAP, 1143}, {IMAPS, 1993}}

// Dev returns a node on loopback on which every recipient exists.
func Dev(o DevOptions, log *slog.Logger) (Options, error) {
	cert, err := certs.SelfSigned(time.Now(), "localhost", "127.0.0.1", "::1")
	if err != nil {
		return Options{}, err
	}
	opts := Options{
		Hostname: "localhost", Certs: cert, Version: o.Version, Dev: true, Logger: log,
		Trusted: func(a netip.Addr) bool { return a.IsLoopback() },
		Stores: StoreOptions{
			Files: vfs.OS(), DataDir: o.DataDir, AnyUser: &directory.AcceptAny{Password: o.Password}, Metrics: metric.New(),
		},
	}
	if o.DataDir == "" {
		opts.Stores.Files, opts.Stores.DataDir, opts.Ephemeral = vfs.Memory(), "/postino", true
	}
	for _, p := range devPorts {
		port := p.port + o.PortBase
		if o.PortBase < 0 {
			port = 0
		}
		opts.Listeners = append(opts.Listeners, Listener{Service: p.service, Address: fmt.Sprintf("localhost:%d", port)})
	}
	return opts, nil
}
