// Package detect is the detection centre (white paper 8.1, controls 8.1-1,
// 8.1-13, 8.1-21, 8.1-50): from what was counted of each protected address it
// tells that a flood began, what it is made of, how it grows and that it is
// over. It owns thresholds, what it learned of them, and attacks under way; it
// touches no packet. What is to be done it says as orders that end by
// themselves, and everybody else reads its events. It works with any number of
// sources of readings: the filter of this machine, flows that routers export.
package detect

import (
	"log/slog"
	"sync"
	"time"

	"github.com/dun-sec/dun/internal/core/events"
	"github.com/dun-sec/dun/internal/core/id"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/traffic"
)

// The rule of an attack. Two windows: what is far above a threshold is told
// after the short one, what is above it at all after the long one.
const (
	shortWindow = 200 * time.Millisecond
	longWindow  = 10 * time.Second
	shortFactor = 3 // times the threshold in the short window

	// What nothing honest explains counts as it is; what might be a crowd only
	// from so many times the threshold on. A crowd ten times as large as the
	// usual one is no attack: a threshold is five times what is usual.
	crowdFactor   = 4
	strangeFactor = 20 // before anything was learned

	// What follows from so few packets that were looked at says nothing: of eight,
	// chance alone makes three or sixteen (95 %).
	leastSeen = 8

	endFactor = 0.5 // of the threshold: below it an attack fades
	fade      = 15 * time.Second

	lease  = time.Minute // of an order
	renew  = 15 * time.Second
	report = time.Second // an attack's peak is told at most so often
	alive  = time.Minute // and at least: who hears nothing takes it for over

	maxTargets = 16_384
	maxSingles = maxTargets / 4
	singleKept = time.Minute
	maxSources = 64 // of one target
)

// Emitter takes events.
type Emitter interface{ Add(events.Event) }

// Options of a Detector.
type Options struct {
	Node   string
	Events Emitter
	// Obey carries an order out, and says whether anybody does; nil = nobody:
	// attacks are only told.
	Obey func(traffic.Order) bool
	Keep func(traffic.Evidence) // who keeps evidence; it must not wait. nil = nobody
	Now  func() time.Time       // of the wall
	Log  *slog.Logger
}

// Detector finds attacks. All methods may be called from any goroutine.
type Detector struct {
	opt Options

	mu       sync.Mutex
	rules    map[resource.Ref]*rule
	synced   bool                  // rules are all there are
	stale    map[resource.Ref]bool // of rules: those that were not said again since a reset
	targets  map[key]*target
	restored map[key]*remembered // of an earlier process, until the target is seen
	attacks  map[resource.Ref]*attack
	recent   *recent
	at       time.Duration // of the newest reading
	refused  uint64        // counts for which there was no room
	singles  int           // targets that are one address of a network, about
	swept    time.Duration
}

// key is one direction of one address, or of a whole network.
type key struct {
	of   resource.Ref
	addr string
	out  bool
}

// New makes one.
func New(opt Options) *Detector {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	return &Detector{opt: opt, rules: map[resource.Ref]*rule{}, targets: map[key]*target{}, restored: map[key]*remembered{}, attacks: map[resource.Ref]*attack{}, recent: newRecent()}
}

// Count takes a reading and judges by it.
func (d *Detector) Count(r traffic.Reading) {
	if r.Span <= 0 {
		return
	}
	how := counting{max(1, r.Sampled), r.Sampled > 1, r.Estimated}
	d.mu.Lock()
	var done []func()
	d.at = max(d.at, r.At)
	for i := range r.Counts {
		c := &r.Counts[i]
		k := key{c.Of, c.Address.String(), c.Out}
		t := d.targets[k]
		if t == nil {
			if len(d.targets) >= maxTargets || c.Single && d.singles >= maxSingles {
				d.refused++
				continue
			}
			t = newTarget(c, d.recall(k))
			d.targets[k] = t
			if c.Single {
				d.singles++
			}
		}
		if t.add(r.Source, r.At, r.Span, &c.Volume, how) {
			done = append(done, d.judge(t)...)
		}
	}
	done = append(done, d.pass()...)
	if d.at-d.swept >= longWindow {
		d.sweep()
	}
	d.mu.Unlock()
	for _, f := range done {
		f()
	}
}

