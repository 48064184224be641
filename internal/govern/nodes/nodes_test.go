package nodes_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/events"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/nodelink"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/secret"
	"github.com/dun-sec/dun/internal/core/telemetry"
	"github.com/dun-sec/dun/internal/core/traffic"
	"github.com/dun-sec/dun/internal/core/usage"
	"github.com/dun-sec/dun/internal/core/verdicts"
	"github.com/dun-sec/dun/internal/kinds/edge"
	"github.com/dun-sec/dun/internal/kinds/system"
)

func wantCode(t *testing.T, what string, err error, code fault.Code) {
	t.Helper()
	if !fault.Is(err, code) {
		t.Errorf("%s: %v, want %s", what, err, code)
	}
}

// TestStolenCertificate does what a thief can with the certificate and key of a
// node on which acme alone is placed. Each refusal has its twin that succeeds.
func TestStolenCertificate(t *testing.T) {
	w := newWorld(t)
	n := w.node("tenants: [acme]")
	if err := n.next(t); err != nil {
		t.Fatal(err)
	}
	want := []string{"Certificate acme/own",
		"DataClass platform/internal", "DataClass platform/production", "DataClass platform/production-business", "DataClass platform/production-system",
		"DataClass platform/production-user", "DataClass platform/public", "DataClass platform/test", "Node platform/" + n.name, "Site acme/shop", "Tenant platform/acme"}
	if got := n.names(); !slices.Equal(got, want) {
		t.Errorf("it sees %v, want %v", got, want)
	}

	key := func(tenant, as, purpose string) error {
		o, err := w.g.Get(t.Context(), operator, certificate(as))
		if err != nil {
			t.Fatal(err)
		}
		_, ref, _ := edge.InForce(o)
		_, err = n.Key(t.Context(), certificate(tenant), secret.Ref(ref), purpose)
		return err
	}
	if err := key("acme", "acme", edge.KeyPurpose); err != nil {
		t.Errorf("its own key: %v", err)
	}
	wantCode(t, "a foreign key", key("rival", "rival", edge.KeyPurpose), fault.NotFound)
	wantCode(t, "a foreign key under its own record", key("acme", "rival", edge.KeyPurpose), fault.Forbidden)
	wantCode(t, "a key for another purpose", key("acme", "acme", "sign-in"), fault.Forbidden)
	if n := w.leaves("certificate.read") + w.leaves("secret.seal"); n < 2 { // two are one leaf with a count
		t.Errorf("%d refusals of keys are in the log, want 2", n)
	}

	host := func(tenant, host string) []byte {
		list, err := n.Certificates(t.Context(), []nodelink.HostOf{{Host: host, Site: resource.Ref{Kind: "Site", Tenant: tenant, Name: "shop"}}}, newJoiner(t).public)
		if err != nil {
			t.Fatal(err)
		}
		return list[0]
	}
	if host("acme", "shop.acme.test") == nil {
		t.Error("no certificate for a host of its own site")
	}
	for _, x := range [][2]string{{"rival", "shop.rival.test"}, {"acme", "shop.rival.test"}, {"acme", "localhost"}} {
		if host(x[0], x[1]) != nil {
			t.Errorf("the authority signed %s as %s", x[1], x[0])
		}
	}

	ship := func(tenant, from, part string) error {
		return n.Ship(t.Context(), []events.Event{{Time: time.Now().UTC(), Kind: "block", Tenant: tenant, Node: from, Part: part}})
	}
	if err := ship("acme", n.name, "edge"); err != nil {
		t.Errorf("an event of its own: %v", err)
	}
	wantCode(t, "an event of another tenant", ship("rival", n.name, "edge"), fault.Forbidden)
	wantCode(t, "an event of another node", ship("acme", "n1", "edge"), fault.Forbidden)
	wantCode(t, "an event of another part", ship("acme", n.name, "sign-in"), fault.Forbidden)
	if len(w.told) != 1 {
		t.Errorf("%d events are kept, want 1", len(w.told))
	}

	if err := n.Usage(t.Context(), []usage.Entry{{Tenant: "acme", Site: "shop"}}); err != nil {
		t.Errorf("usage of its own: %v", err)
	}
	wantCode(t, "usage of another", n.Usage(t.Context(), []usage.Entry{{Tenant: "rival", Site: "shop"}}), fault.Forbidden)

	if answer, ok := n.Challenge(t.Context(), "acme", "shop.acme.test", "/x"); !ok || answer == "" {
		t.Error("no answer to a challenge of its own")
	}
	if answer, ok := n.Challenge(t.Context(), "rival", "shop.rival.test", "/x"); ok {
		t.Errorf("it got %q", answer)
	}

	// Other services of the cell are closed to it.
	for _, method := range []string{"join", "secrets", "", "../nodes/watch"} {
		if _, err := n.call(t, method, "{}"); err == nil {
			t.Errorf("%q answers", method)
		}
	}
}

