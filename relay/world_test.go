package relay

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/blob"
	"github.com/postino-mail/postino/directory"
	"github.com/postino-mail/postino/dns"
	"github.com/postino-mail/postino/kv/lsm"
	"github.com/postino-mail/postino/queue"
	"github.com/postino-mail/postino/story"
	"github.com/postino-mail/postino/test/memnet"
	"github.com/postino-mail/postino/vfs"
)

// server is a scripted mail server. replies has its words by stage: greeting,
// ehlo, starttls, tls (after the handshake), auth, mail, rcpt, rcpt:LOCAL, data,
// dot, dot:LOCAL (LMTP). Instead of a reply there may be "close", and "hang".
type server struct {
	replies map[string]string
	offers  []string
	cert    *tls.Certificate // offers STARTTLS
	garble  bool             // breaks the handshake
	implied bool             // TLS from the first octet
	lmtp    bool
	maxRcpt int // further recipients get 452
	onMail  func()

	mu    sync.Mutex
	conns []string // addresses of clients
	helos []string
	auths []string
	mails []received
	quits int
	names []string // that clients asked for in the handshake
}

// received is a message that a server took.
type received struct {
	from, params string
	rcpts        []string
	content      string
	tls          bool
}

func (s *server) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

func (s *server) taken() []received {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.mails)
}

// serverName is what the last client asked for in the handshake.
func (s *server) serverName() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.names) == 0 {
		return ""
	}
	return s.names[len(s.names)-1]
}

// total is how many messages it took.
func (s *server) total() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.mails)
}

// line returns the reply of a stage; ok is false when the connection is to end.
func (s *server) line(c net.Conn, keys ...string) (reply string, ok bool) {
	reply = keys[len(keys)-1]
	s.mu.Lock()
	for _, k := range keys[:len(keys)-1] {
		if r, have := s.replies[k]; have {
			reply = r
			break
		}
	}
	s.mu.Unlock()
	switch reply {
	case "close":
		return "", false
	case "hang":
		io.Copy(io.Discard, c)
		return "", false
	}
	_, err := io.WriteString(c, strings.ReplaceAll(reply, "\n", "\r\n")+"\r\n")
	return reply, err == nil && !strings.HasPrefix(reply, "421")
}

