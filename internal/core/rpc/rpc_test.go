package rpc_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/rpc"
)

const cellName = "testcell"

var (
	hub  = resource.Ref{Kind: "Service", Tenant: "platform", Name: "hub"}
	n1   = resource.Ref{Kind: "Node", Tenant: "platform", Name: "n1"}
	n2   = resource.Ref{Kind: "Node", Tenant: "platform", Name: "n2"}
	spy  = resource.Ref{Kind: "Service", Tenant: "platform", Name: "spy"}
	acme = resource.Ref{Kind: "Node", Tenant: "acme", Name: "n1"}
)

// world is one server and its authority.
type world struct {
	t      *testing.T
	ca     *identity.CA
	roots  *x509.CertPool
	server *rpc.Server
	stop   func()
	tcp    string
	later  atomic.Int64 // how far the server's clock goes ahead
}

func authority(t *testing.T, now func() time.Time) (*identity.CA, *x509.CertPool, *x509.Certificate, any) {
	t.Helper()
	ca, certPEM, keyPEM, err := identity.NewCA(cellName, now)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(certPEM)
	b, _ := pem.Decode(certPEM)
	cert, err := x509.ParseCertificate(b.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	b, _ = pem.Decode(keyPEM)
	key, err := x509.ParsePKCS8PrivateKey(b.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return ca, pool, cert, key
}

func services() []rpc.Service {
	nodes := []rpc.Caller{{Kind: "Node", Tenant: "platform", Name: "*"}}
	return []rpc.Service{{Name: "echo", Methods: []rpc.Method{
		{Name: "say", Callers: nodes, MaxBody: 1000, Handle: func(w http.ResponseWriter, r *http.Request, p rpc.Peer) {
			b, err := io.ReadAll(r.Body)
			if err != nil {
				rpc.Refuse(w, fault.New(fault.Invalid, "too long", "过长"))
				return
			}
			io.WriteString(w, p.Principal.String()+" "+string(p.Capability)+" "+string(b))
		}},
		{Name: "stream", Callers: []rpc.Caller{{Kind: "Node", Tenant: "platform", Name: "n1"}}, MaxBody: -1, Handle: func(w http.ResponseWriter, r *http.Request, _ rpc.Peer) {
			http.NewResponseController(w).Flush() // a caller waits for the first word
			buf := make([]byte, 1024)
			for {
				n, err := r.Body.Read(buf)
				if n > 0 {
					w.Write(bytes.ToUpper(buf[:n]))
					http.NewResponseController(w).Flush()
				}
				if err != nil {
					return
				}
			}
		}},
		{Name: "follow", Callers: nodes, Handle: func(w http.ResponseWriter, r *http.Request, _ rpc.Peer) {
			http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}},
		{Name: "fails", Callers: nodes, Handle: func(w http.ResponseWriter, _ *http.Request, _ rpc.Peer) {
			rpc.Refuse(w, errors.New("an internal matter"))
		}},
		{Name: "panics", Callers: nodes, Handle: func(http.ResponseWriter, *http.Request, rpc.Peer) { panic("of a handler") }},
		{Name: "closed", Handle: func(http.ResponseWriter, *http.Request, rpc.Peer) {}},
	}}}
}

func newWorld(t *testing.T, overTCP bool, connections int) *world {
	t.Helper()
	w := &world{t: t}
	w.ca, w.roots, _, _ = authority(t, time.Now)
	cert, err := w.ca.IssuePrincipal(cellName, hub)
	if err != nil {
		t.Fatal(err)
	}
	w.server, err = rpc.NewServer(rpc.ServerOptions{Certificate: cert, Roots: w.roots, Cell: cellName, Services: services(), Connections: connections, Now: func() time.Time { return time.Now().Add(time.Duration(w.later.Load())) }})
	if err != nil {
		t.Fatal(err)
	}
	var doors []net.Listener
	if overTCP {
		ln, err := rpc.Listen("127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		doors, w.tcp = append(doors, ln), ln.Addr().String()
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.server.Serve(ctx, doors...) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(w.stop)
	return w
}

func (w *world) options(who resource.Ref) rpc.ClientOptions {
	w.t.Helper()
	cert, err := w.ca.IssuePrincipal(cellName, who)
	if err != nil {
		w.t.Fatal(err)
	}
	o := rpc.ClientOptions{Certificate: cert, Roots: w.roots, Cell: cellName, Server: hub, Connect: w.server.Connect}
	if w.tcp != "" {
		o.Connect = rpc.TCP(w.tcp)
	}
	return o
}

func (w *world) client(o rpc.ClientOptions) *rpc.Client {
	w.t.Helper()
	c, err := rpc.Dial(o)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(c.Close)
	return c
}

func say(t *testing.T, c *rpc.Client, method, body string) (string, error) {
	t.Helper()
	out, err := c.Call(t.Context(), "echo", method, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	defer out.Close()
	b, err := io.ReadAll(out)
	return string(b), err
}

// both runs a test over TCP and in-process: the handshake is the same.
func both(t *testing.T, test func(*testing.T, *world)) {
	t.Run("tcp", func(t *testing.T) { test(t, newWorld(t, true, 0)) })
	t.Run("in-process", func(t *testing.T) { test(t, newWorld(t, false, 0)) })
}

func TestTheServerKnowsWhoCalls(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		o := w.options(n1)
		o.Capability = []byte("may")
		c := w.client(o)
		for range 3 {
			if got, err := say(t, c, "say", "hello"); err != nil || got != "Node platform/n1 may hello" {
				t.Errorf("%q %v", got, err)
			}
		}
	})
}

func TestStreamsGoBothWays(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		r, send := io.Pipe()
		out, err := w.client(w.options(n1)).Call(t.Context(), "echo", "stream", r)
		for _, word := range []string{"one", "two"} { // the second goes after the answer to the first
			if err != nil {
				t.Fatal(err)
			}
			go io.WriteString(send, word)
			got := make([]byte, 3)
			if _, err = io.ReadFull(out, got); string(got) != strings.ToUpper(word) {
				t.Fatalf("%q %v", got, err)
			}
		}
		send.Close()
		if rest, err := io.ReadAll(out); len(rest) > 0 || err != nil {
			t.Errorf("%q %v", rest, err)
		}
	})
}

func TestWhoIsNotListedIsRefused(t *testing.T) {
	w := newWorld(t, false, 0)
	for _, c := range []struct {
		who    resource.Ref
		method string
	}{{spy, "say"}, {acme, "say"}, {n2, "stream"}, {n1, "closed"}, {n1, "nothere"}, {n1, "say/"}, {n1, "../echo/say"}, {n1, "SAY"}} {
		if out, err := say(t, w.client(w.options(c.who)), c.method, "x"); !fault.Is(err, fault.Forbidden) {
			t.Errorf("%s calls %s: %q %v", c.who, c.method, out, err)
		}
	}
	_, err := say(t, w.client(w.options(n1)), "fails", "")
	if e := fault.Of(err); e.Code != fault.Internal || e.Detail.Zh == "" || strings.Contains(e.Detail.En, "matter") {
		t.Errorf("an inner error arrives as %+v", e)
	}
	if _, err := say(t, w.client(w.options(n1)), "panics", ""); !fault.Is(err, fault.Unavailable) {
		t.Errorf("a panic arrives as %v", err)
	}
	if _, err := say(t, w.client(w.options(n1)), "say", ""); err != nil {
		t.Errorf("after a panic: %v", err)
	}
}

// TestForgedCertificates tries, as client and as server, what is not a proof.
func TestForgedCertificates(t *testing.T) {
	_, roots, ca, key := authority(t, time.Now)
	_, _, foreign, foreignKey := authority(t, time.Now)
	name := func(s string) []*url.URL {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		return []*url.URL{u}
	}
	valid := func(who string) x509.Certificate {
		return x509.Certificate{
			SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), URIs: name("dun://" + cellName + who),
			KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
		}
	}
	issue := func(tmpl, by *x509.Certificate, byKey any) *tls.Certificate {
		own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if by == nil {
			by, byKey = tmpl, own
		}
		der, err := x509.CreateCertificate(rand.Reader, tmpl, by, own.Public(), byKey)
		if err != nil {
			t.Fatal(err)
		}
		return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: own}
	}
	forge := map[string]func(c *x509.Certificate) (*x509.Certificate, any){
		"none": func(*x509.Certificate) (*x509.Certificate, any) { return ca, key }, // the positive control
		"expired": func(c *x509.Certificate) (*x509.Certificate, any) {
			c.NotAfter = time.Now().Add(-time.Second)
			return ca, key
		},
		"not yet": func(c *x509.Certificate) (*x509.Certificate, any) {
			c.NotBefore = time.Now().Add(time.Minute)
			return ca, key
		},
		"foreign":     func(*x509.Certificate) (*x509.Certificate, any) { return foreign, foreignKey },
		"self-signed": func(*x509.Certificate) (*x509.Certificate, any) { return nil, nil },
		"no name":     func(c *x509.Certificate) (*x509.Certificate, any) { c.URIs = nil; return ca, key },
		"a host": func(c *x509.Certificate) (*x509.Certificate, any) {
			c.URIs, c.DNSNames = nil, []string{cellName}
			return ca, key
		},
		"common name": func(c *x509.Certificate) (*x509.Certificate, any) {
			c.Subject.CommonName, c.URIs = c.URIs[0].String(), nil
			return ca, key
		},
		"two names":  func(c *x509.Certificate) (*x509.Certificate, any) { c.URIs = append(c.URIs, c.URIs[0]); return ca, key },
		"other cell": func(c *x509.Certificate) (*x509.Certificate, any) { c.URIs[0].Host = "othercel"; return ca, key },
		"no cell":    func(c *x509.Certificate) (*x509.Certificate, any) { c.URIs[0].Host = ""; return ca, key },
		"scheme":     func(c *x509.Certificate) (*x509.Certificate, any) { c.URIs[0].Scheme = "spiffe"; return ca, key },
		"longer":     func(c *x509.Certificate) (*x509.Certificate, any) { c.URIs[0].Path += "/more"; return ca, key },
		"query":      func(c *x509.Certificate) (*x509.Certificate, any) { c.URIs[0].RawQuery = "a=b"; return ca, key },
		"fragment":   func(c *x509.Certificate) (*x509.Certificate, any) { c.URIs[0].Fragment = "x"; return ca, key },
		"user":       func(c *x509.Certificate) (*x509.Certificate, any) { c.URIs[0].User = url.User("x"); return ca, key },
		"star": func(c *x509.Certificate) (*x509.Certificate, any) {
			c.URIs[0].Path = "/Node/platform/*"
			return ca, key
		},
		"an authority": func(c *x509.Certificate) (*x509.Certificate, any) { c.IsCA = true; return ca, key },
		"no use": func(c *x509.Certificate) (*x509.Certificate, any) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}
			return ca, key
		},
	}
	for what, change := range forge {
		t.Run(what, func(t *testing.T) {
			t.Parallel() // to end a connection takes a second
			try := func(forgeServer, forgeClient bool) error {
				certs := map[bool]*tls.Certificate{}
				for isServer, who := range map[bool]string{true: "/Service/platform/hub", false: "/Node/platform/n1"} {
					c, by, byKey := valid(who), ca, key
					if isServer && forgeServer || !isServer && forgeClient {
						by, byKey = change(&c)
					}
					certs[isServer] = issue(&c, by, byKey)
				}
				s, err := rpc.NewServer(rpc.ServerOptions{Certificate: certs[true], Roots: roots, Cell: cellName, Services: services()})
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan error, 1)
				go func() { ended <- s.Serve(ctx) }()
				defer func() { cancel(); <-ended }()
				c, err := rpc.Dial(rpc.ClientOptions{Certificate: certs[false], Roots: roots, Cell: cellName, Server: hub, Connect: s.Connect})
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				_, err = say(t, c, "say", "x")
				return err
			}
			for side, err := range map[string]error{"server": try(true, false), "client": try(false, true)} {
				if what == "none" && err != nil {
					t.Errorf("a sound %s is refused: %v", side, err)
				}
				if what != "none" && !fault.Is(err, fault.Unavailable) && !fault.Is(err, fault.Unauthenticated) {
					t.Errorf("the %s passes: %v", side, err)
				}
			}
		})
	}
}