// TestFloodsOfItsTenants: a node tells of floods with the role alone, of the
// tenants that are placed on it alone, and is given orders about those alone.
func TestFloodsOfItsTenants(t *testing.T) {
	w := newWorld(t)
	n := w.node("tenants: [acme]")
	for _, tenant := range []string{"acme", "rival"} {
		w.put("kind: ProtectedAddress\nmetadata: {tenant: %s, name: shop}\nspec: {prefix: 198.51.100.7}\n", tenant)
	}
	if err := n.next(t); err != nil {
		t.Fatal(err)
	}
	if names := n.names(); slices.Contains(names, "ProtectedAddress acme/shop") {
		t.Errorf("without the role it sees %v", names)
	}
	report := func(tenant string) nodelink.FloodReport {
		return nodelink.FloodReport{V: nodelink.Schema, Span: time.Second, Counts: []nodelink.FloodCount{{Tenant: tenant, Name: "shop", Of: map[traffic.Vector][4]uint64{traffic.SYN: {9, 9, 540, 0}}}}}
	}
	tell := func(r nodelink.FloodReport) (nodelink.FloodReply, error) { return n.Floods(t.Context(), &r) }
	_, err := tell(report("acme"))
	wantCode(t, "without the role", err, fault.Forbidden)
	w.put("kind: Node\nmetadata: {tenant: platform, name: %s}\nspec: {roles: [edge, scrub], tenants: [acme]}\n", n.name)
	reply, err := tell(report("acme"))
	if orders := reply.Orders; err != nil || len(orders) != 1 || orders[0].Tenant != "acme" || !slices.Equal(reply.Try, []string{"trials"}) || len(w.floods) != 1 {
		t.Errorf("of its own: %v, %+v, %d taken", err, reply, len(w.floods))
	}
	for what, r := range map[string]nodelink.FloodReport{
		"counts":  report("rival"),
		"samples": {V: nodelink.Schema, Span: time.Second, Samples: []nodelink.FloodSample{{Tenant: "rival", Name: "shop"}}},
		"graphs":  {V: nodelink.Schema, Span: time.Second, Live: []nodelink.FloodLive{{Tenant: "rival", Name: "shop"}}},
	} {
		_, err := tell(r)
		wantCode(t, what+" of another tenant", err, fault.Forbidden)
	}
	long := report("acme")
	long.Span = time.Hour
	_, err = tell(long)
	wantCode(t, "a span of an hour", err, fault.Invalid)
	more := report("acme")
	more.Counts[0].Of[traffic.SYN] = [4]uint64{9, 10, 0, 0}
	_, err = tell(more)
	wantCode(t, "more suspect than there are", err, fault.Invalid)
	heavy := report("acme")
	heavy.Tried = map[string]json.RawMessage{"trials": []byte(`"` + strings.Repeat("x", nodelink.MaxFloodTried) + `"`)}
	_, err = tell(heavy)
	wantCode(t, "a trial of too many bytes", err, fault.Invalid)
	if len(w.floods) != 1 || w.leaves("flood.report") == 0 {
		t.Errorf("%d taken, %d leaves", len(w.floods), w.leaves("flood.report"))
	}
	ship := func(part string) error {
		return n.Ship(t.Context(), []events.Event{{Time: time.Now().UTC(), Kind: "attack", Tenant: "acme", Node: n.name, Part: part}})
	}
	if err := ship("detect"); err != nil {
		t.Errorf("what its detection centre tells: %v", err)
	}
	wantCode(t, "another part", ship("signin"), fault.Forbidden)
}

