package console

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dun-sec/dun/internal/core/events"
	"github.com/dun-sec/dun/internal/core/resource"
)

// Bounds of one look at the events: pages that are read for a filter that the
// log has no index for.
const (
	eventRows  = 100
	eventPages = 10
)

// eventFilter is what the address says of events.
type eventFilter struct{ Kind, Tenant, Source, Rule, Action, Since string }

func filterOf(q url.Values) eventFilter {
	return eventFilter{q.Get("kind"), q.Get("tenant"), strings.TrimSpace(q.Get("source")), strings.TrimSpace(q.Get("rule")), q.Get("action"), q.Get("since")}
}

func (f eventFilter) values() url.Values {
	q := url.Values{}
	for name, s := range map[string]string{"kind": f.Kind, "tenant": f.Tenant, "source": f.Source, "rule": f.Rule, "action": f.Action, "since": f.Since} {
		if s != "" {
			q.Set(name, s)
		}
	}
	return q
}

// asked is the part of the filter that the log answers.
func (f eventFilter) asked(v *visit) (events.Query, error) {
	q := events.Query{Kind: f.Kind, Action: f.Action, Tenants: v.eventTenants(), NewestFirst: true, Limit: 1000, Keep: v.c.opt.Gate.Sees(v.actor)}
	if f.Tenant != "" {
		q.Tenants = slices.DeleteFunc(q.Tenants, func(t string) bool { return t != f.Tenant })
	}
	if f.Since != "" {
		d, err := resource.ParseDuration(f.Since)
		if err != nil {
			return q, err
		}
		q.Since = v.c.opt.Now().Add(-time.Duration(d))
	}
	return q, nil
}

// keeps is the rest of it.
func (f eventFilter) keeps(e *events.Event) bool {
	if f.Source != "" && !strings.HasPrefix(e.Source, f.Source) {
		return false
	}
	return f.Rule == "" || slices.ContainsFunc(e.Rules, func(r events.Rule) bool {
		return number(uint64(max(0, r.ID))) == f.Rule || strings.Contains(strings.ToLower(r.Message), strings.ToLower(f.Rule))
	})
}

// seen is a page of events, ready to be shown.
type seen struct {
	filter  eventFilter
	list    []events.Event
	next    string
	live    bool
	dropped uint64
	wrong   string
}

func (c *Console) events(v *visit) error {
	q := v.r.URL.Query()
	s := &seen{filter: filterOf(q), live: q.Get("live") != "off" && q.Get("after") == ""}
	ask, err := s.filter.asked(v)
	if err != nil {
		s.wrong, s.live = err.Error(), false
		return v.render(http.StatusBadRequest, eventsPage(v, s))
	}
	soon, cancel := context.WithTimeout(v.r.Context(), time.Second)
	defer cancel()
	if err := c.opt.Events.Flush(soon); err != nil {
		c.opt.Log.Debug("events are behind", "req", v.actor.Request, "err", err)
	}
	if ask.After = q.Get("after"); s.filter.Source == "" && s.filter.Rule == "" {
		ask.Limit = eventRows
	}
	for range eventPages {
		var found []events.Event
		if found, s.next, err = c.opt.Events.Search(v.r.Context(), ask); err != nil {
			return err
		}
		for i := range found {
			if len(s.list) < 1000 && s.filter.keeps(&found[i]) {
				s.list = append(s.list, found[i])
			}
		}
		if ask.After = s.next; s.next == "" || len(s.list) >= eventRows {
			break
		}
	}
	return v.render(http.StatusOK, eventsPage(v, s))
}

// tail keeps the newest events on the page as they come. What comes too fast
// for the page is counted, never waited for.
func (c *Console) tail(v *visit) error {
	s := &seen{filter: filterOf(v.r.URL.Query()), live: true}
	ask, err := s.filter.asked(v)
	if err != nil {
		return nothingHere()
	}
	who := v.actor.Principal
	if !c.streams.take(who) {
		return busy()
	}
	defer c.streams.give(who)
	ctx, end := context.WithCancel(v.r.Context())
	defer end()
	defer context.AfterFunc(c.life, end)()
	f, err := c.opt.Events.Follow(ctx, ask)
	if err != nil {
		return err
	}
	if ask.Limit = eventRows; len(ask.Tenants) > 0 {
		if s.list, _, err = c.opt.Events.Search(ctx, ask); err != nil {
			return err
		}
		s.list = slices.DeleteFunc(s.list, func(e events.Event) bool { return !s.filter.keeps(&e) })
	}
	v.w.Header().Set("Content-Type", "text/event-stream")
	v.w.WriteHeader(http.StatusOK)
	out := &stream{v: v, rc: http.NewResponseController(v.w), ctx: ctx}
	out.rc.SetReadDeadline(time.Time{})
	var mu sync.Mutex
	moved := true
	var done sync.WaitGroup
	done.Go(func() {
		for e := range f.All() {
			if !s.filter.keeps(&e) {
				continue
			}
			mu.Lock()
			if !slices.ContainsFunc(s.list, func(o events.Event) bool { return o.ID == e.ID }) {
				s.list = append([]events.Event{e}, s.list[:min(len(s.list), eventRows-1)]...)
				moved = true
			}
			mu.Unlock()
		}
	})
	defer done.Wait()
	defer end()
	look := time.NewTicker(c.beat.look)
	defer look.Stop()
	for heard := time.Now(); ; {
		mu.Lock()
		now := *s
		now.list, now.dropped = slices.Clone(s.list), f.Dropped()
		send := moved
		moved = false
		mu.Unlock()
		switch {
		case send:
			heard = time.Now()
			err = out.send("tail", eventTable(v, &now))
		case time.Since(heard) >= c.beat.heart:
			heard = time.Now()
			err = out.write(": still here\n\n")
		}
		// Who was signed out, or may see less, sees nothing more.
		session, gone := c.opt.Gate.Authenticate(v.token)
		if gone != nil || session.Principal != who || !slices.Equal(v.eventTenantsOf(s.filter), ask.Tenants) {
			return out.end()
		}
		if err != nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
		}
	}
}

func (v *visit) eventTenantsOf(f eventFilter) []string {
	q, err := f.asked(v)
	if err != nil {
		return nil
	}
	return q.Tenants
}
