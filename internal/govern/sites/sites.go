// Package sites proves that the hosts of sites belong to their tenants, and
// keeps the status of sites: how each host and each origin stands. It owns the
// statuses of sites and the verbs by which proofs are noted; it never serves a
// request and dials nothing but what it was given to dial with.
//
// Whatever tenants write, at most maxLooks looks are under way, one for each
// tenant, and a host that proves nothing is looked for ever more seldom.
package sites

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net"
	"time"

	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/kinds/edge"
)

// When hosts are looked for.
const (
	tick      = time.Second
	lookFirst = 30 * time.Second    // between looks for a new host, doubled each time
	lookLast  = 6 * time.Hour       // at most
	lookAgain = 30 * 24 * time.Hour // for the proof of a host that is proven: only a warning follows
	claimFor  = 7 * 24 * time.Hour  // an unproven host is kept from others
	maxLooks  = 8                   // at once
)

// Gate is what the controller asks of core/gate.
type Gate interface {
	Apply(context.Context, gate.Request) ([]gate.Result, error)
	SetStatus(context.Context, identity.Actor, resource.Ref, any) (*resource.Object, error)
}

// Options of a controller. All but Origins, Now and Log are needed.
type Options struct {
	Gate    Gate
	Feed    resource.Feed // of Site
	Key     [32]byte      // from which the proofs of all hosts follow
	TXT     func(ctx context.Context, name string) ([]string, error)
	Dial    func(tenant string) func(ctx context.Context, network, addr string) (net.Conn, error)
	Origins func(tenant, site string) []edge.OriginStatus
	Now     func() time.Time
	Log     *slog.Logger
}

