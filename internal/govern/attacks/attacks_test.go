package attacks

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/events"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/traffic"
	"github.com/dun-sec/dun/internal/govern/dayzero"
	"github.com/dun-sec/dun/internal/kinds/shield"
	"github.com/dun-sec/dun/internal/lab"
)

var operator = identity.Actor{Principal: dayzero.Operator, Door: "test"}

// scene is a controller on a real gate, whose seconds pass by hand.
type scene struct {
	t   *testing.T
	g   *gate.Gate
	w   *watch
	now time.Time
}

func newScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{t: t, g: lab.Gate(t, lab.Kinds(t)), now: time.Now().Add(-time.Hour).UTC().Truncate(time.Second)}
	if err := dayzero.Run(t.Context(), s.g, "test"); err != nil {
		t.Fatal(err)
	}
	s.restart()
	return s
}

func (s *scene) restart() {
	s.w = &watch{
		opt:   Options{Gate: s.g, Skip: "dun-canary", Now: func() time.Time { return s.now }, Log: slog.New(slog.DiscardHandler)},
		actor: identity.Service(shield.AttackOwner), bursts: map[key]*burst{}, floods: map[key]*flood{},
	}
	s.w.adopt(s.t.Context())
}

func block(tenant, site, source string) events.Event {
	return events.Event{Part: "edge", Kind: "block", Action: "blocked", Tenant: tenant, Source: source, Request: "r-" + source, Attributes: map[string]string{"site": site}}
}

func (s *scene) seconds(n, each int, e events.Event) {
	for range n {
		for range each {
			s.w.count(e)
		}
		s.now = s.now.Add(time.Second)
		s.w.settle(s.t.Context())
	}
}

func (s *scene) attacks() []*resource.Object {
	s.t.Helper()
	p, err := s.g.List(s.t.Context(), operator, gate.ListOptions{Kind: "Attack", Tenant: gate.AllTenants})
	if err != nil {
		s.t.Fatal(err)
	}
	return p.Items
}

func TestABurstIsOneAttackWithStartPeakAndEnd(t *testing.T) {
	s := newScene(t)
	start := s.now
	s.seconds(20, 6, block("platform", "shop", "203.0.113.1")) // 60 in ten seconds
	s.seconds(10, 30, block("platform", "shop", "203.0.113.2"))
	over := s.now.Add(-time.Second)
	s.seconds(70, 0, events.Event{})
	all := s.attacks()
	if len(all) != 1 {
		t.Fatalf("%d attacks", len(all))
	}
	spec, st, status := all[0].Spec.(*shield.AttackSpec), all[0].State.(*shield.AttackState), all[0].Status.(*shield.AttackStatus)
	if spec.Site != "shop" || !spec.Start.Equal(start) || spec.Vectors[0] != "web" {
		t.Errorf("spec: %+v, began %s", spec, start)
	}
	if st.End == nil || !st.End.Equal(over) {
		t.Errorf("end: %v, want %s", st.End, over)
	}
	if status.Peak != 300 || status.Count != 420 || status.Sources[0] != (shield.Source{Address: "203.0.113.2", Count: 300}) || len(status.Requests) != shown {
		t.Errorf("status: %+v", status)
	}
	if len(s.w.bursts) != 0 {
		t.Errorf("%d sites are still counted", len(s.w.bursts))
	}
	s.seconds(12, 9, block("platform", "shop", "203.0.113.1"))
	if n := len(s.attacks()); n != 2 {
		t.Errorf("%d attacks after another burst", n)
	}
}

func TestWhatIsNoAttack(t *testing.T) {
	s := newScene(t)
	s.seconds(120, 4, block("platform", "shop", "203.0.113.1")) // 40 in ten seconds, for ever
	s.seconds(12, 50, block("dun-canary", "try", "127.0.0.1"))
	detected := block("platform", "shop", "203.0.113.1")
	detected.Action = "detected"
	s.seconds(12, 50, detected)
	if all := s.attacks(); len(all) != 0 {
		t.Errorf("%d attacks: %v", len(all), all[0].Spec)
	}
}

// A restart goes on with what is open and makes no second record of it.
func TestARestartTakesUpWhatIsOpen(t *testing.T) {
	s := newScene(t)
	s.seconds(20, 10, block("platform", "shop", "203.0.113.1"))
	s.restart()
	s.seconds(20, 10, block("platform", "shop", "203.0.113.1"))
	all := s.attacks()
	if len(all) != 1 || all[0].Status.(*shield.AttackStatus).Count < 300 {
		t.Fatalf("%d attacks", len(all))
	}
	s.restart()
	s.seconds(70, 0, events.Event{})
	if all = s.attacks(); len(all) != 1 || all[0].State.(*shield.AttackState).End == nil {
		t.Errorf("an attack that nobody goes on with never ends")
	}
}

