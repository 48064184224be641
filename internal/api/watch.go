package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/resource"
)

const (
	bookmarkEvery = 30 * time.Second
	frameWithin   = 10 * time.Second // for one write to a watcher; who is slower is cut
	maxWatchers   = 2000
)

// frame is one line of a watch (formats.md, Watch).
type frame struct {
	V      int              `json:"v"`
	Type   string           `json:"type"`
	At     string           `json:"at,omitempty"`
	Object *resource.Object `json:"object,omitempty"`
	Ref    *resource.Ref    `json:"ref,omitempty"`
	Error  any              `json:"error,omitempty"`
}

// watch streams what moves in some kinds. An empty position means everything
// first, then synced. gone means: list again.
func (a *API) watch(c *call, kinds []string, keep func(*resource.Object) bool, position string) error {
	leave, err := a.place()
	if err != nil {
		return err
	}
	defer leave()
	var feed resource.Feed
	if position == "" {
		feed, err = a.opt.Gate.Watch(c.actor, kinds, keep)
	} else {
		from, perr := resource.ParsePosition(position)
		if perr != nil {
			return perr
		}
		feed, err = a.opt.Gate.WatchFrom(c.actor, kinds, keep, from)
	}
	if err != nil {
		return err
	}
	s := &stream{c: c, rc: http.NewResponseController(c.w), enc: json.NewEncoder(c.w), fresh: position == ""}
	c.w.Header().Set("Content-Type", "application/x-ndjson")
	c.w.WriteHeader(http.StatusOK)
	s.rc.SetReadDeadline(time.Time{}) // the stream outlives the server's limit for reading a request
	if s.rc.Flush() == nil {          // who waits for a change should know that he is heard
		s.run(feed)
	}
	return nil
}

// stream is one watcher's connection.
type stream struct {
	c     *call
	rc    *http.ResponseController
	enc   *json.Encoder
	fresh bool // the first batch is the state that was asked for
}

func (s *stream) run(feed resource.Feed) {
	live, end := context.WithCancel(s.c.r.Context())
	defer end()
	defer context.AfterFunc(s.c.api.life, end)()
	for {
		ctx, cancel := context.WithTimeout(live, bookmarkEvery)
		b, err := feed.Next(ctx)
		cancel()
		if live.Err() != nil {
			return
		}
		// Who was signed out since sees nothing more.
		if aerr := s.c.still(); aerr != nil {
			s.send(frame{Type: "error", Error: problemOf(s.c, aerr)})
			return
		}
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			err = s.send(frame{Type: "bookmark", At: b.At.String()})
		case err != nil:
			s.c.api.opt.Log.Error("watch ended", "req", s.c.req, "err", err)
			s.send(frame{Type: "error", Error: problemOf(s.c, err)})
			return
		case b.Reset && !s.fresh:
			s.send(frame{Type: "gone", At: b.At.String()})
			return
		default:
			err = s.batch(b)
		}
		if err != nil {
			return
		}
	}
}

func (s *stream) batch(b resource.Batch) error {
	for _, ch := range b.Changes {
		at := resource.Position{Epoch: b.At.Epoch, Revision: ch.Revision}.String()
		f := frame{Type: "put", At: at, Object: ch.Object}
		if ch.Object == nil {
			f = frame{Type: "delete", At: at, Ref: &ch.Ref}
		}
		if err := s.write(f); err != nil {
			return err
		}
	}
	if s.fresh && b.Synced {
		s.fresh = false
		return s.send(frame{Type: "synced", At: b.At.String()})
	}
	if len(b.Changes) == 0 {
		return nil // nothing of his: the next bookmark tells how far he has come
	}
	return s.rc.Flush()
}

func (s *stream) write(f frame) error {
	f.V = 1
	s.rc.SetWriteDeadline(time.Now().Add(frameWithin))
	return s.enc.Encode(f)
}

func (s *stream) send(f frame) error {
	if err := s.write(f); err != nil {
		return err
	}
	return s.rc.Flush()
}

func (h kindHandler) watch(c *call) error {
	q := c.r.URL.Query()
	for _, name := range []string{"limit", "after"} {
		if q.Get(name) != "" {
			return fault.New(fault.Invalid, "%s does not go with watch", "%s 不能与 watch 同用", name)
		}
	}
	sel, err := resource.ParseSelector(q.Get("labels"))
	if err != nil {
		return err
	}
	tenant := c.r.PathValue("tenant")
	keep := func(o *resource.Object) bool {
		return (tenant == gate.AllTenants || o.Metadata.Tenant == tenant) && sel.Matches(o.Metadata.Labels)
	}
	return h.a.watch(c, []string{h.k.Name}, keep, q.Get("watch"))
}

// watchMany is one stream of several kinds.
func (a *API) watchMany(c *call) error {
	q := c.r.URL.Query()
	kinds := strings.Split(q.Get("kinds"), ",")
	if q.Get("kinds") == "" || len(kinds) > 64 {
		return fault.New(fault.Invalid, "kinds: want names of kinds, as in kinds=site,ban", "kinds:应为类型名,例如 kinds=site,ban")
	}
	return a.watch(c, kinds, nil, q.Get("watch"))
}