func TestVerdictsStayWithTheirTenants(t *testing.T) {
	w := newWorld(t)
	n := w.node("tenants: [acme]")
	ban := func(s *verdicts.Set, key string) {
		if err := s.Put(verdicts.Verdict{Kind: "edge-ban", Key: key, Until: time.Now().Add(time.Minute), Rule: "r", Node: "n"}); err != nil {
			t.Fatal(err)
		}
	}
	for _, tenant := range []string{"acme", "rival"} {
		ban(w.bans, verdicts.Of(tenant, "192.0.2.1"))
	}
	ban(w.bans, "cell-wide")
	own := verdicts.New(verdicts.Options{})
	for _, tenant := range []string{"acme", "rival"} {
		ban(own, verdicts.Of(tenant, "192.0.2.2"))
	}
	if err := n.Repair(t.Context(), own); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string][2]bool{ // on the node, in the control plane
		verdicts.Of("acme", "192.0.2.1"):  {true, true},
		verdicts.Of("rival", "192.0.2.1"): {false, true},
		"cell-wide":                       {true, true},
		verdicts.Of("acme", "192.0.2.2"):  {true, true},
		verdicts.Of("rival", "192.0.2.2"): {true, false},
	} {
		if got := [2]bool{own.Has("edge-ban", key), w.bans.Has("edge-ban", key)}; got != want {
			t.Errorf("%s: %v, want %v", key, got, want)
		}
	}
}

func TestToken(t *testing.T) {
	w := newWorld(t)
	j, f := newJoiner(t), w.token()
	first, err := w.join(j, f)
	if err != nil {
		t.Fatal(err)
	}
	again, err := w.join(j, f) // it was cut off before it had the answer
	if err != nil || again.Node != first.Node || again.Number != first.Number {
		t.Errorf("the same machine again: %+v %v", again, err)
	}
	before := w.leaves("token.use")
	for what, x := range map[string]struct {
		f nodelink.TokenFile
		d time.Duration
	}{
		"used by another machine": {f: f},
		"forged secret":           {f: func() nodelink.TokenFile { g := w.token(); g.Secret = f.Secret; return g }()},
		"empty secret":            {f: func() nodelink.TokenFile { g := w.token(); g.Secret = ""; return g }()},
		"unknown":                 {f: nodelink.TokenFile{Token: "t-nobody", Secret: f.Secret}},
		"a path":                  {f: nodelink.TokenFile{Token: "../t-nobody", Secret: f.Secret}},
		"ended":                   {f: w.token(), d: 2 * time.Hour},
	} {
		w.pass(x.d)
		_, err := w.join(newJoiner(t), x.f)
		wantCode(t, what, err, fault.Unauthenticated)
		if err != nil && (strings.Contains(err.Error(), "dun_t_") || !strings.Contains(err.Error(), "not known, was used, or has ended")) {
			t.Errorf("%s: %v", what, err)
		}
		w.pass(-x.d)
	}
	if w.leaves("token.use") == before {
		t.Error("no refusal is in the log")
	}
	if _, err := w.hub.Join(t.Context(), machine, nodelink.JoinRequest{V: nodelink.Schema, Token: w.token().Token, Public: []byte("no key")}); !fault.Is(err, fault.Invalid) {
		t.Errorf("no key: %v", err)
	}
	if _, err := w.hub.Join(t.Context(), machine, nodelink.JoinRequest{V: 99}); !fault.Is(err, fault.Invalid) {
		t.Errorf("another schema: %v", err)
	}
}

