package api

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/dun-sec/dun/internal/core/events"
	"github.com/dun-sec/dun/internal/core/fault"
)

// eventFrame is one line of a stream of events: event, drops (so many were
// lost because the reader was slow), bookmark (nothing happened) or error.
type eventFrame struct {
	V     int           `json:"v"`
	Type  string        `json:"type"`
	Event *events.Event `json:"event,omitempty"`
	Count uint64        `json:"count,omitempty"`
	Error any           `json:"error,omitempty"`
}

// place takes one of the bounded places for streams; leave gives it back.
func (a *API) place() (leave func(), err error) {
	select {
	case a.watchers <- struct{}{}:
		return func() { <-a.watchers }, nil
	default:
		e := fault.New(fault.Exhausted, "%d watchers are connected; try again later", "已有 %d 个监视连接;请稍后再试", maxWatchers)
		e.RetryAfter = 10 * time.Second
		return nil, e
	}
}

// follow streams events as they become searchable. What the reader is too slow
// for is counted and said, and slows nobody.
func (a *API) follow(c *call, q events.Query) error {
	leave, err := a.place()
	if err != nil {
		return err
	}
	defer leave()
	ctx, end := context.WithCancel(c.r.Context())
	defer end()
	defer context.AfterFunc(a.life, end)()
	f, err := a.opt.Events.Follow(ctx, q)
	if err != nil {
		return err
	}
	s := &stream{c: c, rc: http.NewResponseController(c.w), enc: json.NewEncoder(c.w)}
	c.w.Header().Set("Content-Type", "application/x-ndjson")
	c.w.WriteHeader(http.StatusOK)
	s.rc.SetReadDeadline(time.Time{})
	if s.rc.Flush() != nil {
		return nil
	}
	list := make(chan events.Event)
	go func() {
		defer close(list)
		for e := range f.All() {
			select {
			case list <- e:
			case <-ctx.Done():
				return
			}
		}
	}()
	beat := time.NewTicker(bookmarkEvery)
	defer beat.Stop()
	told := uint64(0)
	for {
		out := eventFrame{V: 1, Type: "bookmark"}
		select {
		case e, more := <-list:
			if !more {
				return nil
			}
			out = eventFrame{V: 1, Type: "event", Event: &e}
		case <-beat.C:
		}
		// Who was signed out since sees nothing more.
		if err := c.still(); err != nil {
			s.line(eventFrame{V: 1, Type: "error", Error: problemOf(c, err)})
			return nil
		}
		if n := f.Dropped(); n > told {
			if s.line(eventFrame{V: 1, Type: "drops", Count: n - told}) != nil {
				return nil
			}
			told = n
		}
		if s.line(out) != nil {
			return nil
		}
	}
}

// line writes one frame of any kind at once.
func (s *stream) line(v any) error {
	s.rc.SetWriteDeadline(time.Now().Add(frameWithin))
	if err := s.enc.Encode(v); err != nil {
		return err
	}
	return s.rc.Flush()
}
