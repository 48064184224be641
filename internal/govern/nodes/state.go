package nodes

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/nodelink"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/rpc"
	"github.com/dun-sec/dun/internal/core/telemetry"
	"github.com/dun-sec/dun/internal/kinds/system"
)

const (
	lookEvery = time.Second
	lagging   = 30 * time.Second // after which a node that is behind is drift
	maxRoles  = 32               // of a report
	maxText   = 256              // bytes of a text in a report
)

// report takes how a node is.
func (h *Hub) report(w http.ResponseWriter, r *http.Request, p rpc.Peer) error {
	var in nodelink.Report
	if err := read(r, &in); err != nil {
		return err
	}
	if len(in.Roles) > maxRoles || len(in.Version) > maxText || len(in.Endpoints) > maxRoles {
		return fault.New(fault.Invalid, "the report is too long", "报告过长")
	}
	now := h.opt.Now()
	at := h.opt.Gate.At()
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.of(p.Principal.Name)
	s.report, s.at, s.source = in, now, identity.Source(r.RemoteAddr)
	if in.Epoch == at.Epoch && in.Revision >= at.Revision {
		s.behind = time.Time{}
	} else if s.behind.IsZero() {
		s.behind = now
	}
	return reply(w, struct{}{})
}

// of is what is known of a node; h.mu is held. Only admitted nodes get here.
func (h *Hub) of(name string) *seen {
	s := h.seen[name]
	if s == nil {
		s = &seen{}
		h.seen[name] = s
	}
	return s
}

// arrive counts a stream; the function that it returns ends that.
func (h *Hub) arrive(name, from string) (leave func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.of(name)
	s.streams++
	s.at, s.source = h.opt.Now(), from
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		s.streams--
	}
}

// Nodes tells how the nodes are, but for this one.
func (h *Hub) Nodes(ctx context.Context) []telemetry.Node {
	all, err := h.all(ctx)
	if err != nil {
		h.opt.Log.Error("nodes are not listed", "err", err)
		return nil
	}
	slices.SortFunc(all, byName)
	now, at := h.opt.Now(), h.opt.Gate.At()
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []telemetry.Node
	for _, o := range all {
		spec := o.Spec.(*system.NodeSpec)
		if o.Metadata.Name == h.opt.Local || spec.Disabled || system.NodeStateOf(o).Key == "" {
			continue
		}
		n := telemetry.Node{Name: o.Metadata.Name, Roles: spec.Roles}
		if s := h.seen[o.Metadata.Name]; s != nil {
			n.Version, n.Seen = s.report.Version, s.at.UTC()
			if s.report.Epoch == at.Epoch {
				n.Revision = s.report.Revision
			}
			if !s.behind.IsZero() {
				n.LagMs = now.Sub(s.behind).Milliseconds()
			}
		}
		out = append(out, n)
	}
	return out
}

// Run keeps the record of this node and the status of all until ctx ends.
func (h *Hub) Run(ctx context.Context) {
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	for {
		if err := h.look(ctx); err != nil && ctx.Err() == nil {
			h.opt.Log.Error("the state of nodes is not told", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// own makes the record of the node that holds the records.
func (h *Hub) own(ctx context.Context) error {
	if _, err := h.record(ctx, h.opt.Local); !fault.Is(err, fault.NotFound) {
		return err
	}
	o := &resource.Object{Kind: "Node", Version: 1, Metadata: resource.Metadata{Tenant: resource.Platform, Name: h.opt.Local}, Spec: &system.NodeSpec{Roles: h.opt.Roles}}
	_, err := h.opt.Gate.Apply(ctx, gate.Request{Actor: h.me, Reason: "the machine that holds the records", Changes: []gate.Change{{Op: gate.Put, Ref: o.Ref(), Object: o}}})
	return err
}

// look writes the status of nodes that are not as they were.
func (h *Hub) look(ctx context.Context) error {
	if err := h.own(ctx); err != nil {
		return err
	}
	all, err := h.all(ctx)
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, o := range all {
		known[o.Metadata.Name] = true
		var next *system.NodeStatus
		switch {
		case o.Metadata.Name == h.opt.Local && h.opt.Self != nil:
			next = h.told(o, h.opt.Self(), "connected")
		case o.Metadata.Name == h.opt.Local || system.NodeStateOf(o).Key == "":
			continue
		default:
			next = h.status(o)
		}
		if had, ok := o.Status.(*system.NodeStatus); ok && had != nil && same(had, next) {
			continue
		}
		if _, err := h.opt.Gate.SetStatus(ctx, h.me, o.Ref(), next); err != nil && !fault.Is(err, fault.NotFound) {
			return err
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for name, s := range h.seen {
		if !known[name] && s.streams == 0 {
			delete(h.seen, name)
		}
	}
	return nil
}

func (h *Hub) status(o *resource.Object) *system.NodeStatus {
	now := h.opt.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.seen[o.Metadata.Name]
	if s == nil {
		return h.told(o, nodelink.Report{}, "unknown")
	}
	state := "connected"
	if s.streams == 0 || now.Sub(s.at) > nodelink.Silence {
		state = "silent"
	}
	out := h.told(o, s.report, state)
	out.Address = s.source
	return out
}

// told is the status of a node by its report.
func (h *Hub) told(o *resource.Object, r nodelink.Report, state string) *system.NodeStatus {
	out := &system.NodeStatus{State: state, Version: r.Version}
	for _, r := range r.Roles {
		role := system.NodeRole{Name: clip(r.Name), State: clip(r.State)}
		for _, m := range r.Missing[:min(len(r.Missing), maxRoles)] {
			role.Missing = append(role.Missing, clip(m.Need+": "+m.Why))
		}
		out.Roles = append(out.Roles, role)
	}
	since := h.opt.Now().UTC().Truncate(time.Second)
	if had, ok := o.Status.(*system.NodeStatus); ok && had != nil && had.State == state && had.Since != nil {
		since = *had.Since
	}
	out.Since = &since
	return out
}

func same(a, b *system.NodeStatus) bool {
	return a.State == b.State && a.Version == b.Version && a.Address == b.Address && slices.EqualFunc(a.Roles, b.Roles, func(x, y system.NodeRole) bool {
		return x.Name == y.Name && x.State == y.State && slices.Equal(x.Missing, y.Missing)
	})
}

// clip bounds a text of a node.
func clip(s string) string { return s[:min(len(s), maxText)] }

// Behind is a node that does not enforce what was ordered.
type Behind struct{ Node, Why string }

// Drift lists the nodes that are silent or behind for longer than half a
// minute.
func (h *Hub) Drift(ctx context.Context) ([]Behind, error) {
	all, err := h.all(ctx)
	if err != nil {
		return nil, err
	}
	now := h.opt.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []Behind
	for _, o := range all {
		if o.Metadata.Name == h.opt.Local || o.Spec.(*system.NodeSpec).Disabled || system.NodeStateOf(o).Key == "" {
			continue
		}
		s := h.seen[o.Metadata.Name]
		switch {
		case s == nil:
			out = append(out, Behind{o.Metadata.Name, "it has not connected since this process began"})
		case now.Sub(s.at) > lagging:
			out = append(out, Behind{o.Metadata.Name, "it was heard last at " + s.at.UTC().Format(time.RFC3339)})
		case !s.behind.IsZero() && now.Sub(s.behind) > lagging:
			out = append(out, Behind{o.Metadata.Name, "it enforces less than was ordered since " + s.behind.UTC().Format(time.RFC3339)})
		}
	}
	return out, nil
}
