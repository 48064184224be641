package dial

import (
	"errors"
	"net"
	"net/netip"
	"testing"
)

func TestCheck(t *testing.T) {
	d := &Dialer{
		Own: func() []netip.AddrPort {
			return []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:7443"), netip.MustParseAddrPort("0.0.0.0:8443")}
		},
		Networks: func(tenant string) []netip.Prefix {
			if tenant == "acme" {
				return []netip.Prefix{netip.MustParsePrefix("10.20.0.0/16")}
			}
			return nil
		},
	}
	tests := []struct {
		tenant, to string
		ok         bool
	}{
		{"platform", "127.0.0.1:3000", true},
		{"platform", "10.0.0.5:80", true},
		{"platform", "169.254.169.254:80", true},
		{"platform", "127.0.0.1:7443", false},
		{"platform", "127.0.0.1:8443", false},
		{"platform", "[::ffff:127.0.0.1]:7443", false},
		{"platform", "[::1]:8443", false},
		{"platform", "0.0.0.0:3000", false},
		{"platform", "224.0.0.1:80", false},
		{"acme", "93.184.216.34:443", true},
		{"acme", "10.20.1.2:80", true},
		{"acme", "10.21.1.2:80", false},
		{"beta", "10.20.1.2:80", false},
		{"acme", "127.0.0.1:80", false},
		{"acme", "[::1]:80", false},
		{"acme", "[::ffff:127.0.0.1]:80", false},
		{"acme", "169.254.169.254:80", false},
		{"acme", "[fe80::1]:80", false},
		{"acme", "[fd00:ec2::254]:80", false},
		{"acme", "100.100.100.200:80", false},
		{"acme", "[64:ff9b::7f00:1]:80", false},
		{"acme", "[2002:7f00:1::]:80", false},
		{"acme", "100.64.0.1:80", false},
		{"acme", "255.255.255.255:80", false},
	}
	for _, tt := range tests {
		if err := d.check(tt.tenant, netip.MustParseAddrPort(tt.to)); (err == nil) != tt.ok {
			t.Errorf("%s -> %s: %v", tt.tenant, tt.to, err)
		}
	}
}

func TestTheResolvedAddressIsJudged(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	d := &Dialer{}
	if _, err := d.For("acme")(t.Context(), "tcp", "localhost:"+port); !errors.Is(err, ErrRefused) {
		t.Errorf("localhost for a tenant: %v", err)
	}
	c, err := d.For("platform")(t.Context(), "tcp", "localhost:"+port)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}
