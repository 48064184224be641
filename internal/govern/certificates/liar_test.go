package certificates

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/challenges"
	"github.com/dun-sec/dun/internal/core/dial"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/govern/certificates/acme"
	"github.com/dun-sec/dun/internal/kinds/edge"
	"github.com/dun-sec/dun/internal/kinds/system"
	"github.com/dun-sec/dun/internal/lab"
)

// ownDoor is where Dun itself listens, as far as its dialer knows.
const ownDoor = "127.0.0.1:9"

// liar is an authority that speaks ACME, asks for no challenge, and lies as it
// is told.
type liar struct {
	*httptest.Server
	t     *testing.T
	lie   string
	asks  atomic.Int64
	known atomic.Bool // there is an account
	key   crypto.Signer
	csr   *x509.CertificateRequest
}

func newLiar(t *testing.T, lie string) *liar {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	l := &liar{t: t, lie: lie, key: k}
	l.Server = httptest.NewTLSServer(l)
	t.Cleanup(l.Close)
	return l
}

func (l *liar) ca() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: l.Certificate().Raw}))
}

// ServeHTTP implements http.Handler. One order at a time.
func (l *liar) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n := l.asks.Add(1)
	w.Header().Set("Replay-Nonce", fmt.Sprint("nonce", n))
	w.Header().Set("Content-Type", "application/json")
	say := func(status int, x any) {
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(x)
	}
	order := map[string]any{"status": "ready", "identifiers": []any{map[string]any{"type": "dns", "value": "shop.example"}}, "authorizations": []string{}, "finalize": l.URL + "/finalize"}
	switch {
	case l.lie == "endless body":
		for range 1 << 12 { // 16 MiB, or until nobody reads
			if _, err := io.WriteString(w, strings.Repeat(" ", 4096)); err != nil {
				return
			}
		}
		return
	case l.lie == "endless redirects":
		http.Redirect(w, r, l.URL+fmt.Sprint("/", n), http.StatusTemporaryRedirect)
		return
	case l.lie == "silence":
		<-r.Context().Done()
		return
	case l.lie == "no JSON":
		_, _ = io.WriteString(w, "<html>")
		return
	}
	switch r.URL.Path {
	case "/dir":
		dir := map[string]any{"newNonce": l.URL + "/nonce", "newAccount": l.URL + "/account", "newOrder": l.URL + "/order"}
		switch l.lie {
		case "clear text":
			dir["newAccount"] = strings.Replace(l.URL, "https:", "http:", 1) + "/account"
		case "inside":
			dir["newAccount"] = "https://" + ownDoor + "/account"
		}
		say(200, dir)
	case "/nonce":
	case "/account":
		if l.lie == "refuses" {
			w.Header().Set("Content-Type", "application/problem+json")
			say(403, map[string]any{"type": "urn:ietf:params:acme:error:unauthorized", "detail": "we do not like you" + strings.Repeat("!", 5000) + "\x1b[31m", "status": 403})
			return
		}
		if l.lie == "nonce loop" {
			w.Header().Set("Content-Type", "application/problem+json")
			say(400, map[string]any{"type": "urn:ietf:params:acme:error:badNonce", "detail": "again", "status": 400})
			return
		}
		w.Header().Set("Location", l.URL+"/account/1")
		if l.known.Swap(true) {
			say(200, map[string]any{"status": "valid"}) // RFC 8555 section 7.3.1
			return
		}
		say(201, map[string]any{"status": "valid"})
	case "/order":
		w.Header().Set("Location", l.URL+"/order/1")
		switch l.lie {
		case "endless authorizations":
			var all []string
			for i := range 5000 {
				all = append(all, fmt.Sprint(l.URL, "/authz/", i))
			}
			order["authorizations"] = all
		case "another's challenge":
			order["authorizations"] = []string{l.URL + "/authz/foreign"}
		case "never ready":
			order["authorizations"] = []string{l.URL + "/authz/pending"}
		}
		say(201, order)
	case "/order/1":
		say(200, order)
	case "/authz/foreign", "/authz/pending", "/challenge":
		host := map[string]string{"/authz/foreign": "victim.example"}[r.URL.Path]
		if host == "" {
			host = "shop.example"
			w.Header().Set("Retry-After", "86400")
		}
		c := map[string]any{"type": "http-01", "url": l.URL + "/challenge", "token": "tok", "status": "pending"}
		if r.URL.Path == "/challenge" {
			say(200, c)
			return
		}
		say(200, map[string]any{"status": "pending", "identifier": map[string]any{"type": "dns", "value": host}, "challenges": []any{c}})
	case "/finalize":
		var jws, body struct{ Payload, CSR string }
		_ = json.NewDecoder(r.Body).Decode(&jws)
		p, _ := base64.RawURLEncoding.DecodeString(jws.Payload)
		_ = json.Unmarshal(p, &body)
		der, _ := base64.RawURLEncoding.DecodeString(body.CSR)
		l.csr, _ = x509.ParseCertificateRequest(der)
		order["status"], order["certificate"] = "valid", l.URL+"/certificate"
		w.Header().Set("Location", l.URL+"/order/1")
		say(200, order)
	case "/certificate":
		w.Header().Set("Content-Type", "application/pem-certificate-chain")
		_, _ = w.Write(l.certificate())
	default:
		say(200, map[string]any{"status": "valid", "identifier": map[string]any{"type": "dns", "value": "shop.example"}})
	}
}

