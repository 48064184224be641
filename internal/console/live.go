package console

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/a-h/templ"

	"github.com/dun-sec/dun/internal/core/resource"
)

// Streams: so many at once, and so many of one person, so that nobody takes
// them all.
const (
	maxStreams   = 64
	maxOfOne     = 8
	streamWithin = 10 * time.Second // for one write; who is slower is cut
)

// places are the streams that run.
type places struct {
	mu  sync.Mutex
	all int
	by  map[resource.Ref]int
}

func (p *places) take(who resource.Ref) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all >= maxStreams || p.by[who] >= maxOfOne {
		return false
	}
	if p.by == nil {
		p.by = map[resource.Ref]int{}
	}
	p.all++
	p.by[who]++
	return true
}

func (p *places) give(who resource.Ref) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all--
	if p.by[who]--; p.by[who] == 0 {
		delete(p.by, who)
	}
}

// live keeps the first page as it is now, by server-sent events. Each message
// is a part of the page that htmx puts in its place.
func (c *Console) live(v *visit) error {
	who := v.actor.Principal
	if !c.streams.take(who) {
		return busy()
	}
	defer c.streams.give(who)
	ctx, end := context.WithCancel(v.r.Context())
	defer end()
	defer context.AfterFunc(c.life, end)()
	feed, err := c.opt.Gate.Watch(v.actor, []string{homeKind}, func(*resource.Object) bool { return true })
	if err != nil {
		return err
	}
	s := &stream{v: v, rc: http.NewResponseController(v.w), ctx: ctx}
	if s.pulse, err = c.join(ctx, v.eventTenants()); err != nil {
		return err
	}
	defer func() { s.pulse.leave() }()
	v.w.Header().Set("Content-Type", "text/event-stream")
	v.w.WriteHeader(http.StatusOK)
	s.rc.SetReadDeadline(time.Time{}) // the stream outlives the server's limit for reading a request
	var done sync.WaitGroup
	done.Go(func() { s.follow(feed, end) })
	defer done.Wait()
	defer end()
	if err := s.run(); err != nil && ctx.Err() == nil {
		c.opt.Log.Info("a live page ended", "req", v.actor.Request, "err", err)
	}
	return nil
}

// stream is one live page.
type stream struct {
	v     *visit
	rc    *http.ResponseController
	ctx   context.Context
	pulse *pulse

	moved atomic.Bool // records moved since they were last shown
	reset atomic.Bool // policy moved: what may be seen is asked anew

	head    string // as last sent
	version uint64
	minute  time.Time
	flooded string // as last sent
	looked  time.Time
}

// follow notes that something moved; what it is, is read when it is shown.
func (s *stream) follow(feed resource.Feed, end func()) {
	for {
		b, err := feed.Next(s.ctx)
		if err != nil {
			if s.ctx.Err() == nil {
				s.v.c.opt.Log.Error("the watch of a live page ended", "req", s.v.actor.Request, "err", err)
			}
			end()
			return
		}
		if b.Reset {
			s.reset.Store(true)
		}
		if b.Reset || len(b.Changes) > 0 {
			s.moved.Store(true)
		}
	}
}

// run writes until the reader goes, his session ends, or the console stops.
func (s *stream) run() error {
	s.moved.Store(true)
	beat := s.v.c.beat
	look := time.NewTicker(beat.look)
	defer look.Stop()
	var checked, heard time.Time
	for {
		now := time.Now()
		if now.Sub(checked) >= beat.check {
			checked = now
			// Who was signed out since sees nothing more.
			if now, err := s.v.c.opt.Gate.Authenticate(s.v.token); err != nil || now.Principal != s.v.actor.Principal {
				return s.end()
			}
			if err := s.status(); err != nil {
				return err
			}
		}
		sent, err := s.parts()
		if err != nil {
			return err
		}
		if sent {
			heard = now
		} else if now.Sub(heard) >= beat.heart {
			heard = now
			if err := s.write(": still here\n\n"); err != nil {
				return err
			}
		}
		select {
		case <-s.ctx.Done():
			return s.ctx.Err()
		case <-look.C:
		}
	}
}

// parts sends what changed of records and blocks.
func (s *stream) parts() (sent bool, err error) {
	if s.reset.Swap(false) {
		p, err := s.v.c.join(s.ctx, s.v.eventTenants())
		if err != nil {
			return false, err
		}
		s.pulse.leave()
		s.pulse, s.version, s.minute = p, 0, time.Time{}
	}
	if s.moved.Swap(false) {
		t, err := s.v.homeTable()
		if err != nil {
			return false, err
		}
		if err := s.send("records", recordsCard(s.v, t)); err != nil {
			return false, err
		}
		sent = true
	}
	if c := s.v.c; c.opt.Traffic != nil {
		if c.traffic.sample(time.Now(), c.opt.Traffic) && c.opt.Gate.MayAny(s.v.actor, "status.read", resource.Platform) {
			if err := s.send("traffic", trafficCard(s.v)); err != nil {
				return false, err
			}
			sent = true
		}
	}
	if c := s.v.c; c.opt.Floods != nil && time.Since(s.looked) >= time.Second {
		s.looked = time.Now()
		var b bytes.Buffer
		rows, all := s.v.flooded()
		if err := floodsCard(s.v, rows, all).Render(s.ctx, &b); err != nil {
			return false, err
		}
		if b.String() != s.flooded {
			s.flooded = b.String()
			if err := s.put("floods", s.flooded); err != nil {
				return false, err
			}
			sent = true
		}
	}
	p := s.v.seen(s.pulse.view())
	if !s.minute.IsZero() && p.version == s.version && p.end.Equal(s.minute) {
		return sent, nil
	}
	s.version, s.minute = p.version, p.end
	if err := s.send("chart", chartCard(s.v, p)); err != nil {
		return false, err
	}
	return true, s.send("blocks", blocksCard(s.v, p))
}

// status sends the state of the cell when it reads otherwise than before.
func (s *stream) status() error {
	var b bytes.Buffer
	if err := statusBar(s.v).Render(s.ctx, &b); err != nil {
		return err
	}
	if b.String() == s.head {
		return nil
	}
	s.head = b.String()
	return s.put("status", s.head)
}

// end tells the page that nothing more comes, so that it does not ask again.
func (s *stream) end() error {
	if err := s.send("ended", endedNote(s.v)); err != nil {
		return err
	}
	return s.write("event: end\ndata: end\n\n")
}

func (s *stream) send(place string, part templ.Component) error {
	var b bytes.Buffer
	if err := part.Render(s.ctx, &b); err != nil {
		return fmt.Errorf("render: %w", err)
	}
	return s.put(place, b.String())
}

// put sends HTML for the element with the id. Line ends of any kind in it
// must not end the message.
func (s *stream) put(place, html string) error {
	html = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(`<hx-partial hx-target="#` + place + `" hx-swap="innerMorph">` + html + `</hx-partial>`)
	return s.write("data: " + strings.ReplaceAll(html, "\n", "\ndata: ") + "\n\n")
}

func (s *stream) write(frame string) error {
	// Where the connection knows no deadlines there is nothing to hold it to.
	_ = s.rc.SetWriteDeadline(time.Now().Add(streamWithin))
	if _, err := s.v.w.Write([]byte(frame)); err != nil {
		return err
	}
	return s.rc.Flush()
}