func (s *server) serve(c net.Conn) {
	defer func() { c.Close() }()
	s.mu.Lock()
	host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
	s.conns = append(s.conns, host)
	s.mu.Unlock()
	secure := false
	if s.implied {
		c, secure = tls.Server(c, &tls.Config{Certificates: []tls.Certificate{*s.cert}}), true
	}
	if reply, ok := s.line(c, "greeting", "220 mx ESMTP"); !ok || reply[0] != '2' {
		return
	}
	in := bufio.NewReader(c)
	var m received
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		verb, arg, _ := strings.Cut(line, " ")
		ok := true
		switch strings.ToUpper(verb) {
		case "EHLO", "LHLO":
			s.mu.Lock()
			s.helos = append(s.helos, arg)
			s.mu.Unlock()
			ext := append([]string{"mx"}, s.offers...)
			if s.cert != nil && !secure {
				ext = append(ext, "STARTTLS")
			}
			_, ok = s.line(c, "ehlo", ehlo(ext))
		case "HELO":
			_, ok = s.line(c, "helo", "250 mx")
		case "STARTTLS":
			var reply string
			if reply, ok = s.line(c, "starttls", "220 go"); !ok || reply[0] != '2' {
				break
			}
			if s.garble {
				io.WriteString(c, "what?\r\n")
				return
			}
			t := tls.Server(c, &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
				s.mu.Lock()
				s.names = append(s.names, hello.ServerName)
				s.mu.Unlock()
				return s.cert, nil
			}})
			if t.Handshake() != nil {
				return
			}
			c, in, secure = t, bufio.NewReader(t), true
		case "AUTH":
			s.mu.Lock()
			s.auths = append(s.auths, arg)
			s.mu.Unlock()
			_, ok = s.line(c, "auth", "235 2.7.0 in")
		case "MAIL":
			if s.onMail != nil {
				s.onMail()
			}
			from, params, _ := strings.Cut(strings.TrimPrefix(arg, "FROM:<"), ">")
			m = received{from: from, params: strings.TrimSpace(params), tls: secure}
			_, ok = s.line(c, "mail", "250 2.1.0 ok")
		case "RCPT":
			rcpt, _, _ := strings.Cut(strings.TrimPrefix(arg, "TO:<"), ">")
			local, _, _ := strings.Cut(rcpt, "@")
			reply := ""
			if s.maxRcpt > 0 && len(m.rcpts) >= s.maxRcpt {
				reply, ok = s.line(c, "452 4.5.3 too many recipients")
			} else {
				reply, ok = s.line(c, "rcpt:"+local, "rcpt", "250 2.1.5 ok")
			}
			if ok && reply[0] == '2' {
				m.rcpts = append(m.rcpts, rcpt)
			}
		case "DATA":
			var reply string
			fallbackReply := "354 go"
			if len(m.rcpts) == 0 {
				fallbackReply = "554 5.5.1 no recipients"
			}
			if reply, ok = s.line(c, "data", fallbackReply); !ok || reply[0] != '3' {
				break
			}
			var b strings.Builder
			for {
				l, err := in.ReadString('\n')
				if err != nil {
					return
				}
				if l == ".\r\n" {
					break
				}
				b.WriteString(strings.TrimPrefix(l, "."))
			}
			m.content = b.String()
			ok = s.finish(c, m)
			m = received{}
		case "RSET":
			m = received{}
			_, ok = s.line(c, "rset", "250 2.0.0 ok")
		case "QUIT":
			s.mu.Lock()
			s.quits++
			s.mu.Unlock()
			s.line(c, "221 2.0.0 bye")
			return
		default:
			_, ok = s.line(c, "500 5.5.2 what?")
		}
		if !ok {
			return
		}
	}
}

// ehlo writes the lines of a reply to EHLO.
func ehlo(lines []string) string {
	last := len(lines) - 1
	var b strings.Builder
	for _, l := range lines[:last] {
		b.WriteString("250-" + l + "\n")
	}
	return b.String() + "250 " + lines[last]
}

func (s *server) finish(c net.Conn, m received) bool {
	keep := func(rcpts []string) {
		s.mu.Lock()
		defer s.mu.Unlock()
		m.rcpts = rcpts
		s.mails = append(s.mails, m)
	}
	if !s.lmtp {
		if r, have := s.replies["dot"]; !have || r[0] == '2' || r == "close" || r == "hang" { // it was taken, whatever the client learns
			keep(m.rcpts)
		}
		_, ok := s.line(c, "dot", "250 2.0.0 queued as 42")
		return ok
	}
	var good []string
	for _, rcpt := range m.rcpts {
		local, _, _ := strings.Cut(rcpt, "@")
		reply, ok := s.line(c, "dot:"+local, "dot", "250 2.0.0 delivered")
		if !ok {
			return false
		}
		if reply[0] == '2' {
			good = append(good, rcpt)
		}
	}
	keep(good)
	return true
}

// table is a Routes.
type table struct {
	mu     sync.Mutex
	routes []*directory.Route
}

func (t *table) RouteFor(_ context.Context, _ postino.Address, _ uint64, rcpt postino.Address) (*directory.Route, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, r := range t.routes {
		if r.Domain == "*" || r.Domain == rcpt.Domain {
			return r, nil
		}
	}
	return nil, nil
}

func (t *table) RouteByName(_ context.Context, name string) (*directory.Route, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, r := range t.routes {
		if r.Name == name {
			return r, nil
		}
	}
	return nil, postino.E(postino.NotFound, "find route", name, nil)
}

// outcome is what the log says about a recipient.
type outcome struct {
	result queue.Result
	reply  string
	where  string
}

// world is a small Internet with one relay. It lives in a synctest bubble, but
// for benchmarks.
type world struct {
	testing.TB
	net     *memnet.Network
	dns     *dns.Fake
	routes  *table
	relay   *Relay
	queue   *queue.Queue
	blobs   *blob.Store
	files   vfs.FS
	mu      sync.Mutex
	results map[string]outcome // the last of each recipient
	serving sync.WaitGroup
	settle  func()
	closers []func()
}

