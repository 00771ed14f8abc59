package reports

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

// G2: sixteen times the input takes at most 2.6⁴ times the work, whatever it is.
// The clock is coarse, so a case fails only when it does so again and again.
func TestLinear(t *testing.T) {
	status := "Content-Type: multipart/report; boundary=b\n\n--b\n\nx\n--b\nContent-Type: message/delivery-status\n\n"
	for _, h := range []struct{ head, piece string }{
		{status, "\n"}, {status, "a\n"}, {status, "Status: 5.1.1\n\n"}, {status, "Final-Recipient: rfc822; a@b\nStatus: 5.1.1\n\n"},
		{status + "Final-Recipient: utf-8; ", `\x{`}, {status + "Final-Recipient: utf-8; ", `\x{41}`}, {status + "Action: ", "("}, {status + "Action: ", "()"}, {status + "Status: ", "5."},
		{status + "Remote-MTA: ", "(\\"}, {status + "Diagnostic-Code: ", "\n ;"}, {"X-Failed-Recipients: ", "a@b.example,"}, {"", "X-Failed-Recipients: a@b\n"}, {"To: ", "a@b,"}, {"", "Auto-Submitted: no\n"}, {"X-Auto-Response-Suppress: ", ","},
	} {
		checkLinear(t, h.head, h.piece, func(b []byte) {
			ParseDSN(bytes.NewReader(b), Limits{Bytes: 2 << 20})
			MayAutoReply(b, AutoReplyFacts{Sender: addr("ann", "example.org")})
		})
	}
}

// G2, MA8: the same for the reports of others.
func TestReadLinear(t *testing.T) {
	arf := "Content-Type: multipart/report; boundary=b\n\n--b\nContent-Type: message/feedback-report\n\nFeedback-Type: abuse\n"
	for _, h := range []struct{ head, piece string }{
		{"<feedback>", "<a>"}, {"<feedback>", "x"}, {"<feedback>", "<record></record>"}, {"<feedback>", "<record><auth_results><dkim></dkim></auth_results></record>"}, {"<feedback>", "<!-- -->"},
		{"<feedback>", "&lt;"}, {"<feedback ", "a='b' "}, {"<feedback><record><row>", "<count>1</count>"}, {"<?xml ", "<?"}, {`{"policies":[`, "{},"}, {`{"x":"`, `\u0041`}, {`{"x":`, "["}, {"{", " "},
		{arf, "Reported-URI: x\n"}, {arf, "X: (\n"}, {arf + "Source-IP: ", "("}, {arf + "Identity-Alignment: ", ","}, {"", "PK\x03\x04"}, {"PK\x03\x04", "PK\x01\x02"}, {"\x1f\x8b\x08\x08aaaaaa", "a"},
	} {
		checkLinear(t, h.head, h.piece, func(b []byte) { ReadFile(bytes.NewReader(b), ReadLimits{}) })
	}
}

// checkLinear measures run over a head and many pieces.
func checkLinear(t *testing.T, head, piece string, run func([]byte)) {
	t.Helper()
	measure := func(size int) time.Duration {
		b := []byte(head + strings.Repeat(piece, size/len(piece)))
		start := time.Now()
		run(b)
		return time.Since(start)
	}
	const most = 46 // 2.6⁴
	ratio := 0.0
	big, small := time.Hour, time.Hour
	for range 8 {
		big, small = min(big, measure(1<<20)), min(small, measure(64<<10)+100*time.Microsecond)
		if ratio = float64(big) / float64(small); ratio <= most {
			break
		}
	}
	if ratio > most {
		t.Errorf("%q, %q: 16 times the input takes %.0f times as long", head, piece, ratio)
	}
}

// G2: what goes into a report costs no more than what comes out of it, however
// long it is.
func TestBuildAllocations(t *testing.T) {
	measure := func(n int) float64 {
		d := failure()
		d.Rcpts[0].Diagnostic, d.EnvID, d.Subject = strings.Repeat("550 x\n", n), strings.Repeat("é", n), strings.Repeat("(", n)
		return testing.AllocsPerRun(5, func() { mustBuild(t, d) })
	}
	if small, big := measure(4<<10), measure(1<<20); big > small*1.1 {
		t.Errorf("%v allocations, and %v for more", small, big)
	}
}