func TestAnotherServerIsNotTheOneMeant(t *testing.T) {
	w := newWorld(t, false, 0)
	o := w.options(n1)
	o.Server = spy
	if _, err := say(t, w.client(o), "say", "x"); !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "answers instead of") {
		t.Errorf("renamed: %v", err)
	}
	if cert, err := w.ca.Issue("127.0.0.1"); err != nil {
		t.Fatal(err)
	} else if o := w.options(n1); true { // a site's certificate, of the same authority
		o.Certificate = cert
		if _, err := say(t, w.client(o), "say", "x"); !fault.Is(err, fault.Unavailable) {
			t.Errorf("the certificate of a site calls: %v", err)
		}
	}
}

func TestPlainAndAnonymousClients(t *testing.T) {
	w := newWorld(t, true, 0)
	for what, conf := range map[string]*tls.Config{
		"no certificate": {InsecureSkipVerify: true, NextProtos: []string{"h2"}},
		"tls 1.2":        {InsecureSkipVerify: true, NextProtos: []string{"h2"}, MaxVersion: tls.VersionTLS12, Certificates: []tls.Certificate{*w.options(n1).Certificate}},
		"http/1.1":       {InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}, Certificates: []tls.Certificate{*w.options(n1).Certificate}},
	} {
		c, err := tls.Dial("tcp", w.tcp, conf)
		if err == nil {
			_, err = c.Read(make([]byte, 1))
			c.Close()
		}
		if err == nil {
			t.Errorf("%s: the server speaks", what)
		}
	}
	c, err := net.Dial("tcp", w.tcp)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "POST /echo/say HTTP/1.1\r\nHost: x\r\n\r\n")
	if b, _ := io.ReadAll(c); bytes.Contains(b, []byte("200")) {
		t.Errorf("plain text is answered: %q", b)
	}
}

