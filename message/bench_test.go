package message

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"strings"
	"testing"
)

// sampleMail is a mail of about the size: six trace fields, an alternative of
// plain and HTML text, and an attachment that fills the rest.
func sampleMail(size int) []byte {
	var b strings.Builder
	for i := range 6 {
		fmt.Fprintf(&b, "Received: from mx%d.example.net (mx%d.example.net [192.0.2.%d])\n\tby mx.example.org (Postino) with ESMTPS id 0123456789abcd%d\n\tfor <user@example.org>; Mon, 1 Jan 2024 10:00:0%d +0000\n", i, i, i, i, i)
	}
	b.WriteString("DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.net; s=s1; h=from:to:subject:date;\n bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=;\n b=" + strings.Repeat("0123456789abcdef", 20) + "\n" +
		"From: =?utf-8?q?Zo=C3=AB?= <zoe@example.net>\nTo: User <user@example.org>, other@example.com\nCc: \"Doe, John\" <john@example.com>\nSubject: Re: =?utf-8?b?Y2Fmw6k=?= tomorrow\n" +
		"Date: Mon, 1 Jan 2024 10:00:00 +0000\nMessage-ID: <1234@example.net>\nIn-Reply-To: <1233@example.org>\nReferences: <1231@example.net>\n <1232@example.net> <1233@example.org>\nMIME-Version: 1.0\n" +
		"Content-Type: multipart/mixed; boundary=\"outer\"\n\n--outer\nContent-Type: multipart/alternative; boundary=\"inner\"\n\n--inner\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n")
	line := "Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do =C3=A9 tempor\n"
	for range 20 {
		b.WriteString(line)
	}
	b.WriteString("\n--inner\nContent-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n")
	for range 30 {
		b.WriteString("<p>" + line)
	}
	b.WriteString("\n--inner--\n--outer\nContent-Type: application/pdf; name=\"a.pdf\"\nContent-Transfer-Encoding: base64\nContent-Disposition: attachment; filename=\"a.pdf\"\n\n")
	encoded := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("octets of a file, "), max(0, size-b.Len()-300)*74/76/24))
	for len(encoded) > 76 {
		b.WriteString(encoded[:76] + "\n")
		encoded = encoded[76:]
	}
	b.WriteString(encoded + "\n--outer--\n")
	return crlf(b.String())
}

func BenchmarkIndexer(b *testing.B) {
	for _, size := range []int{9 << 10, 1400 << 10} {
		mail := sampleMail(size)
		b.Run(fmt.Sprintf("%dK", size>>10), func(b *testing.B) {
			b.SetBytes(int64(len(mail)))
			b.ReportAllocs()
			for b.Loop() {
				x := NewIndexer(Limits{})
				for rest := mail; len(rest) > 0; {
					n := min(len(rest), 32<<10)
					x.Write(rest[:n])
					rest = rest[n:]
				}
				x.Finish()
			}
		})
	}
}

func BenchmarkRender(b *testing.B) {
	x := Parse(sampleMail(9<<10), Limits{})
	var buf []byte
	run := func(name string, f func()) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				f()
			}
		})
	}
	run("envelope", func() { buf = x.AppendEnvelope(buf[:0]) })
	run("bodystructure", func() { buf = x.AppendBodyStructure(buf[:0], true) })
	run("encode", func() { buf = x.AppendBinary(buf[:0]) })
	enc := x.AppendBinary(nil)
	run("decode", func() { DecodeIndex(enc) })
	run("summary", func() { Summarize(x.Header()) })
	run("fields", func() { buf = AppendHeaderFields(buf[:0], x.Header(), []string{"From", "Subject", "Date"}, false) })
}

func BenchmarkDecoder(b *testing.B) {
	mail := sampleMail(1400 << 10)
	x := Parse(mail, Limits{})
	for _, p := range x.Parts {
		if p.Multipart() {
			continue
		}
		body := mail[p.BodyStart:p.End]
		body = bytes.Repeat(body, 1+(64<<10)/len(body))
		b.Run(p.Encoding+"-"+p.Subtype, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				io.Copy(io.Discard, NewDecoder(bytes.NewReader(body), p.Encoding))
			}
		})
	}
}

func BenchmarkSearchText(b *testing.B) {
	mail := sampleMail(9 << 10)
	x := Parse(mail, Limits{})
	m := NewMatcher("not in there")
	b.SetBytes(int64(len(mail)))
	b.ReportAllocs()
	for b.Loop() {
		for text := range x.Texts(bytes.NewReader(mail), TextAll) {
			if ok, err := m.Match(text); ok || err != nil {
				b.Fatal(ok, err)
			}
		}
	}
}