// certificate is what the liar gives.
func (l *liar) certificate() []byte {
	c := &x509.Certificate{SerialNumber: big.NewInt(9), Subject: pkix.Name{CommonName: "liar"}, DNSNames: []string{"shop.example"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(90 * day)}
	public := l.csr.PublicKey
	switch l.lie {
	case "other names":
		c.DNSNames = []string{"evil.example"}
	case "more names":
		c.DNSNames = append(c.DNSNames, "evil.example")
	case "other key":
		public = l.key.Public()
	case "expired":
		c.NotAfter = time.Now().Add(-time.Minute)
	case "no PEM":
		return []byte("hello")
	case "private key":
		return []byte("-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n")
	}
	parent := &x509.Certificate{Subject: pkix.Name{CommonName: "Liar CA"}}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, public, l.key)
	if err != nil {
		l.t.Error(err)
	}
	out := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if l.lie == "broken chain" {
		out = append(out, l.ca()...)
	}
	return out
}

// orders gives the scene what it needs to ask authorities, as an edge would
// reach them for the tenant.
func (s *scene) orders(d *dial.Dialer) {
	s.opt.Challenges = challenges.New(s.clock.Now)
	s.opt.Dial = func(tenant string) acme.DialFunc { return d.For(tenant) }
}

func (s *scene) put(o *resource.Object) *resource.Object {
	s.t.Helper()
	out, err := s.g.Apply(s.t.Context(), gate.Request{Actor: operator, Changes: []gate.Change{{Op: gate.Put, Ref: o.Ref(), Object: o, Revision: o.Metadata.Revision}}})
	if err != nil {
		s.t.Fatal(err)
	}
	return out[0].Object
}

func wants(tenant, directory, ca string) *resource.Object {
	return &resource.Object{Kind: "Certificate", Metadata: resource.Metadata{Tenant: tenant, Name: "shop"}, Spec: &edge.CertificateSpec{ACME: &edge.ACME{Directory: directory, Names: []string{"shop.example"}, Terms: true, CA: ca}}}
}

func TestAnAuthorityThatLiesIsRefused(t *testing.T) {
	for lie, want := range map[string]string{
		"other names": "does not cover shop.example", "more names": "names that were not asked for", "other key": "for another key", "expired": "not valid now", "no PEM": "certificate", "private key": "certificate", "broken chain": "chain is broken",
		"endless body": "does not end", "endless redirects": "redirects", "nonce loop": "again", "refuses": "we do not like you", "no JSON": "", "clear text": "not https", "inside": "not allowed",
		"endless authorizations": "more proofs than names", "another's challenge": "was not ordered",
	} {
		t.Run(lie, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			s.orders(&dial.Dialer{})
			l := newLiar(t, lie)
			if lie == "inside" {
				s.orders(&dial.Dialer{Own: func() []netip.AddrPort { return []netip.AddrPort{netip.MustParseAddrPort(ownDoor)} }})
			}
			old := s.upload("shop", 40*day) // was uploaded before, and serves
			o := wants("platform", l.URL+"/dir", l.ca())
			o.Metadata.Revision = old.Metadata.Revision
			s.put(o)
			s.start()
			c := s.until("shop", "the refusal", func(c *edge.CertificateStatus) bool { return c.Failures == 1 })
			if !strings.Contains(c.Trouble, want) || len(c.Trouble) > 1000 || strings.ContainsAny(c.Trouble, "\x1b\n") || c.Next == nil || !c.Next.Equal(c.Asked.Add(firstPause)) {
				t.Errorf("%+v, want %q", c, want)
			}
			now, err := s.g.Get(t.Context(), operator, ref("shop"))
			if err != nil {
				t.Fatal(err)
			}
			if chain, key, ok := edge.InForce(now); !ok || chain != old.Spec.(*edge.CertificateSpec).Chain || key != old.State.(*edge.CertificateState).Key || !c.Serving {
				t.Error("the old certificate does not serve on")
			}
			if n := l.asks.Load(); n > 100 {
				t.Errorf("it made us ask %d times", n)
			}
			if len(s.told) == 0 || s.told[0].Attributes["state"] != "refused" {
				t.Errorf("told %+v", s.told)
			}
		})
	}
}

