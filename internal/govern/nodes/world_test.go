package nodes_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/audit"
	"github.com/dun-sec/dun/internal/core/db"
	"github.com/dun-sec/dun/internal/core/deposit"
	"github.com/dun-sec/dun/internal/core/events"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/nodelink"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/rpc"
	"github.com/dun-sec/dun/internal/core/secret"
	"github.com/dun-sec/dun/internal/core/usage"
	"github.com/dun-sec/dun/internal/core/verdicts"
	"github.com/dun-sec/dun/internal/govern/dayzero"
	"github.com/dun-sec/dun/internal/govern/nodes"
	"github.com/dun-sec/dun/internal/kinds/edge"
	"github.com/dun-sec/dun/internal/lab"
)

const cellName = "testcell"

var (
	operator = identity.Actor{Principal: dayzero.Operator, Door: "test", MFA: true}
	machine  = identity.Actor{Principal: resource.Ref{Kind: "Service", Tenant: "platform", Name: "api"}, Door: "api", Source: "192.0.2.7"}
)

// world is a control plane with tenants acme and rival, each with a site and a
// certificate of its own, whose door for nodes is in memory.
type world struct {
	t       *testing.T
	g       *gate.Gate
	ca      *identity.CA
	roots   *x509.CertPool
	hub     *nodes.Hub
	server  *rpc.Server
	secrets *secret.Store
	bans    *verdicts.Set

	mu     sync.Mutex
	told   []events.Event
	floods []nodelink.FloodReport
	took   []usage.Entry
	ahead  time.Duration
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Add(w.ahead)
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	w.ahead += d
	w.mu.Unlock()
}

// sink keeps events and usage in memory.
type sink struct{ w *world }

// Add implements nodes.Events.
func (s sink) Add(e events.Event) {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	s.w.told = append(s.w.told, e)
}

// Flush implements nodes.Events.
func (sink) Flush(context.Context) error { return nil }

type meter struct{ w *world }

// Add implements nodes.Usage.
func (m meter) Add(_ context.Context, _ time.Time, list []usage.Entry) error {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	m.w.took = append(m.w.took, list...)
	return nil
}

// desk takes what nodes tell of floods, and has an order for each tenant.
type desk struct{ w *world }

// Take implements nodes.Floods.
func (d desk) Take(_ string, r nodelink.FloodReport) nodelink.FloodReply {
	d.w.mu.Lock()
	defer d.w.mu.Unlock()
	d.w.floods = append(d.w.floods, r)
	return nodelink.FloodReply{Try: []string{"trials"}, Orders: []nodelink.FloodOrder{{Tenant: "rival", Name: "shop", For: time.Minute}, {Tenant: "acme", Name: "shop", For: time.Minute}}}
}

// tokens of ACME orders, one a tenant.
type orders struct{}

// HTTP implements nodes.Challenges.
func (orders) HTTP(tenant, _, _ string) (string, bool) { return "proof of " + tenant, true }

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, bans: verdicts.New(verdicts.Options{})}
	w.g = lab.Gate(t, lab.Kinds(t))
	if err := dayzero.Run(t.Context(), w.g, "test"); err != nil {
		t.Fatal(err)
	}
	w.openSecrets()
	ca, text, _, err := identity.NewCA(cellName, w.now)
	if err != nil {
		t.Fatal(err)
	}
	w.ca, w.roots = ca, x509.NewCertPool()
	w.roots.AppendCertsFromPEM(text)
	w.hub = nodes.New(nodes.Options{
		Gate: w.g, Authority: ca, Cell: cellName, Local: "n1", Roles: []string{"edge"}, Secrets: w.secrets, Events: sink{w}, Usage: meter{w},
		Verdicts: w.bans, Challenges: orders{}, Floods: desk{w}, Address: "127.0.0.1:7444", Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Now: w.now,
	})
	cert, err := ca.IssuePrincipal(cellName, nodelink.Hub())
	if err != nil {
		t.Fatal(err)
	}
	w.server, err = rpc.NewServer(rpc.ServerOptions{Certificate: cert, Roots: w.roots, Cell: cellName, Services: w.hub.Services(), Auth: w.hub.Auth(), Now: w.now})
	if err != nil {
		t.Fatal(err)
	}
	w.run(func(ctx context.Context) {
		if err := w.server.Serve(ctx); err != nil {
			t.Error(err)
		}
	})
	w.run(w.hub.Run)
	for _, tenant := range []string{"acme", "rival"} {
		w.put("kind: Tenant\nmetadata: {tenant: platform, name: %s}\nspec: {}\n", tenant)
		w.put("kind: Site\nmetadata: {tenant: %[1]s, name: shop}\nspec:\n  hosts: [shop.%[1]s.test]\n  origins: [{url: \"http://192.0.2.1\"}]\n", tenant)
		w.upload(tenant)
	}
	return w
}