// sweep forgets single addresses of networks to which nothing came for a while:
// which they are is the senders' choice.
func (d *Detector) sweep() {
	d.swept, d.singles = d.at, 0
	for k, t := range d.targets {
		if !t.single {
			continue
		}
		if d.at-t.newest() < singleKept {
			d.singles++
			continue
		}
		if t.usual.hours > 0 && len(d.restored) < maxTargets {
			d.restored[k] = &remembered{t.usual, d.opt.Now()}
		}
		delete(d.targets, k)
	}
}

// judge looks at one target. It returns what is to be told when the lock is
// free.
func (d *Detector) judge(t *target) []func() {
	a := d.attacks[t.of]
	rule := d.rule(t.of)
	for _, v := range traffic.All() {
		limit, crowd := t.threshold(v, rule), t.crowd(v, rule)
		hot, rate := t.above(v, limit, crowd)
		if hot {
			if a == nil {
				a = newAttack(id.Random(8), t, d.opt.Now(), d.at)
				d.attacks[t.of] = a
			}
			a.hot(v, t, rate, d.at)
		} else if a != nil && a.has(v, t.out) && !t.below(v, limit, crowd) {
			a.hot(v, t, rate, d.at)
		} else if a == nil {
			t.learn(v)
		}
	}
	if a == nil {
		t.usual.watch(t.newest())
	}
	return nil
}

// pass tells of attacks: those that began, grew, or are over.
func (d *Detector) pass() []func() {
	var out []func()
	for of, a := range d.attacks {
		switch {
		case d.at-a.last >= fade:
			out = append(out, d.tell(a, PhaseEnd), d.order(a, 0), d.evidence(a, true))
			delete(d.attacks, of)
		case !a.told:
			a.told, a.reported, a.toldPeak = true, d.at, a.peak
			d.before(a)
			d.fingerprint(a)
			out = append(out, d.tell(a, PhaseStart), d.order(a, lease))
		case a.grown:
			a.grown, a.reported, a.toldPeak = false, d.at, a.peak
			d.fingerprint(a)
			out = append(out, d.tell(a, PhaseEscalate), d.order(a, lease))
		case d.at-a.reported >= report && a.settled && (a.peak > a.toldPeak*21/20 || a.peak < a.toldPeak*19/20), d.at-a.reported >= alive:
			a.reported, a.toldPeak = d.at, a.peak
			out = append(out, d.tell(a, PhasePeak))
		case d.at-a.looked >= 2*time.Second && d.fingerprint(a):
			out = append(out, d.tell(a, PhasePeak), d.order(a, lease)) // what they have in common is news
		case d.at-a.ordered >= renew:
			out = append(out, d.order(a, lease))
		}
		if d.attacks[of] != nil {
			out = append(out, d.evidence(a, false))
		}
	}
	return out
}

// order is what is to be done about the attack, for that long.
func (d *Detector) order(a *attack, lasts time.Duration) func() {
	first := a.ordered == 0
	a.ordered = d.at
	if d.opt.Obey == nil {
		return func() {}
	}
	o := traffic.Order{Of: a.of, Attack: a.id, Vectors: a.list(false), Fingerprints: a.prints, For: lasts}
	if len(o.Vectors) == 0 && lasts > 0 {
		return func() {} // what goes out is bounded by the policy
	}
	rule := d.rule(a.of)
	for _, v := range o.Vectors {
		o.Limits[v] = uint64(a.limit(v, rule))
	}
	return func() {
		taken := d.opt.Obey(o)
		if was := a.obeyed.Swap(taken); lasts > 0 && !taken && (was || first) {
			d.opt.Log.Warn("an attack is not acted on: nobody filters, or there is no room for more orders", "object", a.of.Name, "tenant", a.of.Tenant)
		}
	}
}

// Attack is one that is under way.
type Attack struct {
	ID      string
	Of      resource.Ref
	Vectors []string
	Start   time.Time
	Peak    float64 // packets a second
	Bits    float64 // a second, at most
	Now     float64 // packets a second
	Out     bool    // our hosts send it
	// Lease is when what was ordered about it ends, unless that is renewed; zero =
	// nothing was ordered.
	Lease time.Time
}

// Attacks are those that are under way.
func (d *Detector) Attacks() []Attack {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []Attack
	for _, a := range d.attacks {
		x := a.view()
		if a.ordered > 0 && a.obeyed.Load() && len(a.list(false)) > 0 {
			x.Lease = d.opt.Now().Add(a.ordered + lease - d.at).UTC().Truncate(time.Second)
		}
		out = append(out, x)
	}
	return out
}
