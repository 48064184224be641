package edge

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
)

// networks are those of the machines in front of us; few, so that looking at
// each is cheap.
type networks []netip.Prefix

func (n networks) has(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	for _, p := range n {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// newNetworks brings prefixes to the form that has compares with.
func newNetworks(in []netip.Prefix) (networks, error) {
	var out networks
	for _, p := range in {
		if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
		}
		if !p.IsValid() {
			return nil, fmt.Errorf("network %q is not valid", p)
		}
		out = append(out, p.Masked())
	}
	return out, nil
}

// client is who sent the request over which scheme. Without trusted proxies it
// is whoever connected. A trusted one is believed who came to it: its
// X-Forwarded-For is read from the right, where the proxies nearest to us
// wrote, up to the first address that is not trusted; what stands left of that
// is the client's own claim. An entry that is no address ends the walk at the
// proxy that wrote it. X-Forwarded-Proto counts only as one plain word.
func (e *Edge) client(r *http.Request) (from netip.AddrPort, scheme string, err error) {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return from, "", fmt.Errorf("read client address: %w", err)
	}
	from, scheme = netip.AddrPortFrom(peer.Addr().Unmap().WithZone(""), peer.Port()), "http"
	if r.TLS != nil {
		scheme = "https"
	}
	if !e.trusted.has(from.Addr()) {
		return from, scheme, nil
	}
	if v := r.Header["X-Forwarded-Proto"]; len(v) == 1 {
		switch said := strings.ToLower(v[0]); said {
		case "http", "https":
			scheme = said
		}
	}
	chain := strings.Join(r.Header["X-Forwarded-For"], ",")
	for chain != "" && e.trusted.has(from.Addr()) {
		i := strings.LastIndexByte(chain, ',')
		hop, ok := parseHop(strings.TrimSpace(chain[i+1:]))
		if !ok {
			break
		}
		from, chain = hop, chain[:max(i, 0)]
	}
	return from, scheme, nil
}

// parseHop reads an address as proxies write it: bare, in brackets or with a port.
func parseHop(s string) (netip.AddrPort, bool) {
	if p, err := netip.ParseAddrPort(s); err == nil {
		return netip.AddrPortFrom(p.Addr().Unmap().WithZone(""), p.Port()), true
	}
	if inner, ok := strings.CutPrefix(s, "["); ok {
		if s, ok = strings.CutSuffix(inner, "]"); !ok {
			return netip.AddrPort{}, false
		}
	}
	a, err := netip.ParseAddr(s)
	return netip.AddrPortFrom(a.Unmap().WithZone(""), 0), err == nil
}
