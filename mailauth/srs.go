package mailauth

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"strings"
	"time"

	"github.com/postino-mail/postino"
)

// SRS rewrites the senders of forwarded mail. Its methods may be called by many
// goroutines at once.
type SRS struct {
	// Domain is the canonical domain of the rewritten addresses. Its mail must
	// come to us and its SPF record must list us.
	Domain string
	// Secrets sign and prove the addresses: the first one signs, all prove. At
	// least 16 octets each; empty ones are passed over. An old secret is kept for
	// MaxAge after a new one came.
	Secrets [][]byte
	// MaxAge is how long bounces are taken for a rewritten address, in whole days;
	// 0 means 21 days, the most is 1,000.
	MaxAge time.Duration
}

const (
	srsDay    = 24 * time.Hour
	srsDays   = 1 << 10 // two characters of base32: the stamp begins again
	srsMaxAge = 21
	srsMAC    = 5 // octets: 40 bits, eight characters
)

var (
	errNoSRS      = errors.New("not an address of the sender rewriting scheme")
	errSRSForged  = errors.New("the rewritten address is not one of ours")
	errSRSExpired = errors.New("the rewritten address is too old")
)

var srsBase32 = base32.StdEncoding.WithPadding(base32.NoPadding)

// Forward returns the sender under which a message from a may be forwarded:
//
//	ana@example.org                    SRS0=MAC=TT=example.org=ana@Domain
//	SRS0=HHHH=TT=org=ana@first         SRS1=MAC=first==HHHH=TT=org=ana@Domain
//	SRS1=HHHH=first==GGGG=TT=org=ana@b SRS1=MAC=first==GGGG=TT=org=ana@Domain
//
// The null sender and senders of our own Domain stay as they are. It is false when
// the local part would be longer than 64 octets, which other hosts need not accept
// (RFC 5321 §4.5.3.1.1), or when there is no secret: then a is returned, and the
// message is better forwarded under it than lost; SPF may fail for it.
func (s *SRS) Forward(a postino.Address, now time.Time) (postino.Address, bool) {
	if a.IsNull() || a.Domain == s.Domain {
		return a, true
	}
	kind, signed := "SRS0", srsStamp(now)+"="+a.Domain+"="+a.Local
	switch version, rest := srsCut(a.Local); version {
	case '0':
		kind, signed = "SRS1", a.Domain+"="+rest
	case '1':
		// What only looks like the scheme is a local part like any other.
		_, first, rest, ok := srsFields(rest[1:])
		if _, err := postino.CanonicalDomain(first); ok && err == nil && srsSeparated(rest) {
			kind, signed = "SRS1", first+"="+rest
		}
	}
	for _, secret := range s.Secrets {
		if len(secret) == 0 {
			continue
		}
		local := kind + "=" + s.mac(secret, kind, signed) + "=" + signed
		if a.Domain == "" || len(local) > postino.MaxLocal {
			return a, false
		}
		return postino.Address{Local: local, Domain: s.Domain}, true
	}
	return a, false
}

// Reverse returns the address that a stands for: the original sender, or the
// address of the host that rewrote it first. Kinds: NotFound when a is no rewritten
// address of Domain, and so perhaps a mailbox; Denied when it is forged or too old.
// Letters that changed their case on the way stay changed.
func (s *SRS) Reverse(a postino.Address, now time.Time) (postino.Address, error) {
	back, err := s.reverse(a, now)
	switch err {
	case nil:
		return back, nil
	case errNoSRS:
		return postino.Address{}, postino.E(postino.NotFound, "reverse sender", a.String(), err)
	}
	return postino.Address{}, postino.E(postino.Denied, "reverse sender", a.String(), err)
}

func (s *SRS) reverse(a postino.Address, now time.Time) (postino.Address, error) {
	version, rest := srsCut(a.Local)
	if version == 0 || a.Domain != s.Domain {
		return postino.Address{}, errNoSRS
	}
	kind := "SRS" + string(version)
	mac, first, last, ok := srsFields(rest[1:])
	if !ok || !s.proved(mac, kind, first+"="+last) {
		return postino.Address{}, errSRSForged
	}
	if version == '1' {
		return srsAddress("SRS0"+last, first)
	}
	domain, local, _ := strings.Cut(last, "=")
	if !s.recent(first, now) {
		return postino.Address{}, errSRSExpired
	}
	return srsAddress(local, domain)
}

// srsAddress makes an address of what a proved one holds. Only its case may have
// changed since it was made, which the domain need not keep.
func srsAddress(local, domain string) (postino.Address, error) {
	d, err := postino.CanonicalDomain(domain)
	if err != nil || local == "" {
		return postino.Address{}, errSRSForged
	}
	return postino.Address{Local: local, Domain: d}, nil
}

// srsCut tells the version of the scheme that a local part is written in, '0' or
// '1', and returns what follows it, beginning with a separator; 0 is none.
func srsCut(local string) (version byte, rest string) {
	if len(local) < 6 || !strings.EqualFold(local[:3], "SRS") || local[3] != '0' && local[3] != '1' || !srsSeparated(local[4:]) {
		return 0, ""
	}
	return local[3], local[4:]
}

// srsSeparated tells whether s begins with a separator; the scheme leaves a choice
// of three for the first one.
func srsSeparated(s string) bool { return s != "" && strings.IndexByte("=+-", s[0]) >= 0 }

// srsFields cuts "MAC=field=rest".
func srsFields(s string) (mac, field, rest string, ok bool) {
	mac, s, ok = strings.Cut(s, "=")
	if !ok {
		return "", "", "", false
	}
	field, rest, ok = strings.Cut(s, "=")
	return mac, field, rest, ok && mac != "" && field != ""
}

// mac signs what stands behind it, and the domain.
func (s *SRS) mac(secret []byte, kind, signed string) string {
	h := hmac.New(sha256.New, secret)
	h.Write([]byte(kind + "=" + s.Domain + "=" + asciiLower(signed)))
	return srsBase32.EncodeToString(h.Sum(nil)[:srsMAC])
}

// proved tells whether one of the secrets made the MAC.
func (s *SRS) proved(mac, kind, signed string) bool {
	given := []byte(strings.ToUpper(mac))
	ok := false
	for _, secret := range s.Secrets {
		ok = len(secret) > 0 && hmac.Equal(given, []byte(s.mac(secret, kind, signed))) || ok
	}
	return ok
}

// asciiLower folds the letters that hosts on the way may fold.
func asciiLower(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

// srsToday is the number of the day, as far as a stamp can say it.
func srsToday(now time.Time) int { return int(now.Unix()/int64(srsDay/time.Second)) & (srsDays - 1) }

const srsDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"

// srsStamp writes the day in two characters.
func srsStamp(now time.Time) string {
	day := srsToday(now)
	return string([]byte{srsDigits[day>>5], srsDigits[day&31]})
}

// recent tells whether a stamp is of today, of at most MaxAge ago, or of tomorrow:
// the clocks of several hosts differ.
func (s *SRS) recent(stamp string, now time.Time) bool {
	if len(stamp) != 2 {
		return false
	}
	stamp = strings.ToUpper(stamp)
	high, low := strings.IndexByte(srsDigits, stamp[0]), strings.IndexByte(srsDigits, stamp[1])
	if high < 0 || low < 0 {
		return false
	}
	most := srsMaxAge
	if s.MaxAge > 0 {
		most = min(int((s.MaxAge+srsDay-1)/srsDay), 1000)
	}
	age := (srsToday(now) - (high<<5 | low)) & (srsDays - 1)
	return age <= most || age == srsDays-1
}
