package attacks

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dun-sec/dun/internal/core/events"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/traffic"
	"github.com/dun-sec/dun/internal/kinds/shield"
)

// Floods are what the detection centres tell of protected addresses: their events
// are few by themselves, and all that is told of one address at a time is one
// record, whoever tells it: the control plane's centre, a node's that saw its
// share, and the one that comes after a restart.
const (
	floodPart    = "detect"
	floodKind    = "attack"
	maxFloods    = 4096
	maxTellers   = 256              // of one flood
	reportAnyway = 3 * reportEvery  // its course goes on while nothing new is told
	floodStale   = 10 * time.Minute // without a word: whoever told of it is gone
	floodAdopt   = 30 * time.Second // after a restart: nobody tells of it any more
)

// flood is an attack on an address that was told of.
type flood struct {
	tenant, address, object string
	vectors                 []string
	start, last             time.Time
	end                     *time.Time
	told                    map[string]*word // by the detection centre's id, while it lasts there
	status                  shield.AttackStatus
	record                  resource.Ref // zero = not written yet
	changed                 bool
	rate, dropped           float64 // packets a second, as was told last
	course                  course
	passed                  float64            // packets
	stopped                 map[string]float64 // packets, by reason
	reported                time.Time
}

// word is what one detection centre said last.
type word struct {
	until         time.Time // without another
	rate, dropped float64
}

// hear takes an event of a detection centre.
func (w *watch) hear(e events.Event) {
	a := e.Attributes
	id, object := a["attack"], strings.TrimPrefix(e.Object, "protectedaddress/")
	if e.Kind != floodKind || id == "" || object == "" || e.Tenant == "" || e.Tenant == w.opt.Skip {
		return
	}
	k := key{e.Tenant, object}
	f := w.floods[k]
	if left := (key{e.Tenant, stem(object)}); f == nil && w.floods[left] != nil && w.floods[left].told[adopted] != nil {
		f = w.floods[left]
		delete(w.floods, left)
		f.object, w.floods[k] = object, f
	}
	if f == nil {
		if len(w.floods) >= maxFloods {
			return
		}
		start, err := time.Parse(time.RFC3339Nano, a["start"])
		if err != nil {
			start = e.Time
		}
		f = &flood{tenant: e.Tenant, address: a["address"], object: object, start: start.UTC(), told: map[string]*word{}}
		w.floods[k] = f
	}
	now := w.opt.Now()
	f.last, f.changed = now, true
	for _, v := range strings.Split(a["vectors"], ",") {
		if v != "" && !slices.Contains(f.vectors, v) {
			f.vectors = append(f.vectors, v)
		}
	}
	if f.status.Direction = a["direction"]; a["fingerprint"] != "" {
		f.status.Fingerprint = a["fingerprint"]
	}
	f.status.PeakPackets = max(f.status.PeakPackets, number(a["peak"]))
	f.status.PeakBits = max(f.status.PeakBits, number(a["bits"]))
	f.status.Vectors = f.vectors
	delete(f.told, adopted)
	if f.told[id] == nil && len(f.told) < maxTellers {
		w.recorded(id, f.record)
	}
	if a["phase"] == "end" {
		delete(f.told, id)
	} else if f.told[id] != nil || len(f.told) < maxTellers {
		f.told[id] = &word{now.Add(floodStale), float64(number(a["packets"])), float64(number(a["dropped"]))}
	}
	f.rate, f.dropped = 0, 0
	for _, x := range f.told {
		if x.rate > f.rate {
			f.rate, f.dropped = x.rate, x.dropped
		}
	}
	f.end = nil
	if len(f.told) == 0 {
		at := e.Time.UTC()
		f.end = &at
	}
}

// adopted is who tells of a flood that an earlier process left open.
const adopted = ""

// recorded says under which record an attack of a detection centre is.
func (w *watch) recorded(id string, ref resource.Ref) {
	ref.UID = ""
	if w.opt.Recorded != nil && ref.Name != "" && id != adopted {
		w.opt.Recorded(id, ref)
	}
}

func number(s string) int {
	n, err := strconv.ParseFloat(s, 64)
	if err != nil || n < 0 || n > 1e15 {
		return 0
	}
	return int(n)
}

