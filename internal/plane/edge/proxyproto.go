package edge

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Bounds of the PROXY protocol, versions 1 and 2 (HAProxy's
// proxy-protocol.txt, sections 2.1 and 2.2).
const (
	proxyLineMax  = 107     // bytes of a version 1 line with its CRLF
	proxyBlockMax = 4 << 10 // bytes that follow the first 16 of version 2; the protocol allows 64 KiB
	proxyStart    = 12      // bytes that tell the versions apart; no whole header is shorter
	proxyV2       = "\r\n\r\n\x00\r\nQUIT\n"
	proxyTLVCRC   = 0x03
	proxyV2Local  = 0x20
	proxyV2Proxy  = 0x21
	proxyV2TCP4   = 0x11
	proxyV2TCP6   = 0x21
	proxyAddrLen4 = 4 + 4 + 2 + 2
	proxyAddrLen6 = 16 + 16 + 2 + 2
)

var errProxy = errors.New("malformed PROXY header")

// proxied is what a PROXY header says about the connection; the zero value
// (LOCAL, UNKNOWN) says that the sender speaks for itself.
type proxied struct{ from, to netip.AddrPort }

// readProxy reads one header and not a byte more, since TLS or HTTP follows.
// Version 1 is therefore read byte by byte: at most 95 small reads.
func readProxy(r io.Reader) (proxied, error) {
	head := make([]byte, proxyStart, proxyLineMax)
	if _, err := io.ReadFull(r, head); err != nil {
		return proxied{}, fmt.Errorf("read PROXY header: %w", err)
	}
	if string(head) == proxyV2 {
		return readProxyBlock(r)
	}
	if !bytes.HasPrefix(head, []byte("PROXY ")) {
		return proxied{}, errProxy
	}
	for !bytes.HasSuffix(head, []byte("\r\n")) {
		if len(head) == proxyLineMax {
			return proxied{}, errProxy
		}
		if _, err := io.ReadFull(r, head[len(head):len(head)+1]); err != nil {
			return proxied{}, fmt.Errorf("read PROXY line: %w", err)
		}
		head = head[:len(head)+1]
	}
	return parseProxyLine(string(head[:len(head)-2]))
}

func parseProxyLine(line string) (proxied, error) {
	if line == "PROXY UNKNOWN" || strings.HasPrefix(line, "PROXY UNKNOWN ") {
		return proxied{}, nil // what follows is to be ignored
	}
	f := strings.Split(line, " ")
	if len(f) != 6 || f[1] != "TCP4" && f[1] != "TCP6" {
		return proxied{}, errProxy
	}
	var p proxied
	var ok1, ok2 bool
	p.from, ok1 = proxyAddress(f[2], f[4], f[1] == "TCP4")
	p.to, ok2 = proxyAddress(f[3], f[5], f[1] == "TCP4")
	if !ok1 || !ok2 {
		return proxied{}, errProxy
	}
	return p, nil
}

func proxyAddress(host, port string, v4 bool) (netip.AddrPort, bool) {
	a, err := netip.ParseAddr(host)
	n, perr := strconv.ParseUint(port, 10, 16)
	if err != nil || perr != nil || a.Is4() != v4 || a.Zone() != "" || strconv.FormatUint(n, 10) != port {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(a.Unmap(), uint16(n)), true
}

// readProxyBlock reads version 2 from its 13th byte on.
func readProxyBlock(r io.Reader) (proxied, error) {
	block := make([]byte, 16, 16+proxyAddrLen6)
	copy(block, proxyV2)
	if _, err := io.ReadFull(r, block[proxyStart:]); err != nil {
		return proxied{}, fmt.Errorf("read PROXY header: %w", err)
	}
	n := int(binary.BigEndian.Uint16(block[14:]))
	command, family := block[12], block[13]
	if n > proxyBlockMax || command != proxyV2Local && command != proxyV2Proxy {
		return proxied{}, errProxy
	}
	block = append(block, make([]byte, n)...)
	if _, err := io.ReadFull(r, block[16:]); err != nil {
		return proxied{}, fmt.Errorf("read PROXY block: %w", err)
	}
	if command == proxyV2Local {
		return proxied{}, nil // the block is to be discarded, its family included
	}
	switch {
	case family == proxyV2TCP4 && n >= proxyAddrLen4:
		return parseProxyBlock(block, 4)
	case family == proxyV2TCP6 && n >= proxyAddrLen6:
		return parseProxyBlock(block, 16)
	}
	return proxied{}, errProxy
}

// parseProxyBlock reads a whole version 2 header whose addresses have size bytes.
func parseProxyBlock(block []byte, size int) (proxied, error) {
	if !goodTLVs(block, 16+2*size+4) {
		return proxied{}, errProxy
	}
	b := block[16:]
	from, _ := netip.AddrFromSlice(b[:size])
	to, _ := netip.AddrFromSlice(b[size : 2*size])
	b = b[2*size:]
	return proxied{
		netip.AddrPortFrom(from.Unmap(), binary.BigEndian.Uint16(b)),
		netip.AddrPortFrom(to.Unmap(), binary.BigEndian.Uint16(b[2:])),
	}, nil
}

// goodTLVs walks the type-length-value fields from at on and compares the
// checksum where there is one; it clears the checksum in block.
func goodTLVs(block []byte, at int) bool {
	var want uint32
	checked := false
	for at < len(block) {
		if len(block)-at < 3 {
			return false
		}
		n := int(binary.BigEndian.Uint16(block[at+1:]))
		if n > len(block)-at-3 {
			return false
		}
		value := block[at+3 : at+3+n]
		if block[at] == proxyTLVCRC {
			if n != 4 || checked {
				return false
			}
			want, checked = binary.BigEndian.Uint32(value), true
			clear(value) // the sum is over the header with this field zero
		}
		at += 3 + n
	}
	return !checked || want == crc32.Checksum(block, crc32.MakeTable(crc32.Castagnoli))
}

// proxiedConn reports the ends that the PROXY header named.
type proxiedConn struct {
	net.Conn
	proxied
}

// RemoteAddr implements net.Conn.
func (c *proxiedConn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.from) }

// LocalAddr implements net.Conn.
func (c *proxiedConn) LocalAddr() net.Addr { return net.TCPAddrFromAddrPort(c.to) }

// CloseWrite ends the sending side.
func (c *proxiedConn) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return nil
}

// introduced takes the PROXY header off connections from the networks that
// must send one; others pass as they are. It closes c when it fails.
func (e *Edge) introduced(ctx context.Context, c net.Conn) (net.Conn, error) {
	peer, err := netip.ParseAddrPort(c.RemoteAddr().String())
	if err != nil || !e.introduce.has(peer.Addr()) {
		return c, nil
	}
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	c.SetReadDeadline(time.Now().Add(e.bounds.proxyWait))
	p, err := readProxy(c)
	if err != nil {
		c.Close()
		// A balancer that only looks whether we listen closes or resets at once.
		if errors.Is(err, errProxy) || late(err) || errors.Is(err, io.ErrUnexpectedEOF) {
			e.report.reportConn("proxyProtocol", peer.Addr().Unmap().String(), e.opts.Now())
		}
		return nil, err
	}
	c.SetReadDeadline(time.Time{})
	if !p.from.IsValid() {
		return c, nil
	}
	return &proxiedConn{c, p}, nil
}
