package transfer

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/imap/imapclient"
	"github.com/postino-mail/postino/mailbox"
	"github.com/postino-mail/postino/sasl"
)

// IMAPOptions say where a live source is.
type IMAPOptions struct {
	Host string
	Port int // 0: 993 with implicit TLS, else 143
	// TLS is "implicit" (also when empty), "starttls" or "none".
	TLS string
	// Config is for TLS; nil checks the certificate of Host.
	Config *tls.Config
	User   string
	// Authz is who to act as, usually empty.
	Authz    string
	Password string
	Token    string // OAuth 2.0, in place of the password
	// AllMail takes Gmail's "All Mail", which has everything a second time; Shared
	// takes what is in the namespaces of other users and of all (RFC 2342).
	AllMail, Shared bool
	// Dial opens connections.
	Dial   func(ctx context.Context, network, address string) (net.Conn, error)
	Limits imapclient.Limits
	// Tries is how often in a row a connection may fail: 8; Wait the time before the
	// second try, which doubles up to a minute: 1 s.
	Tries int
	Wait  time.Duration
}

// imapSource is an account on an IMAP server.
type imapSource struct {
	o      IMAPOptions
	c      *imapclient.Client
	failed int // tries in a row that led to nothing
}

// IMAP is a live source. It connects when it is first used.
func IMAP(o IMAPOptions) Source {
	if o.TLS == "" {
		o.TLS = "implicit"
	}
	if o.Port == 0 {
		o.Port = 143
		if o.TLS == "implicit" {
			o.Port = 993
		}
	}
	if o.Tries <= 0 {
		o.Tries = 8
	}
	if o.Wait <= 0 {
		o.Wait = time.Second
	}
	if o.Dial == nil {
		o.Dial = (&net.Dialer{Timeout: 30 * time.Second}).DialContext
	}
	return &imapSource{o: o}
}

// connect makes sure that there is a connection that is logged in.
func (s *imapSource) connect(ctx context.Context) error {
	if s.c != nil {
		return nil
	}
	addr := net.JoinHostPort(s.o.Host, strconv.Itoa(s.o.Port))
	nc, err := s.o.Dial(ctx, "tcp", addr)
	if err != nil {
		return postino.E(postino.Transient, "connect to", addr, err)
	}
	c, err := s.login(ctx, nc)
	if err != nil {
		nc.Close()
		return err
	}
	s.c = c
	return nil
}

func (s *imapSource) login(ctx context.Context, nc net.Conn) (*imapclient.Client, error) {
	config := s.o.Config.Clone()
	if config == nil {
		config = &tls.Config{}
	}
	if config.ServerName == "" {
		config.ServerName = s.o.Host
	}
	if s.o.TLS == "implicit" {
		tc := tls.Client(nc, config)
		hctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		if err := tc.HandshakeContext(hctx); err != nil {
			return nil, tlsFailure(s.o.Host, err)
		}
		nc = tc
	}
	c, err := imapclient.New(ctx, nc, s.o.Limits)
	if err != nil {
		return nil, err
	}
	if s.o.TLS == "starttls" {
		if can, err := c.CanStartTLS(ctx); err != nil {
			return nil, err
		} else if !can {
			return nil, postino.E(postino.Denied, "log in at", s.o.Host, errors.New("the server offers no STARTTLS; nothing was sent in clear"))
		}
		if err := c.StartTLS(ctx, config); err != nil {
			return nil, tlsFailure(s.o.Host, err)
		}
	}
	if c.LoggedIn() {
		return c, nil
	}
	err = c.Login(ctx, s.o.User, s.o.Password, func(announced string) sasl.Client {
		return sasl.ChooseClient(announced, sasl.ClientOptions{
			User: s.o.User, Authz: s.o.Authz, Password: s.o.Password, Token: s.o.Token, Host: s.o.Host, Port: uint16(s.o.Port),
			TLS: c.TLS(), AllowClear: s.o.TLS == "none",
		})
	})
	return c, err
}

