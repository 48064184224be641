package certificates

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/clock"
	"github.com/dun-sec/dun/internal/core/db"
	"github.com/dun-sec/dun/internal/core/deposit"
	"github.com/dun-sec/dun/internal/core/events"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/secret"
	"github.com/dun-sec/dun/internal/govern/dayzero"
	"github.com/dun-sec/dun/internal/kinds/edge"
	"github.com/dun-sec/dun/internal/lab"
)

var operator = identity.Actor{Principal: dayzero.Operator, Door: "test"}

// scene is a controller on a real gate and a real store of secrets, whose clock
// a test moves.
type scene struct {
	t       *testing.T
	g       *gate.Gate
	secrets *secret.Store
	clock   *clock.Fake
	opt     Options
	mu      sync.Mutex
	told    []events.Event
	end     func()
}

func newScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{t: t, g: lab.Gate(t, lab.Kinds(t)), clock: clock.NewFake(time.Now())}
	if err := dayzero.Run(t.Context(), s.g, "test"); err != nil {
		t.Fatal(err)
	}
	k, err := secret.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "root.key")
	if err := k.Write(file); err != nil {
		t.Fatal(err)
	}
	d, err := db.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "meta.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	s.secrets, err = secret.Open(t.Context(), secret.Options{DB: d, KeyFile: file, Now: s.clock.Now, Record: func(context.Context, identity.Actor, secret.Use) error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	s.opt = Options{Gate: s.g, Events: s, Secrets: s.secrets, Clock: s.clock, Log: slog.New(slog.DiscardHandler)}
	return s
}

// Add implements what the controller tells events to.
func (s *scene) Add(e events.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told = append(s.told, e)
}

// states are the days and the state of each event so far.
func (s *scene) states() (out []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.told {
		out = append(out, e.Attributes["days"]+" "+e.Attributes["state"])
	}
	return out
}

// start runs the controller until the test or end ends it.
func (s *scene) start() {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := Run(ctx, s.opt); err != nil {
			s.t.Errorf("Run: %v", err)
		}
	}()
	s.end = sync.OnceFunc(func() { cancel(); <-ended })
	s.t.Cleanup(s.end)
}

// upload puts a certificate that holds for a while, with its key.
func (s *scene) upload(name string, life time.Duration) *resource.Object {
	s.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		s.t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: name + ".example"}, DNSNames: []string{name + ".example"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: s.clock.Now().Add(life)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		s.t.Fatal(err)
	}
	kb, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		s.t.Fatal(err)
	}
	res, err := deposit.PutWith(s.t.Context(), s.g, s.secrets, deposit.Request{Actor: operator, Ref: ref(name), Verb: "key"},
		&resource.Object{Kind: "Certificate", Spec: &edge.CertificateSpec{Chain: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))}},
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: kb}))
	if err != nil {
		s.t.Fatal(err)
	}
	return res.Object
}

func ref(name string) resource.Ref {
	return resource.Ref{Kind: "Certificate", Tenant: "platform", Name: name}
}

// until polls for a status.
func (s *scene) until(name, what string, ok func(*edge.CertificateStatus) bool) *edge.CertificateStatus {
	s.t.Helper()
	var last *edge.CertificateStatus
	for end := time.Now().Add(lab.Wait); time.Now().Before(end); {
		o, err := s.g.Get(s.t.Context(), operator, ref(name))
		if err != nil {
			s.t.Fatal(err)
		}
		if last, _ = o.Status.(*edge.CertificateStatus); last != nil && ok(last) {
			return last
		}
		<-time.After(time.Millisecond)
	}
	s.t.Fatalf("%s: %s does not come; it is %+v", name, what, last)
	return nil
}

func (s *scene) condition(name, want string) *edge.CertificateStatus {
	s.t.Helper()
	return s.until(name, want, func(c *edge.CertificateStatus) bool { return c.Condition == want })
}

func (s *scene) days(days int) { s.clock.Advance(time.Duration(days) * day) }

