package attacks

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dun-sec/dun/internal/core/events"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/kinds/shield"
)

// burst is what is counted of one site.
type burst struct {
	seconds  [window + 1]int // by second of the clock; the newest is not over yet
	at       int64           // the second that was counted last
	first    time.Time       // refusal after a silence
	last     time.Time
	total    int
	peak     int
	sources  map[string]int
	requests []string
	record   resource.Ref // zero = no attack
	changed  bool         // since it was reported
	reported time.Time
}

func newBurst() *burst { return &burst{sources: map[string]int{}} }

// advance forgets the seconds that have left the window.
func (b *burst) advance(now time.Time) {
	s := now.Unix()
	for i := max(b.at+1, s-window); i <= s; i++ {
		b.seconds[i%(window+1)] = 0
	}
	b.at = max(b.at, s)
}

// recent is the worse of the last ten seconds that are over and of those that
// end now.
func (b *burst) recent(now time.Time) int {
	b.advance(now)
	all := 0
	for _, x := range b.seconds {
		all += x
	}
	return all - min(b.seconds[b.at%(window+1)], b.seconds[(b.at+1)%(window+1)])
}

// maxSummed bounds what one event may claim to sum up.
const maxSummed = 1 << 20

func (b *burst) add(e events.Event, now time.Time) {
	b.advance(now)
	n := 1
	if x, err := strconv.Atoi(e.Attributes["count"]); err == nil {
		n = min(max(x, 1), maxSummed)
	}
	if b.total == 0 || now.Sub(b.last) > window*time.Second && b.record.Name == "" {
		b.first, b.total, b.peak = now, 0, 0
	}
	b.seconds[b.at%(window+1)] += n
	b.total += n
	b.last, b.changed = now, true
	if len(b.requests) < shown && e.Kind == "block" && e.Request != "" {
		b.requests = append(b.requests, e.Request)
	}
	if e.Source == "" {
		return
	}
	// Space-saving: who comes new takes over the smallest count, so that whoever
	// sends much is never lost, whatever the number of sources.
	if _, ok := b.sources[e.Source]; !ok && len(b.sources) >= maxSources {
		least := ""
		for s, c := range b.sources {
			if least == "" || c < b.sources[least] {
				least = s
			}
		}
		n += b.sources[least]
		delete(b.sources, least)
	}
	b.sources[e.Source] += n
}

func (b *burst) status() *shield.AttackStatus {
	s := &shield.AttackStatus{Peak: b.peak, Count: b.total, Requests: b.requests}
	for a, n := range b.sources {
		s.Sources = append(s.Sources, shield.Source{Address: a, Count: n})
	}
	slices.SortFunc(s.Sources, func(x, y shield.Source) int {
		return cmp.Or(cmp.Compare(y.Count, x.Count), cmp.Compare(x.Address, y.Address))
	})
	s.Sources = s.Sources[:min(len(s.Sources), shown)]
	return s
}

func (w *watch) open(ctx context.Context, k key, b *burst, now time.Time) error {
	stamp := b.first.UTC().Format("20060102t150405")
	site := k.site[:min(len(k.site), 63-1-len(stamp))]
	ref := resource.Ref{Kind: "Attack", Tenant: k.tenant, Name: strings.TrimRight(site, "-") + "-" + stamp}
	_, err := w.opt.Gate.Apply(ctx, gate.Request{
		Actor: w.actor, Reason: fmt.Sprintf("%d refused requests within %d s", b.recent(now), window),
		Changes: []gate.Change{{Op: gate.Put, Ref: ref, Object: &resource.Object{
			Kind: "Attack", Metadata: resource.Metadata{Tenant: k.tenant, Name: ref.Name},
			Spec: &shield.AttackSpec{Site: k.site, Vectors: []string{"web"}, Start: b.first.UTC().Truncate(time.Second)},
		}}},
	})
	if err == nil || fault.Is(err, fault.Conflict) { // of an earlier process that died between the two
		b.record, b.changed, b.reported = ref, true, time.Time{}
		return nil
	}
	return err
}

func (w *watch) report(ctx context.Context, b *burst, now time.Time) error {
	_, err := w.opt.Gate.SetStatus(ctx, w.actor, b.record, b.status())
	if fault.Is(err, fault.NotFound) { // somebody deleted it
		b.record, err = resource.Ref{}, nil
	}
	b.changed, b.reported = err != nil, now
	return err
}

// end says when the attack was over: with its last refused request.
func (w *watch) end(ctx context.Context, b *burst) error {
	if b.changed {
		if err := w.report(ctx, b, w.opt.Now()); err != nil || b.record.Name == "" {
			return err
		}
	}
	o, err := w.opt.Gate.Get(ctx, w.actor, b.record)
	if fault.Is(err, fault.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if s, ok := o.State.(*shield.AttackState); ok && s != nil && s.End != nil {
		return nil // a person said so first
	}
	at := b.last.UTC()
	_, err = w.opt.Gate.Apply(ctx, gate.Request{
		Actor: w.actor, Reason: fmt.Sprintf("no refused request for %s", quiet),
		Changes: []gate.Change{{Op: gate.Act, Ref: b.record, Verb: "end", Input: &shield.EndInput{At: &at}, Revision: o.Metadata.Revision}},
	})
	return err
}
