package interop

import (
	"bufio"
	"bytes"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"net/textproto"
	"regexp"
	"strings"
	"testing"
)

// report is what a delivery status notification must say (RFC 3464). Empty fields
// are not looked at.
type report struct {
	mta, envID string
	original   string // ORCPT without its type
	final      string
	action     string
	status     string // a pattern
	diagnostic string // a pattern
	id         string // Message-ID of what was sent, in the part that returns it
	full       string // text that is in a message returned in full; "-" where only the header may be
}

// wantReport parses a report and checks the group about want.final.
func wantReport(t *testing.T, raw []byte, want report) {
	t.Helper()
	problem := func(format string, args ...any) {
		t.Helper()
		t.Errorf(format, args...)
		t.Logf("the report is\n%s", clip(string(raw)))
	}
	m, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		problem("no mail: %v", err)
		return
	}
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/report" || !strings.HasSuffix(params["report-type"], "delivery-status") {
		problem("Content-Type %s %v: %v", kind, params, err)
		return
	}
	if path := m.Header.Get("Return-Path"); path != "<>" {
		problem("Return-Path %s", path)
	}
	if auto := m.Header.Get("Auto-Submitted"); !strings.HasPrefix(auto, "auto-replied") && !strings.HasPrefix(auto, "auto-generated") {
		problem("Auto-Submitted %q", auto)
	}
	var parts [][]byte
	var kinds []string
	for r := multipart.NewReader(m.Body, params["boundary"]); ; {
		p, err := r.NextPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			problem("part %d: %v", len(parts), err)
			return
		}
		b, _ := io.ReadAll(p)
		kind, _, _ := mime.ParseMediaType(p.Header.Get("Content-Type"))
		parts, kinds = append(parts, b), append(kinds, kind)
	}
	if len(parts) != 3 || (kinds[1] != "message/delivery-status" && kinds[1] != "message/global-delivery-status") {
		problem("parts %v", kinds)
		return
	}
	groups := textproto.NewReader(bufio.NewReader(bytes.NewReader(append(parts[1], "\r\n\r\n"...))))
	head, err := groups.ReadMIMEHeader()
	if err != nil {
		problem("fields of the message: %v", err)
		return
	}
	var group textproto.MIMEHeader
	for group == nil {
		g, err := groups.ReadMIMEHeader()
		if len(g) == 0 {
			problem("nothing about %s: %v", want.final, err)
			return
		}
		if sameMailbox(g.Get("Final-Recipient"), want.final) {
			group = g
		}
	}
	if want.envID != "" && head.Get("Original-Envelope-Id") != want.envID {
		problem("Original-Envelope-Id %q, want %q", head.Get("Original-Envelope-Id"), want.envID)
	}
	if mta := head.Get("Reporting-MTA"); !strings.Contains(mta, want.mta) {
		problem("Reporting-MTA %q, want %q", mta, want.mta)
	}
	if original := group.Get("Original-Recipient"); want.original != "" && !sameMailbox(original, want.original) {
		problem("Original-Recipient %q, want %q", original, want.original)
	}
	if action := group.Get("Action"); strings.Fields(action + " -")[0] != want.action {
		problem("Action %q, want %q", action, want.action)
	}
	for field, pattern := range map[string]string{"Status": want.status, "Diagnostic-Code": want.diagnostic} {
		if !regexp.MustCompile(pattern).MatchString(group.Get(field)) {
			problem("%s %q, want %s", field, group.Get(field), pattern)
		}
	}
	if !bytes.Contains(parts[2], []byte("<"+want.id+"@client.test>")) {
		problem("the last part (%s) does not show %s", kinds[2], want.id)
	}
	switch {
	case want.full == "-" && hasBody(parts[2]):
		problem("the last part (%s) has a body", kinds[2])
	case want.full != "" && want.full != "-" && !bytes.Contains(parts[2], []byte(want.full)):
		problem("the last part (%s) does not hold %q", kinds[2], want.full)
	}
}

// hasBody tells whether there is anything below a header.
func hasBody(b []byte) bool {
	_, body, _ := bytes.Cut(b, []byte("\r\n\r\n"))
	return len(bytes.TrimSpace(body)) > 0
}

// sameMailbox compares "type; address" with an address.
func sameMailbox(field, address string) bool {
	_, a, _ := strings.Cut(field, ";")
	return strings.EqualFold(strings.Trim(strings.TrimSpace(a), "<>"), address)
}
