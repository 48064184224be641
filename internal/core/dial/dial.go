// Package dial is the only dialer for addresses that a tenant or a remote
// party names. It judges the address that a name resolved to, at each connect,
// so that neither DNS rebinding nor a redirect reaches what is Dun's own. It
// never dials between Dun's own services.
package dial

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/dun-sec/dun/internal/core/resource"
)

// ErrRefused says that the address may not be dialled for this tenant.
var ErrRefused = errors.New("the address is not allowed for this tenant")

// Timeout of one connect.
const Timeout = 5 * time.Second

// Dialer is safe for concurrent use. The zero value refuses everything that
// another tenant than platform would need a permission for.
type Dialer struct {
	// Own lists the addresses that Dun itself listens on; nobody is connected
	// to them. An unspecified address stands for every address of the machine.
	Own func() []netip.AddrPort
	// Networks lists the private networks that the platform opened for a tenant.
	Networks func(tenant string) []netip.Prefix
	// Resolver looks names up; nil is the system's.
	Resolver *net.Resolver
}

// For returns a DialContext that acts for the tenant.
func (d *Dialer) For(tenant string) func(ctx context.Context, network, addr string) (net.Conn, error) {
	n := &net.Dialer{Timeout: Timeout, KeepAlive: 30 * time.Second, Resolver: d.Resolver}
	n.ControlContext = func(_ context.Context, network, address string, _ syscall.RawConn) error {
		if network != "tcp4" && network != "tcp6" {
			return fmt.Errorf("dial %s: %w", network, ErrRefused)
		}
		to, err := netip.ParseAddrPort(address)
		if err != nil {
			return fmt.Errorf("read address: %w", err)
		}
		return d.check(tenant, to)
	}
	return n.DialContext
}

func (d *Dialer) check(tenant string, to netip.AddrPort) error {
	ip := to.Addr().Unmap().WithZone("")
	if d.own(netip.AddrPortFrom(ip, to.Port())) {
		return fmt.Errorf("%s is a door of Dun itself: %w", to, ErrRefused)
	}
	if ip.IsUnspecified() || ip.IsMulticast() || ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return fmt.Errorf("%s: %w", to, ErrRefused)
	}
	if tenant == resource.Platform {
		return nil
	}
	if ip.IsLoopback() || ip.IsLinkLocalUnicast() || metadata(ip) {
		return fmt.Errorf("%s: %w", to, ErrRefused)
	}
	if !private(ip) {
		return nil
	}
	if d.Networks != nil {
		for _, p := range d.Networks(tenant) {
			if p.Contains(ip) {
				return nil
			}
		}
	}
	return fmt.Errorf("%s is private and not in the tenant's originNetworks: %w", to, ErrRefused)
}

func (d *Dialer) own(to netip.AddrPort) bool {
	if d.Own == nil {
		return false
	}
	for _, o := range d.Own() {
		if o.Port() != to.Port() {
			continue
		}
		if a := o.Addr().Unmap(); a == to.Addr() || a.IsUnspecified() && local(to.Addr()) || a.IsLoopback() && to.Addr().IsUnspecified() {
			return true
		}
	}
	return false
}

// local reports whether ip is an address of this machine.
func local(ip netip.Addr) bool {
	if ip.IsLoopback() || ip.IsUnspecified() {
		return true
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return true // unknown: rather refuse
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok {
			if got, ok := netip.AddrFromSlice(n.IP); ok && got.Unmap() == ip {
				return true
			}
		}
	}
	return false
}

// metadata reports the addresses where clouds answer with credentials and that
// are not link-local anyway.
func metadata(ip netip.Addr) bool {
	switch ip.String() {
	case "fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "168.63.129.16", "192.0.0.192":
		return true
	}
	return false
}

// special are networks that are not the internet (IANA special-purpose
// registries); NAT64 and 6to4 would carry an IPv4 address past the check.
func private(ip netip.Addr) bool {
	if ip.IsPrivate() {
		return true
	}
	for _, s := range []string{
		"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
		"64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16", "fec0::/10", "::/96",
	} {
		if netip.MustParsePrefix(s).Contains(ip) {
			return true
		}
	}
	return false
}