// tlsFailure tells a certificate that is not good, which no second try makes better,
// from a connection that was cut.
func tlsFailure(host string, err error) error {
	var bad *tls.CertificateVerificationError
	if errors.As(err, &bad) {
		return postino.E(postino.Denied, "check certificate of", host, bad.Err)
	}
	return postino.E(postino.Transient, "start TLS with", host, err)
}

// Folders implements [Source].
func (s *imapSource) Folders(ctx context.Context) ([]Folder, error) {
	if err := s.connect(ctx); err != nil {
		return nil, err
	}
	boxes, subscribed, err := s.c.Mailboxes(ctx)
	if err != nil {
		return nil, err
	}
	foreign, err := s.c.Foreign(ctx)
	if err != nil {
		return nil, err
	}
	prefix := personalPrefix(boxes)
	var out []Folder
	for i := range boxes {
		b := &boxes[i]
		f := Folder{
			Name: localName(b, prefix), Subscribed: subscribed[b.Name], Messages: -1, at: b,
			Key: strings.Join([]string{"imap", strings.ToLower(s.o.Host), strconv.Itoa(s.o.Port), cmp.Or(s.o.Authz, s.o.User), b.Raw}, "\x00"),
		}
		f.Use = useOf(b)
		switch {
		case b.Has(`\Noselect`), b.Has(`\NonExistent`):
			continue
		case !s.o.Shared && slices.ContainsFunc(foreign, func(p string) bool { return p != "" && strings.HasPrefix(b.Name, p) }):
			f.Skip = "it is somebody else's; --shared takes it"
		case b.Has(`\All`) && !s.o.AllMail:
			f.Skip = "it has all mail of the other mailboxes once more; --all-mail takes it"
		case (b.Has(`\Flagged`) || b.Has(`\Important`)) && !s.o.AllMail:
			f.Skip = "it shows messages of other mailboxes; --all-mail takes it"
		}
		out = append(out, f)
	}
	slices.SortStableFunc(out, func(a, b Folder) int {
		if (a.Name == "INBOX") != (b.Name == "INBOX") {
			if a.Name == "INBOX" {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Name, b.Name)
	})
	s.failed = 0
	return out, nil
}

// useOf is the special use that the server tells. Those that show messages of other
// mailboxes are no mailboxes of ours.
func useOf(b *imapclient.Mailbox) string {
	for _, use := range []mailbox.SpecialUse{mailbox.UseArchive, mailbox.UseDrafts, mailbox.UseJunk, mailbox.UseSent, mailbox.UseTrash} {
		if b.Has(use.String()) {
			return use.String()
		}
	}
	return ""
}

// personalPrefix finds "INBOX." of servers that put every mailbox below the inbox:
// there all others begin with it.
func personalPrefix(boxes []imapclient.Mailbox) string {
	prefix, others := "", 0
	for i := range boxes {
		b := &boxes[i]
		if strings.EqualFold(b.Name, "INBOX") || b.Delimiter == 0 {
			continue
		}
		p := "INBOX" + string(rune(b.Delimiter))
		if len(b.Name) < len(p) || !strings.EqualFold(b.Name[:len(p)], p) {
			return ""
		}
		prefix = p
		others++
	}
	if others == 0 {
		return ""
	}
	return prefix
}

// localName writes a name with our delimiter. One that has "/" within a level gets
// "_" for it. Gmail's own mailboxes leave the level "[Gmail]".
func localName(b *imapclient.Mailbox, prefix string) string {
	name := b.Name
	if strings.EqualFold(name, "INBOX") {
		return "INBOX"
	}
	if prefix != "" && len(name) > len(prefix) {
		name = name[len(prefix):]
	}
	if d := b.Delimiter; d != 0 && d != '/' {
		name = strings.NewReplacer("/", "_", string(rune(d)), "/").Replace(name)
	} else if d == 0 {
		name = strings.ReplaceAll(name, "/", "_")
	}
	for _, g := range []string{"[Gmail]/", "[Google Mail]/"} {
		name = strings.TrimPrefix(name, g)
	}
	return name
}

// Open implements [Source].
func (s *imapSource) Open(ctx context.Context, f *Folder) error {
	if err := s.connect(ctx); err != nil {
		return err
	}
	sel, err := s.c.Examine(ctx, f.at.(*imapclient.Mailbox))
	if err != nil {
		return err
	}
	f.UIDValidity, f.UIDNext, f.Messages = sel.UIDValidity, sel.UIDNext, int(sel.Messages)
	return nil
}

// maxMessages bounds what one mailbox may be told to hold.
const maxMessages = 20_000_000

// Messages implements [Source]. The list is held, about 100 octets for a message.
func (s *imapSource) Messages(ctx context.Context, f *Folder, fn func(*Message) error, note func(string)) error {
	if f.Messages == 0 {
		return nil
	}
	var list []*Message
	names := map[string]string{}
	err := s.c.Envelopes(ctx, 1, func(m *imapclient.Message) error {
		if len(list) >= maxMessages {
			return postino.E(postino.Invalid, "list messages", f.Name, errors.New("too many"))
		}
		e := &Message{UID: m.UID, Item: strconv.FormatUint(uint64(m.UID), 10), Date: m.Date, Size: m.Size}
		for _, flag := range m.Flags {
			if names[flag] == "" && len(names) < 10_000 {
				names[flag] = strings.Clone(flag)
			}
			e.Flags = append(e.Flags, cmp.Or(names[flag], flag))
		}
		list = append(list, e)
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortFunc(list, func(a, b *Message) int { return cmp.Compare(a.UID, b.UID) })
	list = slices.CompactFunc(list, func(a, b *Message) bool { return a.UID == b.UID })
	f.Messages = len(list)
	for _, m := range list {
		if err := fn(m); err != nil {
			return err
		}
	}
	return nil
}

// Bodies implements [Source].
func (s *imapSource) Bodies(ctx context.Context, f *Folder, list []*Message, to Sink) error {
	if s.c == nil {
		return postino.E(postino.Transient, "read messages", f.Name, errors.New("not connected"))
	}
	sink := imapSink{to: to, wanted: make(map[uint32]*Message, len(list))}
	var set mailbox.Ranges
	for _, m := range list {
		sink.wanted[m.UID] = m
		set.Append(mailbox.UID(m.UID))
	}
	var text []byte
	for _, r := range set {
		text = fmt.Appendf(text, ",%d", r.Lo)
		if r.Hi > r.Lo {
			text = fmt.Appendf(text, ":%d", r.Hi)
		}
	}
	err := s.c.Bodies(ctx, string(text[1:]), &sink)
	if sink.got > 0 {
		s.failed = 0
	}
	if err != nil {
		return err
	}
	for _, m := range list {
		if sink.wanted[m.UID] != nil {
			if err := to.Drop(m, errors.New("the server did not give it; it may have been deleted meanwhile")); err != nil {
				return err
			}
		}
	}
	return nil
}

// imapSink hands bodies on.
type imapSink struct {
	to     Sink
	wanted map[uint32]*Message
	got    int
}

func (s *imapSink) Open(int64) (io.Writer, error) { return s.to.Begin() }

func (s *imapSink) Done(uid uint32) error {
	m := s.wanted[uid]
	if m == nil {
		return nil // twice, or not asked for: the next Begin forgets it
	}
	delete(s.wanted, uid)
	s.got++
	return s.to.Done(m)
}

// Recover implements [Source]: it waits, longer each time.
func (s *imapSource) Recover(ctx context.Context, err error) error {
	s.drop()
	if s.failed++; s.failed >= s.o.Tries {
		return postino.E(postino.Transient, "import from", s.o.Host, fmt.Errorf("%d tries in a row failed, the last one: %w", s.failed, err))
	}
	wait := min(s.o.Wait<<(s.failed-1), time.Minute)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(wait):
		return nil
	}
}

func (s *imapSource) drop() {
	if s.c != nil {
		s.c.Close()
		s.c = nil
	}
}

// Close implements [Source].
func (s *imapSource) Close() error {
	s.drop()
	return nil
}
