package edge

import (
	"crypto/tls"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/challenges"
	"github.com/dun-sec/dun/internal/kinds/edge"
)

// An authority is answered for hosts of the tenant that ordered, also where the
// site redirects and the source is banned; everything else goes its way.
func TestChallengesAreAnsweredForTheirOwnTenant(t *testing.T) {
	set := challenges.New(time.Now)
	o := echoOrigin(t)
	site := siteAt("shop", "shop.example", o.URL)
	spec(site).TLS = &edge.TLS{Redirect: true}
	w := newWorld(t, func(o *Options) { o.Challenges = set }, site, banObject("acme", "b", edge.BanSpec{Action: edge.ActionBan, Sources: []string{"127.0.0.1"}}))
	if err := set.PutHTTP("acme", "shop.example", "ours", "the answer"); err != nil {
		t.Fatal(err)
	}
	if err := set.PutHTTP("beta", "shop.example", "theirs", "a stolen answer"); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		method, url string
		status      int
		body        string
	}{
		{"GET", "http://shop.example" + challenges.PathPrefix + "ours", 200, "the answer"},
		{"GET", "http://SHOP.example:80" + challenges.PathPrefix + "ours", 200, "the answer"},
		{"GET", "http://shop.example" + challenges.PathPrefix + "theirs", 403, ""},
		{"POST", "http://shop.example" + challenges.PathPrefix + "ours", 403, ""},
		{"GET", "https://shop.example" + challenges.PathPrefix + "ours", 403, ""},
		{"GET", "http://other.example" + challenges.PathPrefix + "ours", 421, ""},
		{"GET", "http://shop.example/", 403, ""},
	} {
		resp, body := do(t, w.client(false, 0), tt.method, tt.url, nil, nil)
		if resp.StatusCode != tt.status || tt.body != "" && body != tt.body {
			t.Errorf("%s %s: %d %q", tt.method, tt.url, resp.StatusCode, body)
		}
	}

	mine, theirs := makeCertificate(t, 1, "shop.example"), makeCertificate(t, 1, "shop.example")
	pair := func(m made) *tls.Certificate {
		return &tls.Certificate{Certificate: [][]byte{m.leaf.Raw}, PrivateKey: m.key, Leaf: m.leaf}
	}
	shake := func(protos ...string) (*tls.Conn, error) {
		return tls.Dial("tcp", w.https, &tls.Config{ServerName: "shop.example", NextProtos: protos, InsecureSkipVerify: true})
	}
	if err := set.PutTLS("beta", "shop.example", pair(theirs)); err != nil {
		t.Fatal(err)
	}
	if c, err := shake(challenges.Protocol); err == nil {
		c.Close()
		t.Error("a handshake for another tenant's order succeeds")
	}
	if err := set.PutTLS("acme", "shop.example", pair(mine)); err != nil {
		t.Fatal(err)
	}
	c, err := shake(challenges.Protocol)
	if err != nil {
		t.Fatal(err)
	}
	state := c.ConnectionState()
	if state.NegotiatedProtocol != challenges.Protocol || !state.PeerCertificates[0].Equal(mine.leaf) {
		t.Errorf("%q %v", state.NegotiatedProtocol, state.PeerCertificates[0].Subject)
	}
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("the connection goes on")
	}
	c.Close()
	if c, err = shake("h2", challenges.Protocol); err != nil {
		t.Fatal(err)
	}
	if state := c.ConnectionState(); state.NegotiatedProtocol != "h2" || state.PeerCertificates[0].Equal(mine.leaf) {
		t.Error("a client that also speaks HTTP gets the challenge")
	}
	c.Close()
}
