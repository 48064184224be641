package nodelink

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/text"
)

// Waits between tries to reach the control plane; each is spread by half, so
// that nodes do not come all at once.
const (
	firstWait = 100 * time.Millisecond
	lastWait  = 5 * time.Second
)

// Feed is what the node's roles follow. It goes on over breaks of the link: a
// new stream begins with everything (Batch.Reset), and until then nothing
// moves. It ends with ErrRemoved alone, or with its context.
func (l *Link) Feed() resource.Feed { return &feed{l: l} }

type feed struct {
	l    *Link
	s    *stream
	wait time.Duration
}

// stream is one connection's worth of frames.
type stream struct {
	lines  *bufio.Scanner
	body   io.Closer
	cancel context.CancelFunc
	alive  *time.Timer // cancels a stream that says nothing
	fresh  bool        // the state has not been given yet
}

func (s *stream) close() {
	s.alive.Stop()
	s.cancel()
	_ = s.body.Close() // it is given up
}

// Next implements resource.Feed.
func (f *feed) Next(ctx context.Context) (resource.Batch, error) {
	for {
		b, err := f.try(ctx)
		if err == nil {
			f.wait = 0
			f.l.state(true, nil)
			return b, nil
		}
		if f.s != nil {
			f.s.close()
			f.s = nil
		}
		if ctx.Err() != nil {
			return resource.Batch{}, ctx.Err()
		}
		f.l.state(false, told(err))
		if errors.Is(err, ErrRemoved) {
			return resource.Batch{}, err
		}
		f.l.opt.Log.Debug("no link to the control plane", "err", err)
		f.wait = min(max(2*f.wait, firstWait), lastWait)
		t := time.NewTimer(f.wait/2 + rand.N(f.wait/2))
		select {
		case <-ctx.Done():
			t.Stop()
		case <-t.C:
		}
	}
}

// told puts what broke the link into words for who asks how the node is.
func told(err error) error {
	if fault.Of(err).Code != fault.Internal {
		return err
	}
	return fault.New(fault.Unavailable, "the link broke: %s", "连接中断:%s", err.Error()).Because(err)
}

// errAgain says that the control plane asks to list again.
var errAgain = errors.New("list again")

func (f *feed) try(ctx context.Context) (resource.Batch, error) {
	if f.s == nil {
		s, err := f.l.open(ctx)
		if err != nil {
			return resource.Batch{}, err
		}
		f.s = s
	}
	defer context.AfterFunc(ctx, f.s.cancel)()
	return f.s.next(f.l)
}

func (l *Link) open(ctx context.Context) (*stream, error) {
	body, err := json.Marshal(WatchRequest{V: Schema, Version: l.opt.Version})
	if err != nil {
		return nil, err
	}
	whole, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer context.AfterFunc(ctx, cancel)() // it outlives this call
	alive := time.AfterFunc(Silence, cancel)
	res, err := l.client.Load().Call(whole, Service, Watch, bytes.NewReader(body))
	if err != nil {
		alive.Stop()
		cancel()
		return nil, removed(err)
	}
	lines := bufio.NewScanner(res)
	lines.Buffer(make([]byte, 0, 64<<10), MaxLine)
	return &stream{lines: lines, body: res, cancel: cancel, alive: alive, fresh: true}, nil
}

// next reads up to the next bookmark.
func (s *stream) next(l *Link) (resource.Batch, error) {
	b := resource.Batch{Reset: s.fresh}
	skipped := map[string]bool{}
	for s.lines.Scan() {
		s.alive.Reset(Silence)
		l.hear()
		var f Frame
		if err := json.Unmarshal(s.lines.Bytes(), &f); err != nil {
			return b, fmt.Errorf("read a frame: %w", err)
		}
		if f.V != Schema {
			return b, fmt.Errorf("the control plane speaks schema %d; this release reads %d", f.V, Schema)
		}
		switch f.Type {
		case "put":
			c, err := l.put(f)
			if err != nil {
				skipped[err.Error()] = true
				continue
			}
			if c != nil {
				b.Changes = append(b.Changes, *c)
			}
		case "delete":
			at, err := resource.ParsePosition(f.At)
			if err != nil || f.Ref == nil {
				return b, errors.New("a deletion without a place or a name")
			}
			b.Changes = append(b.Changes, resource.Change{Ref: *f.Ref, Revision: at.Revision})
		case "synced", "bookmark":
			at, err := resource.ParsePosition(f.At)
			if err != nil {
				return b, err
			}
			return b, s.finish(l, &b, at, skipped)
		case "gone":
			return b, errAgain
		case "error":
			return b, refused(f.Error)
		}
	}
	if err := s.lines.Err(); err != nil {
		return b, fmt.Errorf("read the stream: %w", err)
	}
	return b, errors.New("the control plane ended the stream")
}

// finish makes the batch whole. What is older than what was enforced before is
// refused: somebody put an old copy of the records in the control plane's place.
func (s *stream) finish(l *Link, b *resource.Batch, at resource.Position, skipped map[string]bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if at.Epoch == l.floor.Epoch && at.Revision < l.floor.Revision {
		return fault.New(fault.Unavailable, "its records are of revision %d, older than %d that was enforced before: it is not followed", "其记录为修订 %d,早于已生效的 %d:不予采用", at.Revision, l.floor.Revision)
	}
	l.floor = at
	b.At, b.Synced = at, true
	if s.fresh {
		clear(l.skipped)
		s.fresh = false
	}
	for name := range skipped {
		l.skipped[name] = true
	}
	return nil
}

// put reads a record; nil for a kind that this release does not know.
func (l *Link) put(f Frame) (*resource.Change, error) {
	var head struct {
		Kind     string
		Metadata struct{ Tenant, Name string }
	}
	if err := json.Unmarshal(f.Object, &head); err != nil {
		return nil, errors.New("a record that is none")
	}
	if _, err := l.opt.Registry.Kind(head.Kind); err != nil {
		return nil, nil
	}
	o, err := l.opt.Registry.Load(f.Object)
	if err != nil {
		return nil, fmt.Errorf("%s %s/%s", head.Kind, head.Metadata.Tenant, head.Metadata.Name)
	}
	return &resource.Change{Ref: o.Ref(), Object: o, Revision: o.Metadata.Revision}, nil
}

func refused(e *FrameError) error {
	if e == nil {
		return errors.New("the control plane ended the stream with an error")
	}
	return removed(fault.New(fault.Code(e.Code), "%s", "%s", text.T(e.En, e.Zh)))
}
