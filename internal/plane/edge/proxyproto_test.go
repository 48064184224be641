package edge

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"
	"net/netip"
	"strings"
	"testing"
	"testing/iotest"
)

// proxyBlock makes a version 2 header.
func proxyBlock(command, family byte, addresses []byte, tlvs ...[]byte) string {
	body := append([]byte(nil), addresses...)
	for _, t := range tlvs {
		body = append(body, t...)
	}
	b := append([]byte(proxyV2), command, family, byte(len(body)>>8), byte(len(body)))
	return string(append(b, body...))
}

func proxyTLV(kind byte, value []byte) []byte {
	return append([]byte{kind, byte(len(value) >> 8), byte(len(value))}, value...)
}

// summed sets the checksum of a header that ends with an empty CRC32c field.
func summed(s string) string {
	b := []byte(s)
	binary.BigEndian.PutUint32(b[len(b)-4:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	return string(b)
}

var (
	proxyTo4 = []byte{192, 0, 2, 7, 198, 51, 100, 1, 0xdb, 0x03, 0x01, 0xbb}
	proxyTo6 = append(append(netip.MustParseAddr("2001:db8::7").AsSlice(), netip.MustParseAddr("2001:db8::1").AsSlice()...), 0xdb, 0x03, 0x01, 0xbb)
	noSum    = proxyTLV(proxyTLVCRC, make([]byte, 4))
)

type proxyCase struct{ name, data, want string } // want: from>to, "local" or "" for refused

func proxyCases() []proxyCase {
	ends4, ends6 := "192.0.2.7:56067>198.51.100.1:443", "[2001:db8::7]:56067>[2001:db8::1]:443"
	good := summed(proxyBlock(0x21, 0x11, proxyTo4, proxyTLV(0x02, []byte("shop.example")), noSum))
	full := "ffff" + strings.Repeat(":ffff", 7)
	return []proxyCase{
		{"v1 TCP4", "PROXY TCP4 192.0.2.7 198.51.100.1 56067 443\r\n", ends4},
		{"v1 TCP6", "PROXY TCP6 2001:db8::7 2001:db8::1 56067 443\r\n", ends6},
		{"v1 longest TCP6", "PROXY TCP6 " + full + " " + full + " 65535 65535\r\n", "[" + full + "]:65535>[" + full + "]:65535"},
		{"v1 UNKNOWN", "PROXY UNKNOWN\r\n", "local"},
		{"v1 UNKNOWN with more", "PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", "local"},
		{"v1 families mixed", "PROXY TCP4 2001:db8::7 198.51.100.1 1 2\r\n", ""},
		{"v1 port over 65535", "PROXY TCP4 192.0.2.7 198.51.100.1 65536 443\r\n", ""},
		{"v1 leading zero", "PROXY TCP4 192.0.2.7 198.51.100.1 056 443\r\n", ""},
		{"v1 zone", "PROXY TCP6 fe80::1%eth0 2001:db8::1 1 2\r\n", ""},
		{"v1 double space", "PROXY TCP4  192.0.2.7 198.51.100.1 1 2\r\n", ""},
		{"v1 bare LF", "PROXY TCP4 192.0.2.7 198.51.100.1 1 2\n" + strings.Repeat("x", 100), ""},
		{"v1 lower case", "proxy TCP4 192.0.2.7 198.51.100.1 1 2\r\n", ""},
		{"v1 107 bytes", "PROXY UNKNOWN " + strings.Repeat("x", 107-16) + "\r\n", "local"},
		{"v1 108 bytes", "PROXY UNKNOWN " + strings.Repeat("x", 108-16) + "\r\n", ""},
		{"v1 endless", "PROXY TCP4 " + strings.Repeat("1", 4096), ""},
		{"v1 cut", "PROXY TCP4 192.0.2.7 198.51", ""},
		{"v2 TCP4", proxyBlock(0x21, 0x11, proxyTo4), ends4},
		{"v2 TCP6", proxyBlock(0x21, 0x21, proxyTo6), ends6},
		{"v2 TLVs and sum", good, ends4},
		{"v2 wrong sum", good[:len(good)-1] + string(good[len(good)-1]^1), ""},
		{"v2 two sums", summed(proxyBlock(0x21, 0x11, proxyTo4, noSum, noSum)), ""},
		{"v2 sum of 3 bytes", proxyBlock(0x21, 0x11, proxyTo4, proxyTLV(proxyTLVCRC, []byte{1, 2, 3})), ""},
		{"v2 TLV past the end", proxyBlock(0x21, 0x11, proxyTo4, []byte{4, 0, 9, 1}), ""},
		{"v2 TLV head cut", proxyBlock(0x21, 0x11, proxyTo4, []byte{4, 0}), ""},
		{"v2 LOCAL", proxyBlock(0x20, 0x00, nil), "local"},
		{"v2 LOCAL with a block", proxyBlock(0x20, 0x31, []byte("ignored")), "local"},
		{"v2 UDP", proxyBlock(0x21, 0x12, proxyTo4), ""},
		{"v2 UNIX", proxyBlock(0x21, 0x31, make([]byte, 216)), ""},
		{"v2 UNSPEC", proxyBlock(0x21, 0x00, nil), ""},
		{"v2 short addresses", proxyBlock(0x21, 0x11, proxyTo4[:11]), ""},
		{"v2 version 1", proxyBlock(0x11, 0x11, proxyTo4), ""},
		{"v2 unknown command", proxyBlock(0x22, 0x11, proxyTo4), ""},
		{"v2 4 KiB", proxyBlock(0x21, 0x11, proxyTo4, proxyTLV(0x04, make([]byte, 4096-12-3))), ends4},
		{"v2 over 4 KiB", proxyBlock(0x21, 0x11, proxyTo4, proxyTLV(0x04, make([]byte, 4096-12-2))), ""},
		{"v2 cut", proxyBlock(0x21, 0x11, proxyTo4)[:20], ""},
		{"HTTP", "GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n", ""},
		{"nothing", "", ""},
	}
}

func TestProxyHeaderIsReadExactly(t *testing.T) {
	for _, tt := range proxyCases() {
		for _, slowly := range []bool{false, true} {
			const next = "\x16\x03\x01 what follows"
			r := bufio.NewReader(strings.NewReader(tt.data + next))
			var from io.Reader = r
			if tt.want == "" {
				from = strings.NewReader(tt.data)
			}
			if slowly {
				from = iotest.OneByteReader(from)
			}
			p, err := readProxy(from)
			got := ""
			switch {
			case err == nil && p == proxied{}:
				got = "local"
			case err == nil:
				got = p.from.String() + ">" + p.to.String()
			}
			if got != tt.want {
				t.Errorf("%s: %q %v, want %q", tt.name, got, err, tt.want)
			}
			if rest, _ := io.ReadAll(r); tt.want != "" && string(rest) != next {
				t.Errorf("%s: left %q", tt.name, rest)
			}
		}
	}
}

// FuzzReadProxy: nothing is read beyond the bound, and how the bytes arrive
// changes nothing.
func FuzzReadProxy(f *testing.F) {
	for _, c := range proxyCases() {
		f.Add([]byte(c.data))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bytes.NewReader(data)
		p, err := readProxy(r)
		if used := len(data) - r.Len(); used > 16+proxyBlockMax {
			t.Fatalf("%d bytes read", used)
		}
		again, err2 := readProxy(iotest.OneByteReader(bytes.NewReader(data)))
		if again != p || (err == nil) != (err2 == nil) {
			t.Fatalf("%+v %v, byte by byte %+v %v", p, err, again, err2)
		}
		if err != nil && p != (proxied{}) || err == nil && p.from.IsValid() != p.to.IsValid() || p.from.Addr().Zone() != "" || p.from.Addr().Is4In6() {
			t.Fatalf("%+v %v", p, err)
		}
	})
}
