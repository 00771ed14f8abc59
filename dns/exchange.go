package dns

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/miekg/dns"
)

const (
	// udpSize is what fits into a packet on any path (RFC 6891 §6.2.5, DN1).
	udpSize = 1232
	// maxStray is how many packets that answer something else are passed over
	// before a server counts as silent (RFC 5452 §9.2).
	maxStray = 32
)

// client carries questions to servers.
type client struct {
	dial func(ctx context.Context, network, address string) (net.Conn, error)
	tls  pool
}

// fetch gets the whole reply to a question, by TCP where UDP is not enough.
func (c *client) fetch(ctx context.Context, server Server, name string, t Type, f flavour) (*dns.Msg, error) {
	if server.TLSName != "" {
		return c.overTLS(ctx, server, name, t, f)
	}
	m, err := c.exchange(ctx, "udp", server, name, t, f)
	if err == nil && m.Truncated || errors.Is(err, errSpelling) {
		m, err = c.exchange(ctx, "tcp", server, name, t, f)
		if err == nil && m.Truncated {
			return nil, errMessage
		}
	}
	return m, err
}

// errSpelling tells that a reply had the question in another case: either a
// forgery or an odd server, and TCP settles it.
var errSpelling = errors.New("reply has the question in another case")

// exchange sends one question and waits for its reply.
func (c *client) exchange(ctx context.Context, network string, server Server, name string, t Type, f flavour) (*dns.Msg, error) {
	conn, err := c.dial(ctx, network, server.Addr.String())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Now()) })()
	q, err := question(name, t, f)
	if err != nil {
		return nil, err
	}
	if network == "tcp" {
		return overTCP(conn, q)
	}
	return overUDP(conn, q)
}

// flavour is what a question asks for.
type flavour uint8

const (
	edns      flavour = 1 << iota // larger packets, extended errors
	proof                         // signatures, unjudged (DO, CD)
	iterative                     // no recursion
	padded                        // a length that tells nothing (RFC 7830)

	plain     flavour = 0
	withEDNS          = edns
	withProof         = edns | proof
)

// block is what padded questions are multiples of (RFC 8467 §4.1).
const block = 128

// query is a question and its octets.
type query struct {
	id   uint16
	name string // with the spelling that the reply must repeat
	kind uint16
	wire []byte
}

// question makes a query with a random id and random letter case (RFC 5452
// §9.2, DN1).
func question(name string, t Type, f flavour) (query, error) {
	var random [2 + 32]byte
	rand.Read(random[:])
	spelled := []byte(name + ".")
	for i, c := range spelled {
		if 'a' <= c && c <= 'z' && random[2+i/8]>>(i%8)&1 == 1 {
			spelled[i] = c - 'a' + 'A'
		}
	}
	m := new(dns.Msg)
	m.SetQuestion(string(spelled), uint16(t))
	m.Id = binary.BigEndian.Uint16(random[:])
	m.AuthenticatedData = true // RFC 6840 §5.7: we understand AD
	if f&edns != 0 {
		m.SetEdns0(udpSize, f&proof != 0)
	}
	m.CheckingDisabled = f&proof != 0 // RFC 6840 §5.9: we judge, and want to see what we judge
	m.RecursionDesired = f&iterative == 0
	if f&padded != 0 && f&edns != 0 {
		opt, fill := m.IsEdns0(), block-(m.Len()+4)%block
		opt.Option = append(opt.Option, &dns.EDNS0_PADDING{Padding: make([]byte, fill%block)})
	}
	wire, err := m.Pack()
	return query{m.Id, string(spelled), uint16(t), wire}, err
}

// check tells whether m answers q.
func (q query) check(m *dns.Msg) error {
	if m.Id != q.id || !m.Response || m.Opcode != dns.OpcodeQuery {
		return errMessage
	}
	if len(m.Question) == 0 && m.Rcode == dns.RcodeFormatError {
		return nil // such servers repeat nothing
	}
	if len(m.Question) != 1 || m.Question[0].Qtype != q.kind || m.Question[0].Qclass != dns.ClassINET {
		return errMessage
	}
	switch got := m.Question[0].Name; {
	case got == q.name:
		return nil
	case strings.EqualFold(got, q.name):
		return errSpelling
	}
	return errMessage
}

// overUDP passes over packets that do not belong to the question, as anybody
// may send some.
func overUDP(conn net.Conn, q query) (*dns.Msg, error) {
	if _, err := conn.Write(q.wire); err != nil {
		return nil, err
	}
	b := make([]byte, 4096) // some servers send more than they were asked to
	for range maxStray {
		n, err := conn.Read(b)
		if err != nil {
			return nil, err
		}
		m, err := parse(b[:n])
		if err == nil {
			err = q.check(m)
		} else if n >= 12 && binary.BigEndian.Uint16(b) == q.id && b[2]&2 != 0 {
			return &dns.Msg{MsgHdr: dns.MsgHdr{Truncated: true}}, nil // cut in the middle of a record
		}
		if err == nil || err == errSpelling {
			return m, err
		}
	}
	return nil, fmt.Errorf("%d packets do not belong to the question", maxStray)
}

// overTCP is RFC 7766 §8: two octets of length before each message.
func overTCP(conn net.Conn, q query) (*dns.Msg, error) {
	if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(q.wire))), q.wire...)); err != nil {
		return nil, err
	}
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil, err
	}
	b := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(conn, b); err != nil {
		return nil, err
	}
	m, err := parse(b)
	if err != nil {
		return nil, err
	}
	if err := q.check(m); err != nil && err != errSpelling { // who can read the stream has no need to guess
		return nil, err
	}
	return m, nil
}
