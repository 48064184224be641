package accesskeys

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/clock"
	"github.com/dun-sec/dun/internal/core/deposit"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/identity/sigv4"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/secret"
	"github.com/dun-sec/dun/internal/govern/dayzero"
	"github.com/dun-sec/dun/internal/kinds/access"
	"github.com/dun-sec/dun/internal/lab"
)

// store counts how often secrets are opened.
type store struct {
	*secret.Store
	mu     sync.Mutex
	opened int
}

func (s *store) OpenOf(ctx context.Context, a identity.Actor, owner resource.Ref, ref secret.Ref, purpose string) (secret.Value, error) {
	s.mu.Lock()
	s.opened++
	s.mu.Unlock()
	return s.Store.OpenOf(ctx, a, owner, ref, purpose)
}

type scene struct {
	t       *testing.T
	g       *gate.Gate
	secrets *store
	clock   *clock.Fake
	keys    *Keys
}

func newScene(t *testing.T) *scene {
	t.Helper()
	g := lab.Gate(t, lab.Kinds(t))
	if err := dayzero.Run(t.Context(), g, "test"); err != nil {
		t.Fatal(err)
	}
	c := &scene{t: t, g: g, secrets: &store{Store: lab.Secrets(t)}, clock: clock.NewFake(time.Now())}
	c.keys = New(Options{Gate: g, Secrets: c.secrets, Clock: c.clock, Log: slog.New(slog.DiscardHandler)})
	return c
}

var operator = identity.Actor{Principal: dayzero.Operator, Door: "test"}

func ref(name string) resource.Ref {
	return resource.Ref{Kind: "AccessKey", Tenant: resource.Platform, Name: name}
}

// make makes a key of the operator, and gives its id and secret.
func (c *scene) make(name string) (id, text string) {
	c.t.Helper()
	_, err := c.g.Apply(c.t.Context(), gate.Request{Actor: operator, Changes: []gate.Change{{Op: gate.Put, Ref: ref(name), Object: &resource.Object{
		Kind: "AccessKey", Metadata: resource.Metadata{Tenant: resource.Platform, Name: name}, Spec: &access.AccessKeySpec{User: "operator"}}}}})
	if err != nil {
		c.t.Fatal(err)
	}
	res, v, err := deposit.Make(c.t.Context(), c.g, c.secrets.Store, deposit.Request{Actor: operator, Ref: ref(name), Verb: "issue"})
	if err != nil {
		c.t.Fatal(err)
	}
	return res.Object.State.(*access.AccessKeyState).KeyID, string(v.Reveal())
}

// identify signs a reading request, and gives it to the keys.
func (c *scene) identify(id, text string) error {
	c.t.Helper()
	r := httptest.NewRequest("GET", "http://dun.test/a", nil)
	if err := sigv4.Sign(r, id, []byte(text), nil, c.clock.Now()); err != nil {
		c.t.Fatal(err)
	}
	_, _, err := c.keys.Identify(r, identity.Actor{Door: "api", Source: "192.0.2.7"}, 1024)
	return err
}

// TestASecretIsOpenedOnceAnHour: an opening is a leaf; a request is none.
func TestASecretIsOpenedOnceAnHour(t *testing.T) {
	c := newScene(t)
	id, text := c.make("one")
	for range 20 {
		if err := c.identify(id, text); err != nil {
			t.Fatal(err)
		}
		if c.identify(id, text+"x") == nil {
			t.Fatal("a wrong secret is taken")
		}
		if c.identify("AKUNKNOWN", text) == nil {
			t.Fatal("an unknown key is taken")
		}
	}
	if c.secrets.opened != 1 {
		t.Errorf("opened %d times", c.secrets.opened)
	}
	c.clock.Advance(ringLife + time.Second)
	if err := c.identify(id, text); err != nil || c.secrets.opened != 2 {
		t.Errorf("after an hour: %v, opened %d times", err, c.secrets.opened)
	}
	for range ringPlaces + 10 {
		c.keys.ring.add(c.clock, secret.Ref(rand.Text()), secret.New([]byte("x")))
	}
	if n := len(c.keys.ring.open); n != ringPlaces {
		t.Errorf("%d secrets are open", n)
	}
}

// TestTheSweep tells of uses, closes what is not wanted, and forgets the secret
// whose record went; one that was sealed just now it leaves alone.
func TestTheSweep(t *testing.T) {
	c := newScene(t)
	id, text := c.make("one")
	if err := c.identify(id, text); err != nil {
		t.Fatal(err)
	}
	c.keys.sweep(t.Context())
	o, err := c.g.Get(t.Context(), operator, ref("one"))
	if err != nil {
		t.Fatal(err)
	}
	if s, ok := o.Status.(*access.AccessKeyStatus); !ok || s.Used == nil || s.Used.Second() != 0 || s.Source != "192.0.2.7" {
		t.Errorf("the last use: %+v", o.Status)
	}
	if len(c.keys.uses) != 0 || len(c.keys.ring.open) != 1 {
		t.Errorf("%d uses wait, %d secrets are open", len(c.keys.uses), len(c.keys.ring.open))
	}
	disabled := *o
	disabled.State, disabled.Status, disabled.Spec = nil, nil, &access.AccessKeySpec{User: "operator", Disabled: true}
	res, err := c.g.Apply(t.Context(), gate.Request{Actor: operator, Changes: []gate.Change{{Op: gate.Put, Ref: ref("one"), Object: &disabled, Revision: o.Metadata.Revision}}})
	if err != nil {
		t.Fatal(err)
	}
	if c.identify(id, text) == nil {
		t.Error("a disabled key is taken")
	}
	c.keys.sweep(t.Context())
	if len(c.keys.ring.open) != 0 {
		t.Error("the secret of a disabled key stays open")
	}
	if _, err := c.g.Apply(t.Context(), gate.Request{Actor: operator, Changes: []gate.Change{{Op: gate.Delete, Ref: ref("one"), Revision: res[0].Revision}}}); err != nil {
		t.Fatal(err)
	}
	count := func(want int) {
		t.Helper()
		c.keys.sweep(t.Context())
		if list, err := c.secrets.Owned(t.Context(), "AccessKey"); err != nil || len(list) != want {
			t.Errorf("%d secrets are kept, want %d: %v", len(list), want, err)
		}
	}
	count(1)
	c.clock.Jump(2 * tooYoung)
	count(0)
}