func TestSizes(t *testing.T) {
	w := newWorld(t, false, 0)
	c := w.client(w.options(n1))
	if _, err := say(t, c, "say", strings.Repeat("x", 1000)); err != nil {
		t.Errorf("the largest body: %v", err)
	}
	if _, err := say(t, c, "say", strings.Repeat("x", 1001)); !fault.Is(err, fault.Invalid) {
		t.Errorf("a larger body: %v", err)
	}
	if _, err := c.Call(t.Context(), "echo", "say", io.MultiReader(strings.NewReader(strings.Repeat("x", 1001)))); !fault.Is(err, fault.Invalid) {
		t.Errorf("a larger body of no said length: %v", err)
	}
	if _, err := say(t, c, strings.Repeat("m", 1<<20), "x"); err == nil {
		t.Error("headers of a megabyte pass")
	}
	o := w.options(n1)
	o.Capability = make([]byte, 4097)
	if _, err := rpc.Dial(o); err == nil {
		t.Error("a larger capability passes")
	}
}

func TestOneConnectionTooMany(t *testing.T) {
	w := newWorld(t, true, 2)
	a, b := w.client(w.options(n1)), w.client(w.options(n2))
	for _, c := range []*rpc.Client{a, b} {
		if _, err := say(t, c, "say", "x"); err != nil {
			t.Fatal(err)
		}
	}
	third, err := net.Dial("tcp", w.tcp)
	if err != nil {
		t.Fatal(err)
	}
	defer third.Close()
	if _, err := third.Read(make([]byte, 1)); err == nil {
		t.Error("the server speaks first")
	} else if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		t.Error("the third is not closed")
	}
	if _, err := say(t, a, "say", "x"); err != nil {
		t.Errorf("those who are in suffer: %v", err)
	}
}

