package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/dun-sec/dun/internal/core/file"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/telemetry"
	"github.com/dun-sec/dun/internal/core/traffic"
	"github.com/dun-sec/dun/internal/govern/thresholds"
	"github.com/dun-sec/dun/internal/plane/detect"
)

const (
	detectService = "detect"
	learnedFile   = "learned" // of thresholds, in DIR
	keepLearned   = 10 * time.Minute
)

// remember takes up what an earlier process learned. Without it thresholds start
// at their floors, which is said and keeps nobody from starting.
func (c *cell) remember() {
	b, err := readLearned(c.dir.File(learnedFile))
	if err == nil {
		err = c.detect.Remember(b)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.opt.Log.Error("thresholds are learned anew", "err", err)
	}
}

func readLearned(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, detect.MaxMemory+1))
	if err != nil {
		return nil, fmt.Errorf("read what was learned: %w", err)
	}
	return b, nil
}

// memorises keeps what was learned, every ten minutes and at the end.
func (c *cell) memorises(ctx context.Context) {
	t := time.NewTicker(keepLearned)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			c.memorise()
			return
		case <-t.C:
			c.memorise()
		}
	}
}

func (c *cell) memorise() {
	b := c.detect.Memory()
	if b == nil {
		return
	}
	if err := file.Replace(c.dir.File(learnedFile), 0o600, b); err != nil {
		c.opt.Log.Error("what was learned of thresholds is not kept", "err", err)
	}
}

// drafts reports what was learned, once the records are there.
func (c *cell) drafts(ctx context.Context) {
	g := c.opened(ctx)
	if g == nil || c.flows == nil && !c.scrub.works() {
		return
	}
	thresholds.Run(ctx, thresholds.Options{Gate: g, Learned: c.detect.Learned, Log: c.opt.Log.With("part", "thresholds")})
}

// detects takes thresholds from the records, once they are there.
func (c *cell) detects(ctx context.Context) {
	g := c.opened(ctx)
	if g == nil {
		return
	}
	feed, err := g.Watch(identity.Service(detectService), []string{"ProtectedAddress"}, nil)
	if err == nil {
		err = c.detect.Run(ctx, feed)
	}
	if err != nil && ctx.Err() == nil {
		c.opt.Log.Error("thresholds of records are not followed", "err", err)
	}
}

func (c *cell) counted(r traffic.Reading) { c.detect.Count(r) }
func (c *cell) sampled(s traffic.Sample)  { c.detect.Sample(s) }

// obeys is who carries orders out; nil = nobody filters here: attacks are told,
// that is all.
func (c *cell) obeys() func(traffic.Order) bool {
	if !c.scrub.works() {
		return nil
	}
	return c.scrub.centre.Obey
}

// detectRole is the state of the detection centre.
func (c *cell) detectRole() telemetry.Role {
	r := telemetry.Role{Name: detectService, State: telemetry.Enforcing, Mode: "native", Interfaces: []string{}, Missing: []telemetry.Missing{}}
	native := c.scrub.works()
	switch {
	case !native && c.flows == nil:
		r.State = telemetry.Off
		r.Missing = append(r.Missing, telemetry.Missing{Need: "counters", Why: "no interface is filtered and no exporter is named", Instead: "floods are not seen"})
	case native && c.flows != nil:
		r.Mode = "native, flows"
	case c.flows != nil:
		r.Mode = "flows"
	}
	if c.flows != nil {
		if r.Missing = append(r.Missing, c.flowLacks()...); len(r.Missing) > 0 {
			r.State = telemetry.Degraded
		}
	}
	return r
}

// floods is what goes to protected addresses, with the attacks under way.
func (c *cell) floods() func() map[resource.Ref]traffic.Live {
	if !c.scrub.works() && c.flows == nil {
		return nil
	}
	return func() map[resource.Ref]traffic.Live {
		all := c.merged()
		for _, a := range c.detect.Attacks() {
			if l, ok := all[a.Of]; ok {
				l.Attack = a.ID
				if !a.Lease.IsZero() {
					l.Lease = &a.Lease
				}
				all[a.Of] = l
			}
		}
		return all
	}
}

// traces remembers what goes to protected addresses, for graphs.
func (c *cell) traces(ctx context.Context) {
	live := c.floods()
	if live == nil {
		return
	}
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			c.trace.Take(c.opt.Now(), live())
		}
	}
}