// bubble runs fn in a bubble with a new world; opts may be changed by set.
func bubble(t *testing.T, set func(*Options), fn func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, set)
		w.settle = synctest.Wait
		defer w.close()
		fn(w)
	})
}

func newWorld(t testing.TB, set func(*Options)) *world {
	w := &world{TB: t, net: memnet.New(), dns: dns.NewFake(), routes: &table{}, files: vfs.Memory(), results: map[string]outcome{}}
	db, err := lsm.Open(w.files, "db", lsm.Options{MemTableBytes: 4 << 20, Still: true})
	if err != nil {
		t.Fatal(err)
	}
	ids := new(postino.IDs)
	if w.blobs, err = blob.New(db, w.files, "blobs", blob.Options{IDs: ids}); err != nil {
		t.Fatal(err)
	}
	stories := story.New(db, story.Options{IDs: ids})
	opts := Options{Hostname: "out.example", DNS: w.dns, Dial: w.net.DialFrom, Routes: w.routes, Blobs: w.blobs, Files: w.files,
		Logger: slog.New(&ear{w: w})}
	if set != nil {
		set(&opts)
	}
	if w.relay, err = New(opts); err != nil {
		t.Fatal(err)
	}
	w.queue = queue.New(db, w.blobs, stories, queue.Options{IDs: ids,
		Transports: map[string]queue.TransportOptions{Name: {Transport: w.relay, Sites: true, SiteLimit: w.relay.SiteLimit}}})
	w.queue.Start()
	w.closers = []func(){func() { w.queue.Stop(context.Background()) }, w.relay.Close, stories.Close, func() { db.Close() }}
	return w
}

func (w *world) close() {
	for _, f := range w.closers[:2] {
		f()
	}
	w.settle() // servers see the end of their connections
	if n := w.net.Open(); n != 0 && !w.Failed() {
		w.Errorf("%d connections are open at the end (G11)", n)
	}
	for _, f := range w.closers[2:] {
		f()
	}
	w.serving.Wait()
}

// zone adds a zone to the DNS.
func (w *world) zone(origin, text string, s dns.Security) {
	w.Helper()
	if err := w.dns.AddZone(origin, text, s); err != nil {
		w.Fatal(err)
	}
}

// listen lets a server serve at addresses ("192.0.2.1:25").
func (w *world) listen(s *server, addrs ...string) *server {
	w.Helper()
	if s.offers == nil {
		s.offers = []string{"PIPELINING", "8BITMIME", "SIZE 0", "ENHANCEDSTATUSCODES"}
	}
	for _, a := range addrs {
		ln, err := w.net.Listen("tcp", a)
		if err != nil {
			w.Fatal(err)
		}
		w.closers = append(w.closers, func() { ln.Close() })
		w.serving.Go(func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				w.serving.Go(func() { s.serve(c) })
			}
		})
	}
	return s
}

// simple makes a domain with one exchanger.
func (w *world) simple(domain, addr string, s *server) *server {
	w.Helper()
	w.zone(domain, "@ MX 10 mx\nmx A "+addr+"\n", dns.Insecure)
	return w.listen(s, addr+":25")
}

const letter = "Subject: hello\r\n\r\nHow are you?\r\n.dot\r\n"

// put queues a letter; change may alter its item.
func (w *world) put(change func(*queue.Item), rcpts ...string) {
	w.Helper()
	bw := w.blobs.Create(time.Now())
	defer bw.Abort()
	io.WriteString(bw, letter)
	st, err := bw.Finish()
	if err != nil {
		w.Fatal(err)
	}
	it := &queue.Item{Transport: Name, From: addr(w, "ann@a.example"), Received: time.Now(), Prefix: []byte("Received: here\r\n")}
	for _, r := range rcpts {
		it.Rcpts = append(it.Rcpts, queue.Rcpt{Recipient: postino.Recipient{Address: addr(w, r)}})
	}
	route, _ := w.routes.RouteFor(context.Background(), it.From, 0, it.Rcpts[0].Address)
	it.Dest = Dest(route, it.Rcpts[0].Address)
	if change != nil {
		change(it)
	}
	if err := w.queue.Put(context.Background(), &queue.Message{Staged: &st, Items: []*queue.Item{it}}); err != nil {
		w.Fatal(err)
	}
}