func TestATryThatFailedIsNotRepeatedAtOnce(t *testing.T) {
	s := newScene(t)
	s.orders(&dial.Dialer{})
	l := newLiar(t, "refuses")
	s.put(wants("platform", l.URL+"/dir", l.ca()))
	s.start()
	last := int64(0)
	for i, pause := range []time.Duration{firstPause, 2 * firstPause, 4 * firstPause} {
		c := s.until("shop", "another try", func(c *edge.CertificateStatus) bool { return c.Failures == i+1 })
		if c.Condition != edge.CertificatePending || c.Serving || c.Next.Sub(*c.Asked) != pause {
			t.Errorf("%d: %+v", i, c)
		}
		if l.asks.Load() == last {
			t.Error("the authority was not asked")
		}
		if err := s.clock.Waiting(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		last = l.asks.Load()
		s.clock.Advance(pause - time.Second)
		if err := s.clock.Waiting(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		if l.asks.Load() != last {
			t.Error("it was asked too early")
		}
		s.clock.Advance(time.Second)
	}
	// Who changes what is asked for need not wait.
	s.until("shop", "a fourth try", func(c *edge.CertificateStatus) bool { return c.Failures == 4 })
	l2 := newLiar(t, "")
	o, err := s.g.Get(t.Context(), operator, ref("shop"))
	if err != nil {
		t.Fatal(err)
	}
	next := wants("platform", l2.URL+"/dir", l2.ca())
	next.Metadata.Revision = o.Metadata.Revision
	s.put(next)
	c := s.condition("shop", edge.CertificateReady)
	if c.Failures != 0 || c.Trouble != "" || !c.Serving || c.Issuer != "CN=Liar CA" {
		t.Errorf("%+v", c)
	}
}

// A tenant reaches no directory inside that the platform did not open for it.
func TestADirectoryInsideNeedsAllowance(t *testing.T) {
	s := newScene(t)
	s.orders(&dial.Dialer{})
	l := newLiar(t, "")
	tenant := &resource.Object{Kind: "Tenant", Metadata: resource.Metadata{Tenant: "platform", Name: "acme"}, Spec: &system.TenantSpec{Title: "Acme"}}
	s.put(tenant)
	s.put(wants("acme", l.URL+"/dir", l.ca()))
	s.start()
	for end := time.Now().Add(lab.Wait); ; {
		o, err := s.g.Get(t.Context(), operator, resource.Ref{Kind: "Certificate", Tenant: "acme", Name: "shop"})
		if err != nil {
			t.Fatal(err)
		}
		if c, _ := o.Status.(*edge.CertificateStatus); c != nil && c.Failures > 0 {
			if !strings.Contains(c.Trouble, "not allowed") || l.asks.Load() != 0 {
				t.Errorf("%q after %d requests", c.Trouble, l.asks.Load())
			}
			return
		}
		if time.Now().After(end) {
			t.Fatal("nothing is said")
		}
		<-time.After(time.Millisecond)
	}
}

// One that lets us wait for a day is left when the order's time is over.
func TestAnAuthorityThatNeverEndsIsLeft(t *testing.T) {
	l := newLiar(t, "never ready")
	set := challenges.New(time.Now)
	start := time.Now()
	out, err := acme.Get(t.Context(), acme.Order{
		Tenant: "platform", Names: []string{"shop.example"}, Directory: l.URL + "/dir", CA: l.ca(), Dial: (&dial.Dialer{}).For("platform"), Challenges: set, Now: time.Now, Limit: time.Second,
	})
	if err == nil || time.Since(start) > lab.Wait/2 {
		t.Errorf("%v after %s", err, time.Since(start))
	}
	if len(out.Account) == 0 {
		t.Error("the account that was made is lost: each try would make another one")
	}
	if _, ok := set.HTTP("platform", "shop.example", challenges.PathPrefix+"tok"); ok {
		t.Error("the challenge is still answered")
	}
}

// An authority that says nothing keeps nobody waiting but the tenant that named it.
func TestATenantsSlowAuthorityHoldsUpNobodyElse(t *testing.T) {
	s := newScene(t)
	s.opt.Challenges = challenges.New(s.clock.Now)
	s.opt.Dial = func(string) acme.DialFunc { return new(net.Dialer).DialContext }
	s.put(&resource.Object{Kind: "Tenant", Metadata: resource.Metadata{Tenant: "platform", Name: "acme"}, Spec: &system.TenantSpec{Title: "Acme"}})
	silent, good := newLiar(t, "silence"), newLiar(t, "")
	for i := range 2 * ordersAtOnce {
		o := wants("acme", silent.URL+"/dir", silent.ca())
		o.Metadata.Name = fmt.Sprint("c", i)
		s.put(o)
	}
	s.start()
	for end := time.Now().Add(lab.Wait); silent.asks.Load() == 0; <-time.After(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the silent one is not asked")
		}
	}
	s.put(wants("platform", good.URL+"/dir", good.ca()))
	s.condition("shop", edge.CertificateReady)
	if n := silent.asks.Load(); n != 1 {
		t.Errorf("the silent one was asked %d times at once", n)
	}
	s.end()
}

// Several of one tenant are ordered one after the other, and none is forgotten.
func TestOrdersOfATenantTakeTurns(t *testing.T) {
	s := newScene(t)
	s.orders(&dial.Dialer{})
	l := newLiar(t, "")
	for i := range 5 {
		o := wants("platform", l.URL+"/dir", l.ca())
		o.Metadata.Name = fmt.Sprint("c", i)
		s.put(o)
	}
	s.start()
	for i := range 5 {
		s.condition(fmt.Sprint("c", i), edge.CertificateReady)
	}
}