// run runs f until the test ends.
func (w *world) run(f func(context.Context)) {
	ctx, cancel := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	wait.Go(func() { f(ctx) })
	w.t.Cleanup(func() { cancel(); wait.Wait() })
}

func (w *world) openSecrets() {
	k, err := secret.NewKey()
	if err != nil {
		w.t.Fatal(err)
	}
	file := filepath.Join(w.t.TempDir(), "root.key")
	if err := k.Write(file); err != nil {
		w.t.Fatal(err)
	}
	d, err := db.OpenSQLite(w.t.Context(), filepath.Join(w.t.TempDir(), "meta.db"))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { d.Close() })
	w.secrets, err = secret.Open(w.t.Context(), secret.Options{DB: d, KeyFile: file, Record: func(context.Context, identity.Actor, secret.Use) error { return nil }})
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) put(yaml string, args ...any) *resource.Object {
	w.t.Helper()
	docs, err := resource.ParseYAML(fmt.Appendf(nil, yaml, args...))
	if err != nil {
		w.t.Fatal(err)
	}
	o, _, err := w.g.Registry().Decode(docs[0])
	if err != nil {
		w.t.Fatal(err)
	}
	var rev uint64
	if old, err := w.g.Get(w.t.Context(), operator, o.Ref()); err == nil {
		rev = old.Metadata.Revision
	} else if !fault.Is(err, fault.NotFound) {
		w.t.Fatal(err)
	}
	res, err := w.g.Apply(w.t.Context(), gate.Request{Actor: operator, Changes: []gate.Change{{Op: gate.Put, Ref: o.Ref(), Object: o, Revision: rev}}})
	if err != nil {
		w.t.Fatal(err)
	}
	return res[0].Object
}

func (w *world) remove(ref resource.Ref) {
	w.t.Helper()
	o, err := w.g.Get(w.t.Context(), operator, ref)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.g.Apply(w.t.Context(), gate.Request{Actor: operator, Changes: []gate.Change{{Op: gate.Delete, Ref: ref, Revision: o.Metadata.Revision}}}); err != nil {
		w.t.Fatal(err)
	}
}

// upload gives a tenant a certificate with its key.
func (w *world) upload(tenant string) {
	w.t.Helper()
	cert, err := w.ca.Issue("shop." + tenant + ".test")
	if err != nil {
		w.t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		w.t.Fatal(err)
	}
	_, err = deposit.PutWith(w.t.Context(), w.g, w.secrets, deposit.Request{Actor: operator, Ref: certificate(tenant), Verb: "key"},
		&resource.Object{Kind: "Certificate", Spec: &edge.CertificateSpec{Chain: pemOf("CERTIFICATE", cert.Certificate[0])}}, []byte(pemOf("PRIVATE KEY", key)))
	if err != nil {
		w.t.Fatal(err)
	}
}