// A million sources and any number of invented sites cost a bounded memory,
// and whoever sends most is still named.
func TestAnAttackerDoesNotChooseTheCost(t *testing.T) {
	s := newScene(t)
	for i := range 100_000 {
		s.w.count(block("platform", "shop", fmt.Sprintf("2001:db8::%x", i)))
		if i%10 == 0 {
			s.w.count(block("platform", "shop", "203.0.113.7"))
		}
	}
	for i := range 5000 {
		s.w.count(block("platform", fmt.Sprintf("site-%d", i), "203.0.113.1"))
	}
	b := s.w.bursts[key{"platform", "shop"}]
	if len(s.w.bursts) > maxSites || len(b.sources) > maxSources || len(b.requests) > shown {
		t.Errorf("%d sites, %d sources, %d requests", len(s.w.bursts), len(b.sources), len(b.requests))
	}
	if top := b.status().Sources[0].Address; top != "203.0.113.7" {
		t.Errorf("the busiest source is %s", top)
	}
	before := s.g.At().Revision
	s.seconds(1, 0, events.Event{})
	if made := s.g.At().Revision - before; made > 2 {
		t.Errorf("%d revisions for one attack", made)
	}
}

// The whole way: events of a log, as the edge writes them.
func TestRunFollowsTheLog(t *testing.T) {
	s := newScene(t)
	log, err := events.Open(events.Options{Dir: filepath.Join(t.TempDir(), "events")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	feed, err := s.g.Watch(operator, []string{"Attack"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), lab.Wait)
	done := make(chan error, 1)
	began := make(chan struct{})
	go func() {
		done <- Run(ctx, Options{Gate: s.g, Now: time.Now, Log: slog.New(slog.DiscardHandler), Follow: func(ctx context.Context, q events.Query) (*events.Follower, error) {
			if q.Part == floodPart { // the last one
				defer close(began)
			}
			return log.Follow(ctx, q)
		}})
	}()
	<-began
	for range 2 * openAt {
		log.Add(block("platform", "shop", "203.0.113.1"))
	}
	for found := false; !found; {
		b, err := feed.Next(ctx)
		if err != nil {
			t.Fatalf("no attack: %v", err)
		}
		for _, c := range b.Changes {
			found = found || c.Ref.Kind == "Attack"
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A flood is one record from what the detection centre tells of it, and ends
// with its word.
func TestFloodsBecomeAttacks(t *testing.T) {
	s := newScene(t)
	now := time.Date(2026, 11, 1, 3, 0, 0, 0, time.UTC)
	w := &watch{opt: Options{Gate: s.g, Now: func() time.Time { return now }, Log: slog.New(slog.DiscardHandler)}, actor: identity.Service(shield.AttackOwner), bursts: map[key]*burst{}, floods: map[key]*flood{}}
	tell := func(phase, vectors, peak string) {
		w.hear(events.Event{Time: now, Part: floodPart, Kind: floodKind, Tenant: "platform", Object: "protectedaddress/shop", Attributes: map[string]string{
			"phase": phase, "attack": "a1", "address": "198.51.100.7/32", "vectors": vectors, "peak": peak, "bits": "5e6", "start": "2026-11-01T02:59:59.5Z", "direction": "in",
		}})
		w.settleFloods(t.Context())
		w.settleFloods(t.Context())
	}
	read := func() *resource.Object {
		o, err := s.g.Get(t.Context(), operator, resource.Ref{Kind: "Attack", Tenant: "platform", Name: "shop-20261101t025959"})
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	tell("start", "syn", "9000")
	if spec := read().Spec.(*shield.AttackSpec); spec.Address != "198.51.100.7/32" || spec.Vectors[0] != "syn" {
		t.Error(spec)
	}
	now = now.Add(10 * time.Second)
	tell("escalate", "syn,udp", "20000.4")
	if st := read().Status.(*shield.AttackStatus); st.PeakPackets != 20000 || st.PeakBits != 5_000_000 || len(st.Vectors) != 2 {
		t.Error(st)
	}
	now = now.Add(10 * time.Second)
	tell("end", "syn,udp", "100")
	o := read()
	if st, _ := o.State.(*shield.AttackState); st == nil || st.End == nil || !st.End.Equal(now) || len(w.floods) != 0 {
		t.Error(o.State, len(w.floods))
	}
	if st := o.Status.(*shield.AttackStatus); st.PeakPackets != 20000 {
		t.Error("the end forgets the peak:", st)
	}
}

// TestOneAttackIsOneRecord: the control plane's centre and a node's tell of the
// same attack, Dun is started anew in between, and another centre goes on.
func TestOneAttackIsOneRecord(t *testing.T) {
	s := newScene(t)
	s.now = time.Date(2026, 11, 1, 3, 0, 0, 0, time.UTC)
	names := map[string]resource.Ref{}
	start := func() {
		s.restart()
		s.w.opt.Recorded = func(id string, ref resource.Ref) { names[id] = ref }
	}
	start()
	tell := func(id, phase, vectors, peak string, began time.Time) {
		s.w.hear(events.Event{Time: s.now, Part: floodPart, Kind: floodKind, Tenant: "platform", Object: "protectedaddress/shop", Attributes: map[string]string{
			"phase": phase, "attack": id, "address": "198.51.100.7/32", "vectors": vectors, "peak": peak, "packets": peak, "start": began.Format(time.RFC3339Nano), "direction": "in",
		}})
	}
	second := func(n int) {
		for range n {
			s.w.settleFloods(t.Context())
			s.now = s.now.Add(time.Second)
		}
	}
	began := s.now
	tell("node", "start", "syn", "9000", began)
	second(2)
	tell("cell", "start", "syn,udp", "20000", s.now)
	second(5)
	tell("node", "end", "syn", "10", began)
	second(5)
	one := func(open bool) *resource.Object {
		t.Helper()
		all := s.attacks()
		if len(all) != 1 {
			t.Fatalf("%d attacks", len(all))
		}
		if st := all[0].State.(*shield.AttackState); (st.End == nil) != open {
			t.Fatalf("it ended at %v", st.End)
		}
		return all[0]
	}
	course := one(true).Status.(*shield.AttackStatus).Course
	if names["node"] != names["cell"] || names["node"].Name == "" {
		t.Error(names)
	}

	start()
	second(10)
	one(true)
	tell("next", "start", "syn,icmp", "15000", s.now)
	second(60)
	o := one(true)
	st := o.Status.(*shield.AttackStatus)
	if st.PeakPackets != 20000 || strings.Join(st.Vectors, ",") != "syn,udp,icmp" || names["next"] != names["node"] || len(st.Course.Offered) <= len(course.Offered) || st.Course.Offered[3] != course.Offered[3] {
		t.Errorf("%+v, %v, before %v, now %v", st, names, course, st.Course)
	}
	tell("next", "end", "syn", "10", s.now)
	over := s.now
	second(2)
	if end := one(false).State.(*shield.AttackState).End; !end.Equal(over) {
		t.Errorf("ended at %v, want %v", end, over)
	}

	// Nobody goes on with what was left open.
	tell("last", "start", "syn", "9000", s.now)
	second(3)
	start()
	second(29)
	if n := len(s.w.floods); n != 1 {
		t.Errorf("%d are open", n)
	}
	second(3)
	if n := len(s.w.floods); n != 0 {
		t.Errorf("%d are open still", n)
	}
	for _, o := range s.attacks() {
		if o.State.(*shield.AttackState).End == nil {
			t.Errorf("%s has no end", o.Metadata.Name)
		}
	}
}

// TestManyTellersAreBounded: who tells under ever new ids makes no memory grow.
func TestManyTellersAreBounded(t *testing.T) {
	s := newScene(t)
	k := NewKeeper()
	s.w.opt.Recorded = k.Recorded
	for i := range 3 * maxFloods {
		id := fmt.Sprint("a", i)
		s.w.hear(events.Event{Time: s.now, Part: floodPart, Kind: floodKind, Tenant: "platform", Object: "protectedaddress/shop", Attributes: map[string]string{"phase": "start", "attack": id, "vectors": "syn", "start": s.now.Format(time.RFC3339Nano)}})
		if i == 0 {
			s.w.settleFloods(t.Context())
		}
		k.Recorded(id, resource.Ref{})
	}
	if f := s.w.floods[key{"platform", "shop"}]; len(f.told) > maxTellers || len(k.records) > maxFloods || len(k.order) != len(k.records) {
		t.Errorf("%d tell, %d records", len(f.told), len(k.records))
	}
}

// The course of a flood is a bounded number of points, however long it lasts,
// and the peak is among them; what each rule did is counted.
func TestTheCourseOfAFlood(t *testing.T) {
	f := &flood{tenant: "platform", object: "shop"}
	lease := time.Date(2026, 11, 1, 3, 1, 0, 0, time.UTC)
	ref := resource.Ref{Kind: "ProtectedAddress", Tenant: "platform", Name: "shop"}
	for i := range 1000 {
		l := traffic.Live{Packets: 100, Passed: 40, Dropped: map[string]float64{"rate": 10, "cookie_sent": 50}, Lease: &lease}
		if i == 333 {
			l.Packets = 9000
		}
		f.watch(map[resource.Ref]traffic.Live{ref: l})
		if n := len(f.course.of[0]); n >= coursePoints {
			t.Fatal(n)
		}
	}
	st := f.result()
	if st.Course.Step != resource.Duration(16*time.Second) || len(st.Course.Offered) != 62 || st.Course.Offered[333/16] != 9000 || st.Course.Passed[3] != 40 || st.Course.Stopped[3] != 60 {
		t.Errorf("%+v", st.Course)
	}
	if st.Passed != 40_000 || fmt.Sprint(st.Stopped) != "[{cookie_sent 50000} {rate 10000}]" || st.Lease == nil {
		t.Errorf("%+v", st)
	}
	f.end = &lease
	if f.watch(nil); f.result().Lease != nil || len(f.course.of[0]) != 62 {
		t.Error("it goes on after its end")
	}
	// Without a filter the detection centre's word is all there is.
	g := &flood{rate: 70, dropped: 20}
	g.watch(nil)
	if st := g.result(); fmt.Sprint(st.Course.Offered, st.Course.Stopped, st.Course.Passed) != "[70] [20] [50]" || st.Stopped != nil {
		t.Errorf("%+v", st.Course)
	}
}
