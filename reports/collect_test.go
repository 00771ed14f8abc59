package reports

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/kv/lsm"
	"github.com/postino-mail/postino/mailauth"
	"github.com/postino-mail/postino/vfs"
	"pgregory.net/rapid"
)

// differ says how two values differ as JSON, which takes empty and nil for the
// same; "" when they do not.
func differ(want, got any) string {
	w, err := json.MarshalIndent(want, "", " ")
	if err != nil {
		return err.Error()
	}
	g, err := json.MarshalIndent(got, "", " ")
	if err != nil {
		return err.Error()
	}
	if string(w) == string(g) {
		return ""
	}
	return fmt.Sprintf("want %s\ngot %s", w, g)
}

func openKV(t testing.TB) *lsm.DB {
	t.Helper()
	db, err := lsm.Open(vfs.Memory(), "db", lsm.Options{MemTableBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

var day0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func outcome(n int) DMARCOutcome {
	return DMARCOutcome{
		Time: day0, Source: netip.AddrFrom4([4]byte{192, 0, byte(n >> 8), byte(n)}), HeaderFrom: "shop.example", EnvelopeFrom: "bounce.shop.example",
		Policy: DMARCPolicy{Domain: "shop.example", P: Reject, SP: Reject, ADKIM: "r", ASPF: "r", FO: "0", Testing: "n", Discovery: "treewalk"},
		RUA:    []string{"mailto:dmarc@shop.example"}, Disposition: Reject,
		DKIM: []DKIMResult{{Domain: "shop.example", Selector: "s1", Result: mailauth.Fail, Human: "body hash"}},
		SPF:  SPFResult{Domain: "bounce.shop.example", Result: mailauth.None},
	}
}

// storedRows reads all rows of a domain and day.
func storedRows(t *testing.T, db kv.DB, kind byte, day uint64, domain string) (d domainDay, rows []storedRow) {
	t.Helper()
	err := db.View(t.Context(), []kv.Scope{scope}, func(r kv.Reader) error {
		key := domainKey(nil, metaRow, kind, day, domain)
		if err := getJSON(r, key, &d); err != nil {
			return err
		}
		key[1] = recordRow
		return r.Scan(kv.Prefix(key), func(_, v []byte) bool {
			row, err := splitRow(v)
			if err != nil {
				t.Error(err)
			}
			row.row = append([]byte(nil), row.row...)
			rows = append(rows, row)
			return true
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return d, rows
}

func TestCollectorCounts(t *testing.T) {
	db := openKV(t)
	for range 2 { // the second adds to what the first wrote
		c := NewCollector(db, CollectorOptions{})
		for range 3 {
			c.DMARC(outcome(1))
		}
		c.DMARC(outcome(2))
		c.TLS(TLSOutcome{Time: day0, Policy: TLSPolicy{Type: NoPolicy, Domain: "shop.example"}, Session: true})
		c.Close()
	}
	d, rows := storedRows(t, db, dmarcKind, dayOf(day0), "shop.example")
	if d.Rows != 2 || !d.Owed || d.Lost != 0 || d.Policy.P != Reject || len(rows) != 2 {
		t.Errorf("domain %+v, %d rows", d, len(rows))
	}
	counts := map[string]int64{}
	for _, row := range rows {
		r, err := parseRow(row.row)
		if err != nil {
			t.Fatal(err)
		}
		counts[r.Source.String()] = row.count
	}
	if want := map[string]int64{"192.0.0.1": 6, "192.0.0.2": 2}; !maps.Equal(counts, want) {
		t.Errorf("counts %v, want %v", counts, want)
	}
	if _, rows := storedRows(t, db, tlsKind, dayOf(day0), "shop.example"); len(rows) != 1 || rows[0].sessions != 2 || rows[0].count != 2 {
		t.Errorf("rows of TLS: %+v", rows)
	}
}

// G10: neither memory nor the store grows with what strangers send.
func TestCollectorIsBounded(t *testing.T) {
	db := openKV(t)
	c := NewCollector(db, CollectorOptions{Rows: 5, DayRows: 7, Domains: 3})
	for n := range 20 {
		c.DMARC(outcome(n))
	}
	for n := range 5 {
		o := outcome(1)
		o.Policy.Domain = fmt.Sprintf("d%d.example", n)
		c.DMARC(o)
		c.DMARC(o)
	}
	c.Close()
	d, rows := storedRows(t, db, dmarcKind, dayOf(day0), "shop.example")
	var total dayTotal
	if err := db.View(t.Context(), nil, func(r kv.Reader) error { return getJSON(r, dayKey(nil, dayOf(day0)), &total) }); err != nil {
		t.Fatal(err)
	}
	if len(rows) > 5 || d.Rows != len(rows) || len(rows) > 0 && d.Lost != int64(20-len(rows)) {
		t.Errorf("%d rows, %+v", len(rows), d)
	}
	if total.Domains != 3 || total.Rows > 7 {
		t.Errorf("day has %+v", total)
	}

	small := NewCollector(db, CollectorOptions{Memory: 8 << 10, Every: time.Hour})
	defer small.Close()
	small.mu.Lock()
	over := small.o.Memory
	small.mu.Unlock()
	for n := range 10_000 {
		small.DMARC(outcome(n))
		small.mu.Lock()
		if small.now.octets > over {
			t.Fatalf("%d octets wait, at most %d may", small.now.octets, over)
		}
		small.mu.Unlock()
	}
}

func TestCollectorPassesOver(t *testing.T) {
	db := openKV(t)
	c := NewCollector(db, CollectorOptions{})
	noRUA, noSource, nul := outcome(1), outcome(1), outcome(1)
	noRUA.RUA, noSource.Source, nul.Policy.Domain = nil, netip.Addr{}, "a\x00b"
	c.DMARC(noRUA)
	c.DMARC(noSource)
	c.DMARC(nul)
	c.TLS(TLSOutcome{Time: day0})
	c.Close()
	if err := db.View(t.Context(), nil, func(r kv.Reader) error {
		return r.Scan(kv.Prefix([]byte{'R'}), func(k, _ []byte) bool { t.Errorf("row %q", k); return true })
	}); err != nil {
		t.Fatal(err)
	}
	var none *Collector
	none.DMARC(outcome(1))
	none.TLS(TLSOutcome{Domain: "a.example"})
	none.DMARCFailure(DMARCFailure{})
	none.Close()
}

// What a row keeps is what the outcome said, within its bounds.
func TestRowsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.StringN(0, 60, maxText)
		o := outcome(rapid.IntRange(0, 60000).Draw(t, "n"))
		if rapid.Bool().Draw(t, "six") {
			o.Source = netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: 7})
		}
		o.Disposition, o.DKIMAligned, o.SPFAligned = Disposition(word.Draw(t, "disposition")), rapid.Bool().Draw(t, "dkim"), rapid.Bool().Draw(t, "spf")
		o.EnvelopeTo = word.Draw(t, "to")
		o.Reasons = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Override { return Override{word.Draw(t, "type"), word.Draw(t, "comment")} }), 0, maxReasons).Draw(t, "reasons")
		o.DKIM = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) DKIMResult {
			return DKIMResult{word.Draw(t, "d"), word.Draw(t, "s"), mailauth.Result(word.Draw(t, "result")), word.Draw(t, "human")}
		}), 0, 1).Draw(t, "signatures")
		got, err := parseRow(o.appendRow(nil))
		if err != nil {
			t.Fatal(err)
		}
		want := &Record{
			Source: o.Source, Disposition: o.Disposition, DKIMAligned: o.DKIMAligned, SPFAligned: o.SPFAligned, Reasons: o.Reasons,
			HeaderFrom: o.HeaderFrom, EnvelopeFrom: o.EnvelopeFrom, EnvelopeTo: o.EnvelopeTo, DKIM: o.DKIM, SPF: o.SPF,
		}
		if d := differ(want, got); d != "" {
			t.Fatal(d)
		}
		s := TLSOutcome{
			Policy: TLSPolicy{Type: PolicySTS, Domain: "a.example", Strings: rapid.SliceOfN(word, 0, maxStrings).Draw(t, "strings"), MX: []string{"*.a.example"}},
			Result: CertExpired, SendingIP: o.Source, MXHost: word.Draw(t, "mx"), MXHelo: word.Draw(t, "helo"), Reason: word.Draw(t, "reason"),
		}
		tls, err := parseTLSRow(s.appendRow(nil))
		if err != nil {
			t.Fatal(err)
		}
		if d := differ(&TLSRecord{Policy: s.Policy, Result: s.Result, SendingIP: s.SendingIP, MXHost: s.MXHost, MXHelo: s.MXHelo, Reason: s.Reason}, tls); d != "" {
			t.Fatal(d)
		}
	})
}

