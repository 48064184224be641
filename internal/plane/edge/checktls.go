package edge

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/dun-sec/dun/internal/core/assurance"
	"github.com/dun-sec/dun/internal/core/text"
)

const (
	// expiryAt is how long a certificate must still hold.
	expiryAt = 7 * 24 * time.Hour
	// greeted bounds the names of one try; where there are more, the next try goes
	// on where this one ended.
	greeted = 200
)

// secure is control 8.5-1: every name that the edge serves is reached over TLS
// 1.2 or newer, with a certificate of its own that holds for a while yet.
func (e *Edge) secure(env CheckEnv) assurance.Check {
	s := &secureCheck{edge: e, env: env}
	return assurance.Check{
		Control: "8.5-1", Scope: assurance.Production, Period: time.Hour,
		Title:    text.T("Every site is offered over HTTPS: TLS 1.2 or newer, no weak suite, a certificate that covers the name and does not end soon", "每个站点均提供 HTTPS:TLS 1.2 或更高、无弱密码套件,证书覆盖域名且不会很快到期"),
		Cost:     text.T("two handshakes for each name, 200 names at most", "每个域名两次握手,最多 200 个域名"),
		Positive: s.positive, Probe: s.probe,
	}
}

type secureCheck struct {
	edge *Edge
	env  CheckEnv
	next atomic.Int64 // the first name of the next try
}

