package attacks

import (
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
	"github.com/dun-sec/dun/internal/core/traffic"
	"github.com/dun-sec/dun/internal/kinds/shield"
)

// Floods are what the detection centre tells of protected addresses: its events
// are few by themselves, one at a time for each address, and each attack is one
// record.
const (
	floodPart  = "detect"
	floodKind  = "attack"
	maxFloods  = 4096
	floodStale = 10 * time.Minute // without a word: whoever told of it is gone
)

// flood is an attack on an address that was told of.
type flood struct {
	tenant, address, object string
	vectors                 []string
	start, last             time.Time
	end                     *time.Time
	status                  shield.AttackStatus
	record                  resource.Ref // zero = not written yet
	changed                 bool
	rate, dropped           float64 // packets a second, as was told last
	course                  course
	passed                  float64            // packets
	stopped                 map[string]float64 // packets, by reason
	reported                time.Time
}

// hear takes an event of the detection centre.
func (w *watch) hear(e events.Event) {
	a := e.Attributes
	id := a["attack"]
	if e.Kind != floodKind || id == "" || e.Tenant == "" || e.Tenant == w.opt.Skip {
		return
	}
	f := w.floods[id]
	if f == nil {
		if len(w.floods) >= maxFloods {
			return
		}
		start, err := time.Parse(time.RFC3339Nano, a["start"])
		if err != nil {
			start = e.Time
		}
		f = &flood{tenant: e.Tenant, address: a["address"], object: strings.TrimPrefix(e.Object, "protectedaddress/"), start: start.UTC()}
		w.floods[id] = f
	}
	f.last, f.changed = w.opt.Now(), true
	for _, v := range strings.Split(a["vectors"], ",") {
		if v != "" && !slices.Contains(f.vectors, v) {
			f.vectors = append(f.vectors, v)
		}
	}
	f.status.Direction, f.status.Fingerprint = a["direction"], a["fingerprint"]
	f.status.PeakPackets = max(f.status.PeakPackets, number(a["peak"]))
	f.status.PeakBits = max(f.status.PeakBits, number(a["bits"]))
	f.status.Vectors = f.vectors
	f.rate, f.dropped = float64(number(a["packets"])), float64(number(a["dropped"]))
	if a["phase"] == "end" {
		at := e.Time.UTC()
		f.end = &at
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
	for id, f := range w.floods {
		f.watch(live)
		if f.end == nil && now.Sub(f.last) >= floodStale {
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
				delete(w.floods, id)
			}
		case f.changed && now.Sub(f.reported) >= reportEvery:
			err = w.reportFlood(ctx, f, now)
		}
		if err != nil && ctx.Err() == nil {
			w.opt.Log.Error("an attack is not recorded", "tenant", f.tenant, "name", f.object, "err", err)
		}
	}
}

// floodRef is the record of an attack on a protected address.
func floodRef(tenant, object string, start time.Time) resource.Ref {
	stamp := start.UTC().Format("20060102t150405")
	return resource.Ref{Kind: "Attack", Tenant: tenant, Name: strings.TrimRight(object[:min(len(object), 63-1-len(stamp))], "-") + "-" + stamp}
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

// adoptFlood ends an attack on an address that an earlier process left open:
// nobody will tell of it under its old id.
func (w *watch) adoptFlood(o *resource.Object, spec *shield.AttackSpec) {
	now := w.opt.Now()
	at := now.UTC()
	f := &flood{tenant: o.Metadata.Tenant, address: spec.Address, object: o.Metadata.Name, vectors: spec.Vectors, start: spec.Start, last: now, end: &at, record: o.Ref()}
	if s, ok := o.Status.(*shield.AttackStatus); ok && s != nil {
		f.status = *s
	}
	w.floods[o.Metadata.Tenant+"/"+o.Metadata.Name] = f
}
