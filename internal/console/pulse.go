package console

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dun-sec/dun/internal/core/events"
	"github.com/dun-sec/dun/internal/core/fault"
)

// Bounds of what the console reads of the event log.
const (
	newest      = 50   // blocks on the page
	hour        = 60   // minutes of the chart
	page        = 1000 // events of one search
	fillPages   = 10   // of the past, when a pulse begins or has fallen behind
	tailPages   = 5    // of what came since, in one round
	maxPulses   = 64
	pulseLinger = 30 * time.Second // without viewers, since people go from page to page
)

// beat is how often things happen; tests make it faster.
type beat struct{ poll, look, check, heart time.Duration }

func standardBeat() beat {
	return beat{poll: time.Second, look: 250 * time.Millisecond, check: time.Second, heart: 15 * time.Second}
}

// pulse follows the blocks of some tenants for everybody who may see just
// these. It polls: events may come in any number, and viewers cost nothing.
type pulse struct {
	c       *Console
	tenants []string
	ready   chan struct{} // closed after the first round

	mu      sync.Mutex
	users   int
	idle    time.Time
	cursor  string
	list    []events.Event // newest first
	minutes map[int64]int  // by Unix minute
	partial time.Time      // until then the chart counts less than happened
	version uint64
}

// view is what a pulse knows at one moment.
type view struct {
	list    []events.Event
	bars    [hour]int // the last is this minute
	end     time.Time // begin of the last minute
	atLeast bool
	version uint64
}

// pulses are those that run, by the tenants that they follow.
type pulses struct {
	mu   sync.Mutex
	byID map[string]*pulse
}

// join returns the pulse of the tenants and waits for its first round; leave
// it afterwards.
func (c *Console) join(ctx context.Context, tenants []string) (*pulse, error) {
	tenants = slices.Sorted(slices.Values(tenants))
	key := strings.Join(tenants, "\n")
	c.pulses.mu.Lock()
	p := c.pulses.byID[key]
	if p == nil {
		if len(c.pulses.byID) >= maxPulses {
			c.pulses.mu.Unlock()
			return nil, busy()
		}
		p = &pulse{c: c, tenants: tenants, ready: make(chan struct{}), minutes: map[int64]int{}}
		if c.pulses.byID == nil {
			c.pulses.byID = map[string]*pulse{}
		}
		c.pulses.byID[key] = p
		go p.run(key)
	}
	p.mu.Lock()
	p.users++
	p.mu.Unlock()
	c.pulses.mu.Unlock()
	select {
	case <-p.ready:
		return p, nil
	case <-ctx.Done():
		p.leave()
		return nil, ctx.Err()
	case <-c.life.Done():
		p.leave()
		return nil, fault.New(fault.Unavailable, "the console is stopping", "控制台正在停止")
	}
}

func (p *pulse) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.users--
	p.idle = p.c.opt.Now()
}

func busy() error {
	e := fault.New(fault.Unavailable, "too many people look at this console at once; try again in a little while", "同时查看控制台的人过多;请稍后再试")
	e.RetryAfter = 10 * time.Second
	return e
}

// run polls until nobody has looked for a while.
func (p *pulse) run(key string) {
	t := time.NewTicker(p.c.beat.poll)
	defer t.Stop()
	for first := true; ; first = false {
		if err := p.round(); err != nil && p.c.life.Err() == nil {
			p.c.opt.Log.Error("the console cannot read events", "err", err)
		}
		if first {
			close(p.ready)
		}
		select {
		case <-p.c.life.Done():
			return
		case <-t.C:
		}
		if p.gone(key) {
			return
		}
	}
}

func (p *pulse) gone(key string) bool {
	all := &p.c.pulses
	all.mu.Lock()
	defer all.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.users > 0 || p.c.opt.Now().Sub(p.idle) < pulseLinger {
		return false
	}
	delete(all.byID, key)
	return true
}

// round reads what came since the last one.
func (p *pulse) round() error {
	ctx, cancel := context.WithTimeout(p.c.life, 10*time.Second)
	defer cancel()
	soon, done := context.WithTimeout(ctx, time.Second)
	// With a full disk or under a flood, what is searchable has to do.
	if err := p.c.opt.Events.Flush(soon); err != nil {
		p.c.opt.Log.Debug("events are behind", "err", err)
	}
	done()
	p.mu.Lock()
	cursor := p.cursor
	p.mu.Unlock()
	if cursor == "" {
		return p.fill(ctx)
	}
	for range tailPages {
		found, next, err := p.search(ctx, events.Query{After: cursor, Limit: page})
		if err != nil || len(found) == 0 {
			return err
		}
		if next == "" { // the log names a place only after a full page
			if found, next, err = p.search(ctx, events.Query{After: cursor, Limit: len(found)}); err != nil || next == "" {
				return err
			}
		}
		slices.Reverse(found)
		p.take(found, next)
		if cursor = next; len(found) < page {
			return nil
		}
	}
	return p.fill(ctx) // too much to read one by one: look at the newest
}

// fill begins at the newest event and counts a bounded part of the past hour.
func (p *pulse) fill(ctx context.Context) error {
	list, at, err := p.search(ctx, events.Query{NewestFirst: true, Limit: 1})
	if err != nil || len(list) == 0 {
		return err
	}
	older, cursor, err := p.search(ctx, events.Query{NewestFirst: true, After: at, Limit: page})
	if err != nil {
		return err
	}
	list = append(list, older...)
	counts := map[int64]int{}
	tally(counts, list)
	past := p.c.opt.Now().Add(-hour * time.Minute)
	pages := 1
	for ; cursor != "" && pages < fillPages; pages++ {
		var more []events.Event
		if more, cursor, err = p.search(ctx, events.Query{NewestFirst: true, After: cursor, Since: past, Limit: page}); err != nil {
			return err
		}
		tally(counts, more)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for m, n := range counts {
		p.minutes[m] = max(p.minutes[m], n)
	}
	p.list, p.cursor = head(list), at
	if cursor != "" {
		p.partial = p.c.opt.Now().Add(hour * time.Minute)
	}
	p.version++
	return nil
}

func (p *pulse) search(ctx context.Context, q events.Query) ([]events.Event, string, error) {
	q.Kind, q.Tenants = "block", p.tenants
	return p.c.opt.Events.Search(ctx, q)
}

func tally(minutes map[int64]int, list []events.Event) {
	for i := range list {
		minutes[list[i].Time.Unix()/60]++
	}
}

func head(list []events.Event) []events.Event { return slices.Clip(list[:min(len(list), newest)]) }

// take adds events that are newer than all before, newest first.
func (p *pulse) take(found []events.Event, cursor string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	tally(p.minutes, found)
	oldest := p.c.opt.Now().Unix()/60 - hour
	for m := range p.minutes {
		if m < oldest {
			delete(p.minutes, m)
		}
	}
	p.list, p.cursor = head(slices.Concat(head(found), p.list)), cursor
	p.version++
}

// view is a copy for one page; the events in it are shared and never changed.
func (p *pulse) view() view {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := p.c.opt.Now()
	now := at.Unix() / 60
	v := view{list: p.list, end: time.Unix(now*60, 0).UTC(), atLeast: p.partial.After(at), version: p.version}
	for i := range v.bars {
		v.bars[i] = p.minutes[now-hour+1+int64(i)]
	}
	return v
}