// positive shows that a bad certificate is told from a good one.
func (s *secureCheck) positive(context.Context) error {
	now := s.edge.opts.Now()
	good := &x509.Certificate{DNSNames: []string{"a.example"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(expiryAt + time.Hour)}
	ending := &x509.Certificate{DNSNames: good.DNSNames, NotBefore: good.NotBefore, NotAfter: now.Add(time.Hour)}
	if unfit(good, "a.example", now) != "" || unfit(good, "b.example", now) == "" || unfit(ending, "a.example", now) == "" {
		return errors.New("a certificate of another name, or one that ends soon, is not told from a good one")
	}
	return nil
}

// unfit says what is wrong with a certificate for a name, "" for nothing.
func unfit(c *x509.Certificate, host string, now time.Time) string {
	switch {
	case c.VerifyHostname(host) != nil:
		return "the certificate does not cover it"
	case now.Before(c.NotBefore):
		return "the certificate does not hold yet"
	case c.NotAfter.Before(now.Add(expiryAt)):
		return "the certificate ends " + c.NotAfter.UTC().Format(time.RFC3339)
	}
	return ""
}

func (s *secureCheck) probe(ctx context.Context, e *assurance.Evidence) error {
	snap := s.edge.snap.Load()
	if snap == nil {
		return errors.New("the edge has no records yet")
	}
	if !s.env.Secure.IsValid() {
		return assurance.NotHeld("the edge has no HTTPS door: listen.edgeHTTPS is off", "边缘没有 HTTPS 端口:listen.edgeHTTPS 已关闭")
	}
	var names []string
	for _, host := range slices.Sorted(maps.Keys(snap.hosts)) {
		if a, err := netip.ParseAddr(host); err == nil && a.Unmap() != s.env.Secure.Addr() {
			e.Add("not greeted", "%s: no server name says an address (RFC 6066 section 3), and the door has another", host)
			continue
		}
		names = append(names, host)
	}
	for wild := range snap.wild {
		names = append(names, "dun-check"+wild)
	}
	if len(names) == 0 {
		return errors.New("there is no site yet: nothing can be greeted")
	}
	var wrong []string
	n := min(len(names), greeted)
	from := int(s.next.Add(int64(n)) - int64(n))
	for i := range n {
		host := names[(from+i)%len(names)]
		if why := s.greet(ctx, host); why != "" {
			wrong = append(wrong, host+": "+why)
			e.Add("not secure", "%s: %s", host, why)
		}
	}
	e.Add("greeted", "%d of %d names at %s", n, len(names), s.env.Secure)
	if len(wrong) > 0 {
		return assurance.NotHeld("%d names are not served securely: %s", "%d 个域名的 HTTPS 不合格:%s", len(wrong), strings.Join(wrong[:min(len(wrong), 8)], "; "))
	}
	return nil
}

// greet makes two handshakes as a client would: one that offers TLS 1.2 and
// newer and must succeed, one that offers only what is older or weak and must
// not. It judges the certificate itself and believes no authority.
func (s *secureCheck) greet(ctx context.Context, host string) string {
	name := host
	if _, err := netip.ParseAddr(host); err == nil {
		name = "" // the door's own address: it shows what it has for it
	}
	state, err := s.handshake(ctx, &tls.Config{ServerName: name, MinVersion: tls.VersionTLS12, InsecureSkipVerify: true})
	if err != nil {
		return "no TLS: " + err.Error()
	}
	if len(state.PeerCertificates) == 0 {
		return "no certificate"
	}
	// The clock is read after the handshake, which may have ordered the certificate.
	if why := unfit(state.PeerCertificates[0], host, s.edge.opts.Now()); why != "" {
		return why
	}
	var weak []uint16
	for _, c := range tls.InsecureCipherSuites() {
		weak = append(weak, c.ID)
	}
	state, err = s.handshake(ctx, &tls.Config{ServerName: name, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS12, CipherSuites: weak, InsecureSkipVerify: true})
	if err == nil {
		return fmt.Sprintf("%s with %s is accepted", tls.VersionName(state.Version), tls.CipherSuiteName(state.CipherSuite))
	}
	return ""
}

func (s *secureCheck) handshake(ctx context.Context, conf *tls.Config) (tls.ConnectionState, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if conf.ServerName == "" {
		conf.ServerName = s.env.Secure.Addr().String()
	}
	c, err := (&tls.Dialer{NetDialer: new(net.Dialer), Config: conf}).DialContext(ctx, "tcp", s.env.Secure.String())
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer c.Close()
	return c.(*tls.Conn).ConnectionState(), nil
}

// sealedWay is control 8.5-3: no site in force sends what it guards over a
// network in clear.
func (e *Edge) sealedWay() assurance.Check {
	return assurance.Check{
		Control: "8.5-3", Scope: assurance.Production, Period: 10 * time.Minute,
		Title: text.T("Between the edge and every origin off this machine the way is encrypted", "边缘到本机以外所有源站的链路均已加密"),
		Cost:  text.T("none: the records in force are read", "无:仅读取已生效的记录"),
		Positive: func(context.Context) error {
			for origin, want := range map[string]bool{"http://192.0.2.1:80": true, "http://shop.internal": true, "http://[2001:db8::1]": true, "http://127.0.0.1:3000": false, "http://localhost": false, "https://192.0.2.1": false} {
				u, err := url.Parse(origin)
				if err != nil || clearAbroad(u) != want {
					return fmt.Errorf("%s: a clear way is not told from a sealed one: %w", origin, err)
				}
			}
			return nil
		},
		Probe: e.probeWays,
	}
}

// clearAbroad reports an origin that is reached in clear and not on loopback. A
// name counts as abroad: what it resolves to can change.
func clearAbroad(u *url.URL) bool {
	if u.Scheme != "http" || u.Hostname() == "localhost" {
		return false
	}
	a, err := netip.ParseAddr(u.Hostname())
	return err != nil || !a.Unmap().IsLoopback()
}

func (e *Edge) probeWays(_ context.Context, ev *assurance.Evidence) error {
	snap := e.snap.Load()
	if snap == nil {
		return errors.New("the edge has no records yet")
	}
	origins := 0
	clear := map[string]bool{}
	for _, sites := range []map[string]*site{snap.hosts, snap.wild} {
		for _, s := range sites {
			for _, o := range s.origins {
				origins++
				if clearAbroad(o.url) && !clear[s.name.String()] {
					clear[s.name.String()] = true
					ev.Add("in clear", "site %s to %s", s.name, o.label)
				}
			}
		}
	}
	ev.Add("looked at", "%d ways to origins of %d sites", origins, snap.count)
	if len(clear) > 0 {
		names := slices.Sorted(maps.Keys(clear))
		return assurance.NotHeld("%d sites reach their origin in clear over a network: %s", "%d 个站点以明文经网络访问源站:%s", len(names), strings.Join(names[:min(len(names), 8)], ", "))
	}
	return nil
}