// send queues a letter and waits, in a synctest bubble, until each recipient has
// had an outcome, which it returns.
func (w *world) send(change func(*queue.Item), rcpts ...string) map[string]outcome {
	w.Helper()
	w.mu.Lock()
	clear(w.results)
	w.mu.Unlock()
	w.put(change, rcpts...)
	for range 4000 {
		synctest.Wait()
		w.mu.Lock()
		got := len(w.results)
		w.mu.Unlock()
		if got >= len(rcpts) {
			break
		}
		time.Sleep(time.Second)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.results) < len(rcpts) {
		w.Fatalf("outcomes: %v", w.results)
	}
	out := map[string]outcome{}
	for k, v := range w.results {
		out[k] = v
	}
	return out
}

// one sends to one recipient and compares result and the beginning of the reply.
func (w *world) one(rcpt string, result queue.Result, reply string) outcome {
	w.Helper()
	return w.oneItem(nil, rcpt, result, reply)
}

func (w *world) oneItem(change func(*queue.Item), rcpt string, result queue.Result, reply string) outcome {
	w.Helper()
	o := w.send(change, rcpt)[rcpt]
	if o.result != result || !strings.HasPrefix(o.reply, reply) {
		w.Errorf("%s: result %d, reply %q at %q; want %d, %q", rcpt, o.result, o.reply, o.where, result, reply)
	}
	return o
}

func addr(t testing.TB, s string) postino.Address {
	t.Helper()
	a, err := postino.ParseAddress(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// password is that of routes in tests.
const password = "sesame"

// ear hears outcomes in the log.
type ear struct {
	w *world
}

func (e *ear) Enabled(context.Context, slog.Level) bool { return true }
func (e *ear) WithAttrs([]slog.Attr) slog.Handler       { return e }
func (e *ear) WithGroup(string) slog.Handler            { return e }
func (e *ear) Handle(_ context.Context, r slog.Record) error {
	var o outcome
	var to string
	r.Attrs(func(a slog.Attr) bool {
		if strings.Contains(a.String(), password) {
			e.w.Errorf("the log has the password (G6): %s %s", r.Message, a)
		}
		switch a.Key {
		case "to":
			to = a.Value.String()
		case "result":
			for r := queue.Delivered; r <= queue.Held; r++ {
				if resultWord(r) == a.Value.String() {
					o.result = r
				}
			}
		case "reply":
			o.reply = a.Value.String()
		case "where":
			o.where = a.Value.String()
		}
		return true
	})
	if r.Message != "relay: attempted" {
		return nil
	}
	e.w.mu.Lock()
	defer e.w.mu.Unlock()
	e.w.results[to] = o
	return nil
}

// authority makes certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB) *authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	c, _ := x509.ParseCertificate(der)
	return &authority{c, key}
}

// issue makes a certificate for names.
func (a *authority) issue(t testing.TB, names ...string) *tls.Certificate {
	return a.issueUntil(t, time.Unix(1<<33, 0), names...)
}

// issueUntil makes one that ends at a time.
func (a *authority) issueUntil(t testing.TB, end time.Time, names ...string) *tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "mx.b.example"}, NotBefore: time.Unix(0, 0), NotAfter: end}
	for _, n := range names {
		if ip, err := netip.ParseAddr(n); err == nil {
			tmpl.IPAddresses = append(tmpl.IPAddresses, net.IP(ip.AsSlice()))
		} else {
			tmpl.DNSNames = append(tmpl.DNSNames, n)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// locals makes addresses a0@domain, a1@domain, …
func locals(n int, domain string) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("a%d@%s", i, domain)
	}
	return out
}