// In a bubble time is the test's own, and nothing may be left running at its
// end: a goroutine that leaks fails it.
func TestSlowHandshakesAndNoLeak(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, false, 0)
		slow, err := w.server.Connect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if _, err := slow.Read(make([]byte, 1)); err == nil {
			t.Error("the server speaks first")
		}
		if took := time.Since(start); took < time.Second || took > 10*time.Second {
			t.Errorf("a client that says nothing is cut after %s", took)
		}
		c := w.client(w.options(n1))
		if _, err := say(t, c, "say", "x"); err != nil {
			t.Error(err)
		}
		ctx, leave := context.WithCancel(t.Context())
		out, err := c.Call(ctx, "echo", "follow", nil)
		if err != nil {
			t.Fatal(err)
		}
		other, err := c.Call(t.Context(), "echo", "follow", nil)
		if err != nil {
			t.Fatal(err)
		}
		leave()
		if _, err := io.ReadAll(out); !errors.Is(err, context.Canceled) {
			t.Errorf("who left reads on: %v", err)
		}
		w.stop() // ends the stream that runs
		io.ReadAll(other)
		if _, err := say(t, c, "say", "x"); !fault.Is(err, fault.Unavailable) {
			t.Errorf("after the end: %v", err)
		}
	})
}

// A certificate ends also on a connection that was made in its time.
func TestACertificateEndsOnAnOpenConnection(t *testing.T) {
	w := newWorld(t, false, 0)
	c := w.client(w.options(n1))
	if _, err := say(t, c, "say", "x"); err != nil {
		t.Fatal(err)
	}
	w.later.Store(int64(61 * 24 * time.Hour))
	if _, err := say(t, c, "say", "x"); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("after its end: %v", err)
	}
}

func FuzzPrincipal(f *testing.F) {
	f.Add("dun://testcell/Node/platform/n1")
	f.Add("dun://testcell/Node/platform/%6e1")
	f.Add("dun://testcell//platform/n1")
	f.Fuzz(func(t *testing.T, text string) {
		u, err := url.Parse(text)
		if err != nil {
			return
		}
		auth := rpc.Certificates{Cell: cellName, Now: time.Now}
		leaf := &x509.Certificate{URIs: []*url.URL{u}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
		r := &http.Request{Header: http.Header{}, TLS: &tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}, VerifiedChains: [][]*x509.Certificate{{leaf}}}}
		p, err := auth.Authenticate(r)
		if err != nil {
			return
		}
		back, err := identity.PrincipalURI(cellName, p.Principal)
		if err != nil || back.String() != u.String() {
			t.Errorf("%q is taken for %s", text, p.Principal)
		}
	})
}
