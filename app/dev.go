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

// port is where a service is offered.
type port struct {
	service Service
	port    int
}

// devPorts are the ordinary ports with 1000 added, restPorts with 2000.
var (
	devPorts  = []port{{SMTP, 1025}, {Submission, 1587}, {Submissions, 1465}, {IMAP, 1143}, {IMAPS, 1993}, {POP3, 1110}, {POP3S, 1995}}
	restPorts = []port{{SMTP, 2025}, {Submission, 2587}, {IMAP, 2143}}
)

// listeners offers services on loopback.
func (o *DevOptions) listeners(ports []port) (all []Listener) {
	for _, p := range ports {
		n := p.port + o.PortBase
		if o.PortBase < 0 {
			n = 0
		}
		all = append(all, Listener{Service: p.service, Address: fmt.Sprintf("localhost:%d", n)})
	}
	return all
}

// Dev returns a node on loopback on which every recipient exists; by itself it
// knows no other server.
func Dev(o DevOptions, log *slog.Logger) (Options, error) {
	cert, err := certs.SelfSigned(time.Now(), "localhost", "127.0.0.1", "::1")
	if err != nil {
		return Options{}, err
	}
	opts := Options{
		Hostname: "localhost", Certs: cert, Version: o.Version, Dev: true, Logger: log,
		Trusted: func(a netip.Addr) bool { return a.IsLoopback() }, Listeners: o.listeners(devPorts), FutureRelease: 30 * 24 * time.Hour,
		Stores: StoreOptions{
			Files: vfs.OS(), DataDir: o.DataDir, AnyUser: &directory.AcceptAny{Password: o.Password}, Metrics: metric.New(),
		},
	}
	if o.DataDir == "" {
		opts.Stores.Files, opts.Stores.DataDir, opts.Ephemeral = vfs.Memory(), "/postino", true
	}
	return opts, nil
}
