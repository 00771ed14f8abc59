package message

import (
	"io"
)

// base64Values maps the alphabet of RFC 4648 §4 to its values; 64 is "=", all
// else 255.
var base64Values = func() (t [256]byte) {
	for i := range t {
		t[i] = 255
	}
	for i := range 64 {
		t["ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[i]] = byte(i)
	}
	t['='] = 64
	return t
}()

// appendBase64 appends decoded base64, passing over what is not of the
// alphabet; padding ends a quantum, it need not be there.
func appendBase64(dst, b []byte) []byte {
	var bits uint32
	n := 0
	for _, c := range b {
		v := base64Values[c]
		if v < 64 {
			bits = bits<<6 | uint32(v)
			if n += 6; n >= 8 {
				n -= 8
				dst = append(dst, byte(bits>>n))
			}
		} else if v == 64 {
			bits, n = 0, 0
		}
	}
	return dst
}

var _ io.Reader