// TestOneTokenManyMachines sends one token from many machines at once.
func TestOneTokenManyMachines(t *testing.T) {
	w := newWorld(t)
	f := w.token()
	var good, bad int
	var mu sync.Mutex
	var run sync.WaitGroup
	for range 20 {
		j := newJoiner(t)
		run.Go(func() {
			_, err := w.join(j, f)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				good++
			} else {
				bad++
			}
		})
	}
	run.Wait()
	if good != 1 || bad != 19 {
		t.Errorf("%d joined, %d were refused", good, bad)
	}
}

// TestNodeIsNoMore ends the stream of a node at once, and all that it may ask.
func TestNodeIsNoMore(t *testing.T) {
	w := newWorld(t)
	for what, end := range map[string]func(n *node){
		"removed": func(n *node) { w.remove(nodelink.NodeRef(n.name)) },
		"disabled": func(n *node) {
			w.put("kind: Node\nmetadata: {tenant: platform, name: %s}\nspec: {roles: [edge], disabled: true}\n", n.name)
		},
		"replaced": func(n *node) {
			if _, err := w.join(newJoiner(t), w.token("node: "+n.name)); err != nil {
				t.Fatal(err)
			}
		},
	} {
		n := w.node()
		if err := n.next(t); err != nil {
			t.Fatal(err)
		}
		before := w.leaves("node.connect")
		end(n)
		var err error
		for err == nil {
			err = n.next(t)
		}
		if !errors.Is(err, nodelink.ErrRemoved) {
			t.Errorf("%s: %v", what, err)
		}
		for _, method := range []string{nodelink.Watch, nodelink.ReportState, nodelink.Renew, nodelink.Key} {
			if _, err := n.call(t, method, `{"v":1}`); !fault.Is(err, fault.NotFound) {
				t.Errorf("%s: %s says %v", what, method, err)
			}
		}
		if w.leaves("node.connect") == before {
			t.Errorf("%s: no leaf", what)
		}
	}
}

// TestPlacementMoves gives a tenant to a node and takes it away again.
func TestPlacementMoves(t *testing.T) {
	w := newWorld(t)
	n := w.node("tenants: [acme]")
	place := func(list string) {
		w.put("kind: Node\nmetadata: {tenant: platform, name: %s}\nspec: {roles: [edge], tenants: [%s]}\n", n.name, list)
	}
	n.until(t, "acme", func() bool { return n.seen["Site acme/shop"] != nil })
	place("acme, rival")
	n.until(t, "rival", func() bool { return n.seen["Site rival/shop"] != nil && n.seen["Certificate rival/own"] != nil })
	place("acme")
	n.until(t, "rival gone", func() bool { return n.seen["Site rival/shop"] == nil && n.seen["Certificate rival/own"] == nil })
	if n.seen["Site acme/shop"] == nil {
		t.Error("acme went, too")
	}
}