// settleFloods writes what was heard, once a second.
func (w *watch) settleFloods(ctx context.Context) {
	now := w.opt.Now()
	var live map[resource.Ref]traffic.Live
	if len(w.floods) > 0 && w.opt.Live != nil {
		live = w.opt.Live()
	}
	for k, f := range w.floods {
		f.watch(live)
		maps.DeleteFunc(f.told, func(_ string, x *word) bool { return !x.until.After(now) })
		if f.end == nil && len(f.told) == 0 {
			at := f.last.UTC()
			f.end = &at
		}
		var err error
		switch {
		case f.record.Name == "":
			err = w.openFlood(ctx, f)
		case f.end != nil:
			if err = w.reportFlood(ctx, f, now); err == nil {
				err = w.endFlood(ctx, f)
			}
			if err == nil {
				delete(w.floods, k)
			}
		case now.Sub(f.reported) >= reportAnyway, f.changed && now.Sub(f.reported) >= reportEvery:
			err = w.reportFlood(ctx, f, now)
		}
		if err != nil && ctx.Err() == nil {
			w.opt.Log.Error("an attack is not recorded", "tenant", f.tenant, "name", f.object, "err", err)
		}
	}
}

const stamp = "20060102t150405"

// stem is how the names of the attacks on an address begin.
func stem(object string) string {
	return strings.TrimRight(object[:min(len(object), 63-1-len(stamp))], "-")
}

// floodRef is the record of an attack on a protected address.
func floodRef(tenant, object string, start time.Time) resource.Ref {
	return resource.Ref{Kind: "Attack", Tenant: tenant, Name: stem(object) + "-" + start.UTC().Format(stamp)}
}

func (w *watch) openFlood(ctx context.Context, f *flood) error {
	ref := floodRef(f.tenant, f.object, f.start)
	_, err := w.opt.Gate.Apply(ctx, gate.Request{
		Actor: w.actor, Reason: fmt.Sprintf("%s: %d packets a second", strings.Join(f.vectors, ","), f.status.PeakPackets),
		Changes: []gate.Change{{Op: gate.Put, Ref: ref, Object: &resource.Object{
			Kind: "Attack", Metadata: resource.Metadata{Tenant: f.tenant, Name: ref.Name},
			Spec: &shield.AttackSpec{Address: f.address, Vectors: f.vectors, Start: f.start.Truncate(time.Second)},
		}}},
	})
	if err == nil || fault.Is(err, fault.Conflict) {
		f.record, f.changed, f.reported = ref, true, time.Time{}
		for id := range f.told {
			w.recorded(id, ref)
		}
		return nil
	}
	return err
}

func (w *watch) reportFlood(ctx context.Context, f *flood, now time.Time) error {
	st := f.result()
	_, err := w.opt.Gate.SetStatus(ctx, w.actor, f.record, &st)
	if fault.Is(err, fault.NotFound) { // somebody deleted it
		err = nil
	}
	f.changed, f.reported = err != nil, now
	return err
}

func (w *watch) endFlood(ctx context.Context, f *flood) error {
	o, err := w.opt.Gate.Get(ctx, w.actor, f.record)
	if fault.Is(err, fault.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if s, ok := o.State.(*shield.AttackState); ok && s != nil && s.End != nil {
		return nil // a person said so first
	}
	_, err = w.opt.Gate.Apply(ctx, gate.Request{
		Actor: w.actor, Reason: "the detection centre says that it is over",
		Changes: []gate.Change{{Op: gate.Act, Ref: f.record, Verb: "end", Input: &shield.EndInput{At: f.end}, Revision: o.Metadata.Revision}},
	})
	return err
}

// adoptFlood goes on with an attack on an address that an earlier process left
// open: whoever tells of that address next tells of it. If nobody does soon, it
// is over.
func (w *watch) adoptFlood(o *resource.Object, spec *shield.AttackSpec) {
	begin := strings.TrimSuffix(o.Metadata.Name, spec.Start.UTC().Format("-"+stamp))
	now := w.opt.Now()
	f := &flood{
		tenant: o.Metadata.Tenant, address: spec.Address, object: begin, vectors: slices.Clone(spec.Vectors), start: spec.Start, last: now, record: o.Ref(),
		told: map[string]*word{adopted: {until: now.Add(floodAdopt)}},
	}
	if s, ok := o.Status.(*shield.AttackStatus); ok && s != nil {
		f.status, f.passed = *s, float64(s.Passed)
		for _, v := range s.Vectors {
			if !slices.Contains(f.vectors, v) {
				f.vectors = append(f.vectors, v)
			}
		}
		for _, x := range s.Stopped {
			if f.stopped == nil {
				f.stopped = map[string]float64{}
			}
			f.stopped[x.Reason] = float64(x.Packets)
		}
		f.course.take(s.Course)
	}
	w.floods[key{f.tenant, begin}] = f
}