func pemOf(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func certificate(tenant string) resource.Ref {
	return resource.Ref{Kind: "Certificate", Tenant: tenant, Name: "own"}
}

// token makes one; more are lines of its spec.
func (w *world) token(more ...string) nodelink.TokenFile {
	w.t.Helper()
	s, verifier := nodelink.NewSecret()
	name := "t-" + verifier[:8]
	w.put("kind: Token\nmetadata: {tenant: platform, name: %s}\nspec: {roles: [edge], expires: %q, verifier: %q%s}\n", name, w.now().Add(time.Hour).UTC().Format(time.RFC3339), verifier, strings.Join(append([]string{""}, more...), ", "))
	return nodelink.TokenFile{URL: "https://127.0.0.1:7443", CA: "sha256:00", Token: name, Secret: s}
}

// joiner is a machine with a key.
type joiner struct {
	key    *ecdsa.PrivateKey
	public []byte
}

func newJoiner(t *testing.T) joiner {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(k.Public())
	if err != nil {
		t.Fatal(err)
	}
	return joiner{k, der}
}

func (w *world) join(j joiner, f nodelink.TokenFile) (*nodelink.JoinReply, error) {
	return w.hub.Join(w.t.Context(), machine, nodelink.JoinRequest{V: nodelink.Schema, Token: f.Token, Secret: f.Secret, Public: j.public})
}

// node joins and makes its link.
func (w *world) node(more ...string) *node {
	w.t.Helper()
	j := newJoiner(w.t)
	r, err := w.join(j, w.token(more...))
	if err != nil {
		w.t.Fatal(err)
	}
	return w.link(j, r)
}

type node struct {
	*nodelink.Link
	name string
	raw  *rpc.Client // the same certificate, by whoever stole it
	feed resource.Feed
	seen map[string]*resource.Object
	at   resource.Position
}

func (w *world) link(j joiner, r *nodelink.JoinReply, kinds ...*resource.Kind) *node {
	w.t.Helper()
	leaf, err := x509.ParseCertificate(r.Certificate)
	if err != nil {
		w.t.Fatal(err)
	}
	pair := &tls.Certificate{Certificate: [][]byte{r.Certificate}, PrivateKey: j.key, Leaf: leaf}
	reg := w.g.Registry()
	if len(kinds) > 0 {
		if reg, err = resource.NewRegistry(kinds...); err != nil {
			w.t.Fatal(err)
		}
	}
	l, err := nodelink.New(nodelink.Options{Certificate: pair, Roots: w.roots, Cell: cellName, Node: r.Node, Connect: w.server.Connect, Registry: reg, Version: "test", Now: w.now})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(l.Close)
	raw, err := rpc.Dial(rpc.ClientOptions{Certificate: pair, Roots: w.roots, Cell: cellName, Server: nodelink.Hub(), Connect: w.server.Connect, Now: w.now})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(raw.Close)
	return &node{Link: l, name: r.Node, raw: raw, feed: l.Feed(), seen: map[string]*resource.Object{}}
}

// next takes one batch.
func (n *node) next(t *testing.T) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), lab.Wait)
	defer cancel()
	b, err := n.feed.Next(ctx)
	if err != nil {
		return err
	}
	if b.Reset {
		clear(n.seen)
	}
	for _, c := range b.Changes {
		name := c.Ref.Kind + " " + c.Ref.Tenant + "/" + c.Ref.Name
		if n.seen[name] = c.Object; c.Object == nil {
			delete(n.seen, name)
		}
	}
	n.at = b.At
	return nil
}

// until takes batches until the node has a record, or has it no more.
func (n *node) until(t *testing.T, what string, good func() bool) {
	t.Helper()
	for !good() {
		if err := n.next(t); err != nil {
			t.Fatalf("%s: %v; it sees %v", what, err, n.names())
		}
	}
}

func (n *node) names() []string {
	var out []string
	for k := range n.seen {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// call is what a thief with the certificate sends.
func (n *node) call(t *testing.T, method, body string) (string, error) {
	t.Helper()
	r, err := n.raw.Call(t.Context(), nodelink.Service, method, bytes.NewReader([]byte(body)))
	if err != nil {
		return "", err
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	return string(b), err
}

// leaves counts those of a principal by action.
func (w *world) leaves(action string) (n int) {
	w.t.Helper()
	book, err := w.g.Book(operator, gate.DenialsLog)
	if err != nil {
		w.t.Fatal(err)
	}
	for from := uint64(0); ; {
		list, err := book.Leaves(w.t.Context(), from, 1000)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, e := range list {
			l, err := audit.ParseLeaf(e.Leaf)
			if err != nil {
				w.t.Fatal(err)
			}
			if l.Action == action && l.Class == audit.Denial {
				n++
			}
			from = l.Seq + 1
		}
		if len(list) < 1000 {
			return n
		}
	}
}

func (w *world) record(name string) *resource.Object {
	w.t.Helper()
	o, err := w.g.Get(w.t.Context(), operator, nodelink.NodeRef(name))
	if err != nil {
		w.t.Fatal(err)
	}
	return o
}

func (w *world) eventually(what string, good func() bool) {
	w.t.Helper()
	for end := time.Now().Add(lab.Wait); !good(); {
		if time.Now().After(end) {
			w.t.Fatalf("it does not come: %s", what)
		}
		select {
		case <-w.t.Context().Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
}