func TestReportIsStatus(t *testing.T) {
	w := newWorld(t)
	n := w.node()
	if err := n.next(t); err != nil {
		t.Fatal(err)
	}
	err := n.Report(t.Context(), nodelink.Report{Version: "test", Epoch: n.at.Epoch, Revision: n.at.Revision, Roles: []telemetry.Role{{Name: "edge", State: telemetry.Degraded, Missing: []telemetry.Missing{{Need: "disk", Why: strings.Repeat("x", 1000)}}}}})
	if err != nil {
		t.Fatal(err)
	}
	status := func() *system.NodeStatus { s, _ := w.record(n.name).Status.(*system.NodeStatus); return s }
	w.eventually("connected", func() bool {
		s := status()
		return s != nil && s.State == "connected" && len(s.Roles) == 1 && len(s.Roles[0].Missing[0]) <= 256
	})
	many := make([]telemetry.Role, 33)
	wantCode(t, "a long report", n.Report(t.Context(), nodelink.Report{Roles: many}), fault.Invalid)

	drift := func() string {
		list, err := w.hub.Drift(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(list)
	}
	w.put("kind: Site\nmetadata: {tenant: acme, name: more}\nspec:\n  hosts: [more.acme.test]\n  origins: [{url: \"http://192.0.2.1\"}]\n")
	if err := n.Report(t.Context(), nodelink.Report{Epoch: n.at.Epoch, Revision: n.at.Revision}); err != nil {
		t.Fatal(err)
	}
	if d := drift(); d != "[]" {
		t.Errorf("drift at once: %s", d)
	}
	w.pass(31 * time.Second)
	if d := drift(); !strings.Contains(d, n.name) {
		t.Errorf("no drift after half a minute: %s", d)
	}
	w.pass(10 * time.Minute)
	w.eventually("silent", func() bool { s := status(); return s.State == "silent" })
}

// TestOlderNode replays what a node of the first release with this schema sent:
// testdata/agent-v1.jsonl is never changed, with fields that this release may
// not know. Then a node that lacks most kinds takes those that it has.
func TestOlderNode(t *testing.T) {
	w := newWorld(t)
	n := w.node()
	stored, err := os.ReadFile("testdata/agent-v1.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(stored)) {
		var x struct {
			Method, Reply string
			Body          json.RawMessage
		}
		if err := json.Unmarshal([]byte(line), &x); err != nil {
			t.Fatal(err)
		}
		got, err := n.call(t, x.Method, string(x.Body))
		var reply map[string]any
		if err != nil || json.Unmarshal([]byte(got), &reply) != nil || x.Reply != "" && reply[x.Reply] == nil {
			t.Errorf("%s: %q %v", x.Method, got, err)
		}
	}
	// It knows sites and tenants alone; the rest is nothing to it.
	old := w.link2(edge.Site(), system.Tenant())
	if err := old.next(t); err != nil {
		t.Fatal(err)
	}
	if len(old.seen) == 0 {
		t.Fatal("it sees nothing")
	}
	for name := range old.seen {
		if !strings.HasPrefix(name, "Site ") && !strings.HasPrefix(name, "Tenant ") {
			t.Errorf("it took %s", name)
		}
	}
	// And a node of another schema is told so.
	_, err = n.call(t, nodelink.Watch, `{"v":7,"version":"9"}`)
	wantCode(t, "a newer schema", err, fault.Invalid)
}

func (w *world) link2(kinds ...*resource.Kind) *node {
	w.t.Helper()
	j := newJoiner(w.t)
	r, err := w.join(j, w.token())
	if err != nil {
		w.t.Fatal(err)
	}
	return w.link(j, r, kinds...)
}

// TestHundredNodes changes a site while a hundred nodes watch, and wants it
// enforced and reported by all.
func TestHundredNodes(t *testing.T) {
	w := newWorld(t)
	const count, rounds = 100, 20
	var mu sync.Mutex
	told := map[string]uint64{}
	for range count {
		n := w.node()
		w.run(func(ctx context.Context) {
			for {
				b, err := n.feed.Next(ctx)
				if err != nil {
					return
				}
				if n.Report(ctx, nodelink.Report{Epoch: b.At.Epoch, Revision: b.At.Revision}) == nil {
					mu.Lock()
					told[n.name] = b.At.Revision
					mu.Unlock()
				}
			}
		})
	}
	all := func(rev uint64) func() bool {
		return func() bool {
			mu.Lock()
			defer mu.Unlock()
			n := 0
			for _, r := range told {
				if r >= rev {
					n++
				}
			}
			return n == count
		}
	}
	w.eventually("all connected", all(1))
	var took []time.Duration
	for i := range rounds {
		o := w.put("kind: Site\nmetadata: {tenant: acme, name: shop}\nspec:\n  hosts: [shop.acme.test]\n  origins: [{url: \"http://192.0.2.%d\"}]\n", i+2)
		start := time.Now()
		w.eventually("enforced", all(o.Metadata.Revision))
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	t.Logf("change to reported by %d nodes: median %s, worst of %d %s", count, took[rounds/2], rounds, took[rounds-1])
	nodes := w.hub.Nodes(t.Context())
	if len(nodes) != count {
		t.Errorf("%d nodes are told", len(nodes))
	}
}
