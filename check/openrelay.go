package check

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// stranger is a domain that is nobody's (RFC 2606 §3); nothing is ever sent to it.
const stranger = "example.com"

// attempt is a way to make a server send mail to others (SS18).
type attempt struct{ name, from, to string }

// attempts are the ways; host is our name and at the address that we are called by.
func attempts(host string, at netip.Addr) []attempt {
	literal := "[" + at.Unmap().String() + "]"
	if at.Unmap().Is6() {
		literal = "[IPv6:" + at.String() + "]"
	}
	const out, mail = "postino-check@" + stranger, "postino-check"
	own := mail + "@" + host
	return []attempt{
		{"a plain address", "<check@example.net>", "<" + out + ">"},
		{"the null sender", "<>", "<" + out + ">"},
		{"a sender of ours", "<" + own + ">", "<" + out + ">"},
		{"a sender at our address", "<" + mail + "@" + literal + ">", "<" + out + ">"},
		{"a sender without a domain", "<postmaster>", "<" + out + ">"},
		{"%", "<check@example.net>", "<" + mail + "%" + stranger + "@" + host + ">"},
		{"% at our address", "<check@example.net>", "<" + mail + "%" + stranger + "@" + literal + ">"},
		{"% without a domain", "<check@example.net>", "<" + mail + "%" + stranger + ">"},
		{"quotes", "<check@example.net>", `<"` + out + `">`},
		{"quotes before our name", "<check@example.net>", `<"` + out + `"@` + host + ">"},
		{"two @", "<check@example.net>", "<" + out + "@" + host + ">"},
		{"two @ at our address", "<check@example.net>", "<" + out + "@" + literal + ">"},
		{"a source route", "<check@example.net>", "<@" + host + ":" + out + ">"},
		{"a source route by our address", "<check@example.net>", "<@" + literal + ":" + out + ">"},
		{"a bang path", "<check@example.net>", "<" + stranger + "!" + mail + ">"},
		{"a bang path before our name", "<check@example.net>", "<" + stranger + "!" + mail + "@" + host + ">"},
		{"a bang path by our name", "<check@example.net>", "<" + host + "!" + stranger + "!" + mail + ">"},
		{"no brackets", "<check@example.net>", out},
	}
}

// errEnded tells that the server has hung up, as it does with those who err often.
var errEnded = errors.New("the server ended the dialogue")

// openRelay plays a stranger who wants mail sent to others. No form of an address
// may be taken; the test ends before any content.
func (r *run) openRelay(ctx context.Context) (list []Finding) {
	const name = "relay.closed"
	if r.opts.Dial == nil {
		return []Finding{unsure(name, "", "whether the server is an open relay", errNotKnown)}
	}
	for _, to := range r.listeners("smtp") {
		at := to.String()
		tried, taken, err := r.attack(ctx, to)
		switch {
		case len(taken) > 0:
			list = append(list, finding(Fix, name, at, "the server takes mail of strangers for others: it is an open relay").detail("it took %s", strings.Join(taken, ", ")))
		case err != nil:
			list = append(list, unsure(name, at, "whether the server is an open relay", err))
		default:
			list = append(list, finding(OK, name, at, "the server takes no mail of strangers for others").detail("%d ways tried", tried))
		}
	}
	return list
}

var errMayRelay = errors.New("by the configuration this machine itself may send to others without a login")

// attack tries all ways and says which the server took.
func (r *run) attack(ctx context.Context, to netip.AddrPort) (tried int, taken []string, err error) {
	s := &intruder{run: r, to: to}
	defer s.leave()
	host := r.node.Host
	if ok, err := s.takes(ctx, "<check@example.net>", fmt.Sprintf("<postino-check-%x@%s>", r.now.UnixNano(), host)); errors.Is(err, errMayRelay) {
		return 0, nil, err
	} else if ok || err != nil {
		host = "localhost.invalid" // who takes any name of ours passes nothing on by taking these
	}
	for _, a := range attempts(host, to.Addr()) {
		ok, terr := s.takes(ctx, a.from, a.to)
		switch {
		case terr != nil:
			err = fmt.Errorf("%s: %w", a.name, terr)
		case ok:
			taken = append(taken, a.name)
		}
		tried++
	}
	return tried, taken, err
}

// intruder comes again when the server hangs up, and before it gets slow: servers
// do both with those who err often.
type intruder struct {
	*run
	to netip.AddrPort
	d  *dialogue
	n  int
}

// perDialogue is how many recipients are tried before the intruder comes anew.
const perDialogue = 3

func (s *intruder) takes(ctx context.Context, from, to string) (ok bool, err error) {
	for range 2 {
		fresh := s.d == nil || s.n == perDialogue
		if fresh {
			if err := s.come(ctx); err != nil {
				return false, err
			}
		}
		s.n++
		if ok, err = s.d.takes(from, to); fresh || !errors.Is(err, errEnded) {
			return ok, err
		}
		s.n = perDialogue
	}
	return ok, err
}

func (s *intruder) come(ctx context.Context) (err error) {
	s.leave()
	if s.d, err = s.meet(ctx, s.to); err != nil {
		return err
	}
	if s.n = 0; s.node.MayRelay != nil && s.node.MayRelay(local(s.d.conn)) {
		return errMayRelay
	}
	return nil
}

func (s *intruder) leave() {
	if s.d != nil {
		_, _, _ = s.d.ask("QUIT") // good manners; nothing hangs on it
		s.d.close()
		s.d = nil
	}
}

// local is the address that a connection comes from.
func local(c net.Conn) netip.Addr {
	a, err := netip.ParseAddrPort(c.LocalAddr().String())
	if err != nil {
		return netip.Addr{}
	}
	return a.Addr().Unmap()
}

// meet connects and says hello.
func (r *run) meet(ctx context.Context, to netip.AddrPort) (*dialogue, error) {
	d, err := r.dial(ctx, to)
	if err != nil {
		return nil, err
	}
	code, _, err := d.smtp()
	if err == nil && code == 220 {
		code, _, err = d.ask("EHLO stranger.example.net")
	}
	if err == nil && code != 250 {
		err = errGreeting(code)
	}
	if err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

// takes tells whether a recipient is taken from a sender.
func (d *dialogue) takes(from, to string) (bool, error) {
	code, text, err := d.ask("MAIL FROM:%s", from)
	if err == nil && code/100 == 2 {
		code, text, err = d.ask("RCPT TO:%s", to)
		if err == nil && code != 421 {
			if _, _, err := d.ask("RSET"); err != nil {
				return code/100 == 2, errEnded
			}
		}
	}
	switch {
	case err != nil, code == 421:
		return false, errEnded
	case code/100 == 4:
		return false, errors.New(text) // it may be taken later
	}
	return code/100 == 2, nil
}