// Run proves and reports until ctx ends or the feed fails.
func Run(ctx context.Context, opt Options) error {
	w := &watch{opt: opt, looker: looker{opt.TXT, opt.Dial}, actor: identity.Service(edge.SiteOwner), sites: map[resource.Ref]*site{}, busy: map[string]bool{}}
	if w.opt.Now == nil {
		w.opt.Now = time.Now
	}
	if w.opt.Log == nil {
		w.opt.Log = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	batches, ended := make(chan resource.Batch), make(chan error, 1)
	go func() {
		for {
			b, err := opt.Feed.Next(ctx)
			if err != nil {
				ended <- err
				return
			}
			select {
			case batches <- b:
			case <-ctx.Done():
				ended <- ctx.Err()
				return
			}
		}
	}()
	results := make(chan result, maxLooks)
	t := time.NewTicker(tick)
	defer t.Stop()
	for {
		select {
		case b := <-batches:
			w.take(b)
		case r := <-results:
			delete(w.busy, r.site.Tenant)
			w.settle(ctx, r)
		case <-t.C:
			w.start(ctx, results)
			w.report(ctx)
		case err := <-ended:
			for range len(w.busy) {
				<-results
			}
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
	}
}

// watch is the state of Run; its goroutine owns it.
type watch struct {
	opt    Options
	looker looker
	actor  identity.Actor
	sites  map[resource.Ref]*site
	busy   map[string]bool // tenants whose host is looked for now
}

// site is one record with what is known of its hosts.
type site struct {
	*resource.Object
	hosts map[string]*host
	asked time.Time // the last check that people asked for
}

type host struct {
	claim
	next  time.Time // of the next look
	wait  time.Duration
	since time.Time // unproven
	last  time.Time // look; zero = none
	found found     // then
}

func (w *watch) take(b resource.Batch) {
	if b.Reset {
		clear(w.sites)
	}
	for _, c := range b.Changes {
		ref := c.Ref
		ref.UID = ""
		if c.Object == nil {
			delete(w.sites, ref)
			continue
		}
		s := w.sites[ref]
		if s == nil {
			s = &site{hosts: map[string]*host{}}
			w.sites[ref] = s
		}
		s.Object = c.Object
		w.hosts(ref, s)
	}
}

// hosts follows the record: which hosts there are, and what people asked for.
func (w *watch) hosts(ref resource.Ref, s *site) {
	now := w.opt.Now()
	known := map[string]edge.HostStatus{}
	if st, ok := s.Status.(*edge.SiteStatus); ok && st != nil {
		for _, h := range st.Hosts {
			known[h.Host] = h
		}
	}
	next := map[string]*host{}
	for _, name := range s.Spec.(*edge.SiteSpec).Hosts {
		if edge.Free(ref.Tenant, name) {
			continue
		}
		h := s.hosts[name]
		if h == nil {
			h = &host{claim: claimOf(w.opt.Key, ref, name), wait: lookFirst, next: now, since: now}
			h.recall(known[name], now)
		}
		next[name] = h
	}
	s.hosts = next
	if st, ok := s.State.(*edge.SiteState); ok && st != nil && st.Asked != nil && st.Asked.After(s.asked) {
		s.asked = *st.Asked
		for _, h := range s.hosts {
			if h.last.Before(s.asked) {
				h.next, h.wait = now, lookFirst
			}
		}
	}
}

// recall takes up what an earlier process found. Hosts that are proven are not
// all looked for at once after a start.
func (h *host) recall(was edge.HostStatus, now time.Time) {
	if was.Since != nil && was.Since.Before(now) {
		h.since = *was.Since
	}
	if was.State != edge.HostProven {
		return
	}
	h.next = now.Add(lookAgain/2 + rand.N(lookAgain))
	if was.Checked != nil && was.Checked.Before(now) {
		h.last, h.found = *was.Checked, found{failed: was.Message != ""}
		h.found.why.En, h.found.why.Zh = was.Message, was.MessageZh
		h.next = was.Checked.Add(lookAgain)
	}
}

// result is what one look brought.
type result struct {
	site resource.Ref
	host string
	found
}

// start begins the looks that are due, the longest due first.
func (w *watch) start(ctx context.Context, results chan<- result) {
	now := w.opt.Now()
	for len(w.busy) < maxLooks {
		var ref resource.Ref
		var name string
		var due *host
		for r, s := range w.sites {
			if w.busy[r.Tenant] || s.Metadata.Deleting != nil {
				continue
			}
			for n, h := range s.hosts {
				if !h.next.After(now) && (due == nil || h.next.Before(due.next)) {
					ref, name, due = r, n, h
				}
			}
		}
		if due == nil {
			return
		}
		w.busy[ref.Tenant] = true
		due.next = now.Add(due.wait)
		c := due.claim
		go func() { results <- result{ref, name, w.looker.look(ctx, ref.Tenant, c)} }()
	}
}

// settle notes what a look brought.
func (w *watch) settle(ctx context.Context, r result) {
	s := w.sites[r.site]
	if s == nil || s.hosts[r.host] == nil || ctx.Err() != nil {
		return
	}
	h, now := s.hosts[r.host], w.opt.Now()
	h.last, h.found = now, r.found
	state, _ := s.State.(*edge.SiteState)
	served := edge.Serves(s.Object, r.host)
	switch {
	case r.method != "" && (!served || state == nil || !state.Proofs || !noted(state, r.host)):
		if err := w.note(ctx, s, "prove", r); err != nil {
			h.found = found{failed: true, why: refusal(err)}
			h.later(now)
			return
		}
		h.next, h.wait = now.Add(lookAgain), lookFirst
	case served:
		h.next = now.Add(lookAgain)
		if r.method == "" {
			h.next = now.Add(24 * time.Hour) // soft: it stays served, with a warning
		}
	default:
		h.later(now)
		if now.Sub(h.since) >= claimFor && state != nil && !state.HasLapsed(r.host) {
			if err := w.note(ctx, s, "lapse", r); err != nil {
				w.opt.Log.Error("a host does not lapse", "kind", "Site", "tenant", r.site.Tenant, "name", r.site.Name, "err", err)
			}
		}
	}
}

// noted reports a proof that was looked up, and not only taken over.
func noted(s *edge.SiteState, host string) bool {
	m := s.Method(host)
	return m != "" && m != edge.ProvenEarlier
}

func (h *host) later(now time.Time) {
	h.next = now.Add(h.wait - h.wait/8 + rand.N(h.wait/4))
	h.wait = min(2*h.wait, lookLast)
}

func (w *watch) note(ctx context.Context, s *site, verb string, r result) error {
	out, err := w.opt.Gate.Apply(ctx, gate.Request{Actor: w.actor, Changes: []gate.Change{{
		Op: gate.Act, Ref: resource.Ref{Kind: "Site", Tenant: r.site.Tenant, Name: r.site.Name}, Verb: verb,
		Input: edge.HostsInput{Hosts: []string{r.host}, Method: r.method}, Revision: s.Metadata.Revision,
	}}})
	if err == nil && out[0].Object != nil {
		s.Object = out[0].Object // the feed brings the same a moment later
	}
	return err
}