func FuzzRow(f *testing.F) {
	o := outcome(1)
	f.Add(o.appendRow(nil))
	f.Add((&TLSOutcome{Domain: "a.example", Result: CertExpired}).appendRow(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := parseRow(b); err == nil && (len(r.DKIM) > maxSignatures || len(r.Reasons) > maxReasons) {
			t.Errorf("read %+v", r)
		}
		if r, err := parseTLSRow(b); err == nil && len(r.Policy.Strings) > maxStrings {
			t.Errorf("read %+v", r)
		}
	})
}

// RFC 9990 §3.1.3: what passes for the domain stands first.
func TestSignaturesAreRanked(t *testing.T) {
	all := []DKIMResult{
		{Domain: "other.example", Result: mailauth.Fail}, {Domain: "esp.example", Result: mailauth.Pass},
		{Domain: "shop.example", Result: mailauth.Pass}, {Domain: "www.shop.example", Result: mailauth.Pass},
	}
	var got []string
	for _, s := range rankSignatures(all, "www.shop.example") {
		got = append(got, s.Domain)
	}
	if want := []string{"www.shop.example", "shop.example", "esp.example", "other.example"}; !slices.Equal(got, want) {
		t.Errorf("order %v, want %v", got, want)
	}
	if n := len(rankSignatures(make([]DKIMResult, 300), "a.example")); n != maxSignatures {
		t.Errorf("%d signatures kept", n)
	}
}

func BenchmarkCollectorDMARC(b *testing.B) {
	c := NewCollector(openKV(b), CollectorOptions{Every: time.Hour})
	defer c.Close()
	o := outcome(1)
	b.ReportAllocs()
	for b.Loop() {
		c.DMARC(o)
	}
}