func TestTheEndOfACertificateIsToldInTime(t *testing.T) {
	s := newScene(t)
	s.upload("shop", 40*day)
	s.start()
	c := s.condition("shop", edge.CertificateReady)
	if !c.Serving || !slices.Equal(c.Names, []string{"shop.example"}) || c.Fingerprint == "" || c.Issuer != "CN=shop.example" || c.Warned != nil {
		t.Errorf("%+v", c)
	}
	warned := func(want int) {
		t.Helper()
		s.until("shop", "the warning", func(c *edge.CertificateStatus) bool { return c.Warned != nil && *c.Warned == want })
	}
	s.days(9)
	s.condition("shop", edge.CertificateReady) // 31 days are left
	for _, step := range []struct{ pass, left int }{{1, 30}, {16, 14}, {7, 7}, {6, 1}} {
		s.days(step.pass)
		warned(step.left)
		s.condition("shop", edge.CertificateExpiring)
	}
	s.end() // a restart tells nothing twice
	s.start()
	s.days(1)
	warned(0)
	s.condition("shop", edge.CertificateExpired)
	want := []string{"30 expiring", "14 expiring", "7 expiring", "1 expiring", "0 expired"}
	if got := s.states(); !slices.Equal(got, want) {
		t.Errorf("told %v, want %v", got, want)
	}
	if e := s.told[4]; e.Kind != "certificate" || e.Tenant != "platform" || e.Object != "certificate/shop" || e.Attributes["names"] != "shop.example" {
		t.Errorf("%+v", e)
	}
	s.upload("shop", 90*day)
	s.until("shop", "the new one", func(c *edge.CertificateStatus) bool { return c.Condition == edge.CertificateReady && c.Warned == nil })
	s.days(100) // a machine that slept
	s.condition("shop", edge.CertificateExpired)
	if got := s.states(); !slices.Equal(got, append(want, "0 expired")) {
		t.Errorf("told %v", got)
	}
}

func TestAChainWithoutItsKeyIsHalf(t *testing.T) {
	s := newScene(t)
	o := s.upload("shop", 90*day)
	other := s.upload("other", 90*day)
	next := *o
	next.Spec = other.Spec // another's chain: the key of this record is not its
	next.State, next.Status = nil, nil
	if _, err := s.g.Apply(t.Context(), gate.Request{Actor: operator, Changes: []gate.Change{{Op: gate.Put, Ref: ref("shop"), Object: &next, Revision: o.Metadata.Revision}}}); err != nil {
		t.Fatal(err)
	}
	s.start()
	if c := s.condition("shop", edge.CertificateHalf); !c.Serving || c.Names[0] != "shop.example" {
		t.Errorf("%+v: the old pair serves", c)
	}
	bare := resource.Object{Kind: "Certificate", Metadata: resource.Metadata{Tenant: "platform", Name: "bare"}, Spec: other.Spec}
	if _, err := s.g.Apply(t.Context(), gate.Request{Actor: operator, Changes: []gate.Change{{Op: gate.Put, Ref: ref("bare"), Object: &bare}}}); err != nil {
		t.Fatal(err)
	}
	if c := s.condition("bare", edge.CertificateHalf); c.Serving {
		t.Errorf("%+v", c)
	}
}

func TestTheKeyGoesWithItsCertificate(t *testing.T) {
	s := newScene(t)
	o, stays := s.upload("shop", 90*day), s.upload("stays", 90*day)
	s.start()
	s.condition("shop", edge.CertificateReady)
	if _, err := s.g.Apply(t.Context(), gate.Request{Actor: operator, Changes: []gate.Change{{Op: gate.Delete, Ref: ref("shop"), Revision: o.Metadata.Revision}}}); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(lab.Wait); ; s.clock.Advance(sweepAfter) {
		list, err := s.secrets.Owned(t.Context(), "Certificate")
		if err != nil {
			t.Fatal(err)
		}
		if len(list) == 1 && list[0].Owner == stays.Ref() {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("kept: %+v", list)
		}
		if err := s.clock.Waiting(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
	}
}

// A key that a change names which waits for approval stays as long as that may
// take, and not for ever.
func TestAKeyThatWaitsForApprovalStays(t *testing.T) {
	s := newScene(t)
	o := s.upload("shop", 400*day)
	if _, err := s.secrets.Put(t.Context(), operator, o.Ref(), edge.KeyPurpose, secret.New([]byte("waits"))); err != nil {
		t.Fatal(err)
	}
	w := &watch{opt: s.opt, actor: identity.Service(edge.CertificateOwner), all: map[resource.Ref]*resource.Object{ref("shop"): o}}
	for _, tt := range []struct{ pass, left int }{{0, 2}, {2, 2}, {35, 2}, {4, 1}} {
		s.days(tt.pass)
		w.swept = time.Time{}
		w.sweep(t.Context(), s.clock.Now())
		if list, err := s.secrets.Owned(t.Context(), "Certificate"); err != nil || len(list) != tt.left {
			t.Errorf("%d days later: %d keys, want %d (%v)", tt.pass, len(list), tt.left, err)
		}
	}
}
