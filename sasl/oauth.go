package sasl

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"strings"

	"github.com/postino-mail/postino"
)

// bearer is OAUTHBEARER (RFC 7628) and the vendor's XOAUTH2, which came before.
type bearer struct {
	exchange
	vendor bool
	denied error // what the client hears after it has read our error message
}

// Next takes the message with the token; a token that is not good gives an error
// message first (RFC 7628 §3.2.3).
func (b *bearer) Next(ctx context.Context, response []byte) ([]byte, bool, error) {
	if err := b.count(response); err != nil {
		return nil, false, err
	}
	switch {
	case b.denied != nil: // whatever the client says to it: ^A, or nothing
		return b.finish("", b.denied)
	case response == nil:
		return []byte{}, false, nil
	}
	parse := parseBearer
	if b.vendor {
		parse = parseVendor
	}
	t, ok := parse(string(response))
	if t.Mechanism = b.name; !ok || !text(t.User, MaxName) {
		return nil, false, b.fail("malformed message")
	}
	if t.Token == "" { // it only asks where to get one (RFC 7628 §4.3)
		b.denied = postino.E(postino.Denied, "sasl", "", errors.New("no token"))
		return b.help(), false, nil
	}
	id, err := b.auth.Token(ctx, t)
	if postino.Is(err, postino.Denied) || postino.Is(err, postino.NotFound) {
		b.denied = err
		return b.help(), false, nil
	}
	return b.finish(id, err)
}

// help is the error message. It is the same for every reason.
func (b *bearer) help() []byte {
	m := map[string]string{"status": "invalid_token"} // RFC 6750 §3.1
	if b.vendor {
		m["status"], m["schemes"] = "401", "bearer"
	}
	if d := b.auth.Discovery; d.Scope != "" {
		m["scope"] = d.Scope
	}
	if d := b.auth.Discovery; d.OpenIDConfiguration != "" && !b.vendor {
		m["openid-configuration"] = d.OpenIDConfiguration
	}
	text, err := json.Marshal(m)
	if err != nil {
		panic("json: " + err.Error()) // a map of texts
	}
	return text
}

// kvsep parts the pairs.
const kvsep = "\x01"

// parseBearer reads the client-resp of RFC 7628 §3.1; the token is empty when the
// client says that it has none.
func parseBearer(msg string) (t Token, ok bool) {
	header, rest, ok := cutHeader(msg)
	g, ok2 := parseHeader(header)
	rest, ok3 := strings.CutPrefix(rest, kvsep)
	if !ok || !ok2 || !ok3 || g.flag == 'p' {
		return t, false
	}
	v, ok := parsePairs(rest)
	if !ok {
		return t, false
	}
	t.User, t.Host = g.authz, v["host"]
	if !text(t.Host, MaxName) {
		return t, false
	}
	if port, said := v["port"]; said {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return t, false
		}
		t.Port = uint16(n)
	}
	if auth, said := v["auth"]; said && auth == "" {
		return t, true
	}
	t.Token, ok = bearerToken(v["auth"])
	return t, ok
}

// parseVendor reads "user=" name ^A "auth=Bearer " token ^A ^A.
func parseVendor(msg string) (t Token, ok bool) {
	v, ok := parsePairs(msg)
	if !ok || len(v) != 2 {
		return t, false
	}
	t.User = v["user"]
	t.Token, ok = bearerToken(v["auth"])
	return t, ok && t.User != ""
}

// parsePairs reads *(key "=" value kvsep) kvsep. No key may come twice.
func parsePairs(s string) (map[string]string, bool) {
	all := map[string]string{}
	for {
		pair, rest, ok := strings.Cut(s, kvsep)
		if !ok {
			return nil, false
		}
		if pair == "" {
			return all, rest == ""
		}
		k, v, ok := strings.Cut(pair, "=")
		if _, twice := all[k]; !ok || twice || k == "" || strings.ContainsFunc(k, func(r rune) bool { return !('a' <= r|0x20 && r|0x20 <= 'z') }) {
			return nil, false
		}
		all[k] = v
		s = rest
	}
}

// bearerToken reads the credentials of RFC 6750 §2.1.
func bearerToken(s string) (string, bool) {
	scheme, token, ok := strings.Cut(s, " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") || token == "" {
		return "", false
	}
	padding := strings.TrimRight(token, "=")
	return token, padding != "" && !strings.ContainsFunc(padding, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("-._~+/", r))
	})
}

// appendBearer is the client's message of RFC 7628 §3.1.
func appendBearer(o *ClientOptions) []byte {
	b := []byte("n,")
	if o.User != "" {
		b = append(b, "a="+escape(o.User)...)
	}
	b = append(b, ","+kvsep...)
	if o.Host != "" {
		b = append(b, "host="+o.Host+kvsep...)
	}
	if o.Port != 0 {
		b = append(b, "port="+strconv.Itoa(int(o.Port))+kvsep...)
	}
	return append(b, "auth=Bearer "+o.Token+kvsep+kvsep...)
}
