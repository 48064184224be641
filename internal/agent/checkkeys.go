package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/dun-sec/dun/internal/core/assurance"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/govern/accesskeys"
)

// keysAtTheDoor is control 4.1-2, tried at the API's own door.
func (c *cell) keysAtTheDoor(g *gate.Gate, door netip.AddrPort) assurance.Check {
	tr := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			if !door.IsValid() {
				return nil, errors.New("the console has no door: listen.console is off")
			}
			return new(net.Dialer).DialContext(ctx, network, door.String())
		},
		TLSClientConfig:   &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true}, // the door is tried, not its name
		DisableKeepAlives: true,
	}
	client := &http.Client{Transport: tr, Timeout: 10 * time.Second}
	return accesskeys.Check(accesskeys.CheckEnv{Gate: g, Secrets: c.secrets, Send: client.Do})
}
