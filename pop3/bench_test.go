package pop3

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
)

// BenchmarkRETR sends messages of 5 KB over loopback, asked for one by one and
// pipelined, from memory: what the engine costs.
func BenchmarkRETR(b *testing.B) {
	body := "Subject: x\r\n\r\n" + strings.Repeat(strings.Repeat("0123456789", 7)+"\r\n", 70)
	store := newMemStore()
	for i := range 10_000 {
		store.msgs = append(store.msgs, &memMsg{uid: fmt.Sprint(i), body: []byte(body)})
	}
	for _, pipelined := range []bool{false, true} {
		b.Run(map[bool]string{false: "one by one", true: "pipelined"}[pipelined], func(b *testing.B) {
			_, connect := start(b, store, nil)
			c := connect()
			c.r = bufio.NewReaderSize(c.nc, 1<<18)
			c.line()
			c.do("USER ann")
			c.do("PASS sesame")
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			b.ResetTimer()
			if pipelined {
				go func() {
					w := bufio.NewWriterSize(c.nc, 1<<16)
					for i := range b.N {
						fmt.Fprintf(w, "RETR %d\r\n", i%10_000+1)
					}
					w.Flush()
				}()
			}
			for i := range b.N {
				if !pipelined {
					fmt.Fprintf(c.nc, "RETR %d\r\n", i%10_000+1)
				}
				for {
					line, err := c.r.ReadSlice('\n')
					if err != nil {
						b.Fatal(err)
					}
					if bytes.Equal(line, []byte(".\r\n")) {
						break
					}
				}
			}
		})
	}
}

// BenchmarkSend is a message on its way into the buffer.
func BenchmarkSend(b *testing.B) {
	body := []byte("Subject: x\r\n\r\n" + strings.Repeat(strings.Repeat("0123456789", 7)+"\r\n", 70))
	store := newMemStore(string(body))
	drop, _ := store.open("ann")
	c := newConn(NewServer(Options{}), &canned{in: strings.NewReader("")})
	c.out.conn = discard{c.raw.(*canned)}
	c.drop, c.deleted, c.retrieved = drop, newBitset(1), newBitset(1)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if err := c.send(0, allLines); err != nil {
			b.Fatal(err)
		}
	}
	c.leave()
}

type discard struct{ *canned }

func (discard) Write(p []byte) (int, error) { return io.Discard.Write(p) }
