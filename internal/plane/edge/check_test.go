package edge

import (
	"context"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/assurance"
	"github.com/dun-sec/dun/internal/core/events"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/govern/dayzero"
	"github.com/dun-sec/dun/internal/lab"
)

// checked is an edge that follows a real gate, and the check of 8.4-9 on it.
type checked struct {
	t    *testing.T
	gate *gate.Gate
	edge *Edge
	env  CheckEnv
}

func newChecked(t *testing.T) *checked {
	t.Helper()
	return newCheckedBy(t, func(*Options) {}, func(f resource.Feed) resource.Feed { return f })
}

func newCheckedBy(t *testing.T, change func(*Options), by func(resource.Feed) resource.Feed) *checked {
	t.Helper()
	rules, err := sharedRules()
	if err != nil {
		t.Fatal(err)
	}
	c := &checked{t: t, gate: lab.Gate(t, lab.Kinds(t))}
	if err := dayzero.Run(t.Context(), c.gate, "test"); err != nil {
		t.Fatal(err)
	}
	log, err := events.Open(events.Options{Dir: filepath.Join(t.TempDir(), "events")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	opt := Options{Node: "n1", NodeID: 7, Events: log, TempDir: t.TempDir(), rules: rules, Mask: events.Mask}
	change(&opt)
	if c.edge, err = New(t.Context(), opt); err != nil {
		t.Fatal(err)
	}
	feed, err := c.gate.Watch(identity.Service("edge"), []string{"Site", "Exclusion", "Ban", "Tenant", "DataClass"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	door := listen(t)
	var running sync.WaitGroup
	running.Go(func() { c.edge.Run(ctx, by(feed)) })
	running.Go(func() {
		if err := c.edge.Serve(ctx, door, nil); err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	t.Cleanup(func() { cancel(); running.Wait() })
	at := door.Addr().(*net.TCPAddr).AddrPort()
	c.env = CheckEnv{
		Gate: c.gate, Events: log, Door: at, Doors: func() []netip.AddrPort { return []netip.AddrPort{at} },
		Listening: func() ([]netip.AddrPort, error) {
			return []netip.AddrPort{at, netip.MustParseAddrPort("127.0.0.1:631")}, nil
		},
	}
	return c
}

func (c *checked) run(change func(*CheckEnv)) (assurance.Result, error) {
	c.t.Helper()
	env := c.env
	if change != nil {
		change(&env)
	}
	r, err := assurance.NewRegistry("n1", c.gate.RecordCheck, time.Now, c.edge.front(env, time.Second, time.Second))
	if err != nil {
		c.t.Fatal(err)
	}
	return r.Run(c.t.Context(), identity.Actor{Principal: dayzero.Operator}, "8.4-9")
}

func (c *checked) left() int {
	n := 0
	for _, k := range []string{"Site", "Ban"} {
		p, err := c.gate.List(c.t.Context(), identity.Actor{Principal: dayzero.Operator}, gate.ListOptions{Kind: k, Tenant: gate.AllTenants})
		if err != nil {
			c.t.Fatal(err)
		}
		n += len(p.Items)
	}
	return n
}

func TestControl8_4_9Proved(t *testing.T) {
	c := newChecked(t)
	for range 2 { // again, with the canary tenant there
		res, err := c.run(nil)
		if err != nil || res.State != assurance.Proved || len(res.Evidence) != 4 {
			t.Fatalf("%+v %v", res, err)
		}
	}
	if n := c.left(); n != 0 {
		t.Errorf("%d records were left behind", n)
	}
}

// gateThat changes or drops what the check writes.
type gateThat struct {
	*gate.Gate
	change func(*gate.Change) bool // false = acknowledged and not done
}

func (g gateThat) Apply(ctx context.Context, req gate.Request) ([]gate.Result, error) {
	for i := range req.Changes {
		if !g.change(&req.Changes[i]) {
			return []gate.Result{{Ref: req.Changes[i].Ref, Revision: g.At().Revision}}, nil
		}
	}
	return g.Gate.Apply(ctx, req)
}

func TestControl8_4_9Broken(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*CheckEnv)
		want   string
	}{
		"a door beside the edge": {func(e *CheckEnv) {
			all, _ := e.Listening()
			e.Listening = func() ([]netip.AddrPort, error) {
				return append(all, netip.MustParseAddrPort("0.0.0.0:8000"), netip.MustParseAddrPort("[2001:db8::1]:22")), nil
			}
		}, "2 public addresses"},
		"a site without a firewall": {func(e *CheckEnv) {
			g := e.Gate.(*gate.Gate)
			e.Gate = gateThat{g, func(c *gate.Change) bool {
				if c.Op == gate.Put && c.Ref.Kind == "Site" {
					c.Object.Spec.(map[string]any)["waf"] = map[string]any{"mode": "off"}
				}
				return true
			}}
		}, "an SQL injection got 502"},
		"a ban that is not enforced": {func(e *CheckEnv) {
			g := e.Gate.(*gate.Gate)
			e.Gate = gateThat{g, func(c *gate.Change) bool { return c.Ref.Kind != "Ban" }}
		}, "a banned source is not refused"},
		"events that are not there": {func(e *CheckEnv) { e.Events = noEvents{} }, "is not found after"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newChecked(t)
			res, err := c.run(tt.change)
			if err != nil || res.State != assurance.Failed || !strings.Contains(res.Reason.En, tt.want) {
				t.Errorf("%+v %+v %v", res, res.Reason, err)
			}
			if n := c.left(); n != 0 {
				t.Errorf("%d records were left behind", n)
			}
		})
	}
	t.Run("a blind sweep", func(t *testing.T) {
		c := newChecked(t)
		_, err := c.run(func(e *CheckEnv) { e.Listening = func() ([]netip.AddrPort, error) { return nil, nil } })
		if !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "does not see the edge's own door") {
			t.Error(err)
		}
	})
}

type noEvents struct{}

func (noEvents) Flush(context.Context) error { return nil }
func (noEvents) Search(context.Context, events.Query) ([]events.Event, string, error) {
	return nil, "", nil
}

// The kernel's own list holds what really listens.
func TestTheSweepSeesTheKernelsSockets(t *testing.T) {
	four := listen(t)
	defer four.Close()
	var all []netip.AddrPort
	want := []netip.AddrPort{four.Addr().(*net.TCPAddr).AddrPort()}
	if six, err := net.Listen("tcp", "[::1]:0"); err == nil {
		defer six.Close()
		want = append(want, six.Addr().(*net.TCPAddr).AddrPort())
	}
	all, err := listening()
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range want {
		found := false
		for _, a := range all {
			found = found || a == w
		}
		if !found {
			t.Errorf("%s is not among %v", w, all)
		}
	}
	for _, bad := range []string{"", "0100007F", "0100007:1F90", "0100007F:XYZ", "0100007F:11F90", "01:1"} {
		if a, err := socketAddress(bad); err == nil {
			t.Errorf("%q is %s", bad, a)
		}
	}
}
