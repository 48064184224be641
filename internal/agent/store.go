package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/dun-sec/dun/internal/core/clock"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/identity/upstream"
	"github.com/dun-sec/dun/internal/core/lkg"
	"github.com/dun-sec/dun/internal/core/telemetry"
	"github.com/dun-sec/dun/internal/core/text"
	"github.com/dun-sec/dun/internal/govern/accesskeys"
	"github.com/dun-sec/dun/internal/govern/approvals"
	"github.com/dun-sec/dun/internal/govern/dayzero"
)

// reopenEvery is how often a store that does not open is tried again.
const reopenEvery = 3 * time.Second

// openGate opens the record store and brings what a release brings.
func (c *cell) openGate(ctx context.Context, stop *closers) error {
	g, err := gate.Open(ctx, gate.Options{
		Path: c.dir.File("records.db"), CheckpointFile: c.dir.File("tiles/checkpoint"), Cell: c.dir.Cell, Node: nodeName,
		Memory: memoryBudget(), Approvals: approvals.Rules{First: dayzero.Operator},
		Denials:  gate.DenialOptions{Path: c.dir.File("denials.db"), CheckpointFile: c.dir.File("tiles/denials/checkpoint"), Signer: c.keys.Denials, VKey: c.keys.DenialsVKey},
		Registry: c.reg, Signer: c.keys.Signer, VKey: c.keys.VKey, Now: c.opt.Now, Log: c.opt.Log,
	})
	if err != nil {
		return fault.New(fault.Unavailable, "the record store does not open: %s", "记录库无法打开:%s", err.Error()).Because(err)
	}
	if err := dayzero.Run(ctx, g, c.opt.Version); err != nil {
		return errors.Join(err, g.Close())
	}
	stop.add(g.Close)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gate, c.base, c.trouble = g, g.At().Revision, nil
	return nil
}

// running is the gate, nil while the store does not open.
func (c *cell) running() *gate.Gate {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gate
}

// fallBack starts the edge from what it enforced last. Without that the start
// ends as it would have.
func (c *cell) fallBack(why error) error {
	err := c.keeper.Start()
	if errors.Is(err, lkg.ErrNone) {
		return why
	}
	if err != nil {
		e := fault.Of(why)
		return fault.New(fault.Unavailable, "%s; and last-known-good cannot stand in: %s", "%s;且上次有效配置不可用:%s", e.Detail, err.Error()).Because(why)
	}
	c.mu.Lock()
	c.trouble = why
	c.mu.Unlock()
	c.say("%s", "%s", fault.Of(why).Detail)
	c.say("  the edge starts from what it enforced last, of %s; nothing can be changed until the store opens.\n  It is tried again every %s. Restore records.db, or end the program that holds it.",
		"  边缘以 %s 的上次有效配置启动;在记录库打开之前无法更改任何内容。\n  每 %s 重试一次。请恢复 records.db,或结束占用它的程序。", c.keeper.Since().Local().Format(time.DateTime), reopenEvery)
	return nil
}

// reopen tries the store again until it opens, and then goes over to it.
func (c *cell) reopen(ctx context.Context, stop *closers, f *face) error {
	t := time.NewTicker(reopenEvery)
	defer t.Stop()
	end := time.NewTimer(time.Until(c.keeper.Since().Add(lkg.MaxAge)))
	defer end.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-end.C:
			return fault.New(fault.Unavailable, "what the edge enforced last is older than %d days: it closes", "上次有效配置已超过 %d 天:边缘关闭", int(lkg.MaxAge.Hours()/24))
		case <-t.C:
		}
		if err := c.openGate(ctx, stop); err != nil {
			c.mu.Lock()
			c.trouble = err
			c.mu.Unlock()
			continue
		}
		if err := errors.Join(c.bootstrap(ctx), c.attach(f)); err != nil {
			return err
		}
		c.say("the record store is open again", "记录库已重新打开")
		return nil
	}
}

// attach gives the open store to the edge and to the faces.
func (c *cell) attach(f *face) error {
	g := c.running()
	feed, err := g.Watch(identity.Service(edgeService), []string{"Site", "Exclusion", "Ban", "Tenant", "Certificate", "DataClass"}, nil)
	if err != nil {
		return err
	}
	checks, err := c.checks(g, f)
	if err != nil {
		return err
	}
	c.openHub(g)
	keys := accesskeys.New(accesskeys.Options{Gate: g, Secrets: c.secrets, Clock: clock.New(), Log: c.opt.Log.With("part", "accesskeys")})
	c.mu.Lock()
	c.access = keys
	c.mu.Unlock()
	handler, err := c.opt.Console(Parts{
		Gate: g, Events: c.events, Checks: checks, Secrets: c.secrets, SignIn: c.signin, Keys: keys, SignUps: c.signUps(), Names: c.opt.Config.Console.Names, Upstream: &Upstream{gate: g, secrets: c.secrets, client: upstream.New(c.dialer().For, c.opt.Now)}, Status: c.status, Enter: c.enter, Join: c.hubNow().Join, NodeID: nodeID, Log: c.opt.Log,
		Views: c.views, Usage: c.usage, Dial: c.dialer().For, Floods: c.floods, Trace: c.trace.Of, Evidence: c.evidence.Open,
		Traffic: func() (requests, blocked uint64) {
			s := c.edge.Stats().Total
			return s.Requests, s.Blocked
		},
	})
	if err != nil {
		return err
	}
	f.set(handler)
	c.keeper.Use(feed)
	return nil
}

// failedControl is the role control while the store does not open.
func (c *cell) failedControl(rev uint64) telemetry.Role {
	why := "it does not open"
	if c.trouble != nil {
		why = fault.Of(c.trouble).Detail.En
	}
	return telemetry.Role{Name: "control", State: telemetry.Failed, Revision: rev, Mode: "native", Interfaces: []string{}, Missing: []telemetry.Missing{{
		Need: "records.db", Why: why, Instead: fmt.Sprintf("the edge serves what it enforced last; tried again every %s", reopenEvery),
	}}}
}

// face is what the console's door serves; it can be exchanged while it serves.
type face struct{ now atomic.Pointer[http.Handler] }

func (f *face) set(h http.Handler) { f.now.Store(&h) }

// ServeHTTP implements http.Handler.
func (f *face) ServeHTTP(w http.ResponseWriter, r *http.Request) { (*f.now.Load()).ServeHTTP(w, r) }

// Stop ends the streams of what is served now.
func (f *face) Stop() {
	if s, ok := (*f.now.Load()).(interface{ Stop() }); ok {
		s.Stop()
	}
}

// closed is the console's door while the store does not open.
func closed(w http.ResponseWriter, r *http.Request) {
	lang := text.Accept(r.Header.Get("Accept-Language"))
	e := fault.New(fault.Unavailable, "the record store does not open; the edge serves what it enforced last. On the machine dun status tells more", "记录库无法打开;边缘正按上次有效配置提供服务。请在本机运行 dun status 查看")
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Retry-After", "5")
	h.Set("Content-Language", string(lang))
	if strings.HasPrefix(r.URL.Path, "/api/") {
		h.Set("Content-Type", "application/problem+json")
		w.WriteHeader(e.Code.Status())
		// The answer is small; who left does not hear it.
		_ = json.NewEncoder(w).Encode(map[string]any{
			"type": "urn:dun:error:unavailable", "title": e.Code.Title().In(lang), "status": e.Code.Status(), "code": e.Code, "detail": e.Detail.In(lang), "request": "", "retryAfter": 5,
		})
		return
	}
	h.Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(e.Code.Status())
	fmt.Fprintln(w, e.Detail.In(lang))
}
