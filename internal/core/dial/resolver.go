package dial

import (
	"context"
	"math/rand/v2"
	"net"
)

// Resolver asks these DNS servers (host:port) instead of the system's, one of
// them at random each time; nil for none. The operator names them, so that they
// are not judged as addresses of tenants are.
func Resolver(servers []string) *net.Resolver {
	if len(servers) == 0 {
		return nil
	}
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		d := net.Dialer{Timeout: Timeout}
		return d.DialContext(ctx, network, servers[rand.IntN(len(servers))])
	}}
}
