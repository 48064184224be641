package nodes

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/nodelink"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/rpc"
	"github.com/dun-sec/dun/internal/kinds/system"
)

// frameWithin is how long one write to a node may take; a slower one is cut and
// begins anew.
const frameWithin = 10 * time.Second

// watch streams to a node what policy lets it see of the kinds that its roles
// watch.
func (h *Hub) watch(w http.ResponseWriter, r *http.Request, p rpc.Peer) error {
	var in nodelink.WatchRequest
	if err := read(r, &in); err != nil {
		return err
	}
	if in.V != nodelink.Schema {
		return fault.New(fault.Invalid, "the node speaks schema %d; this release serves %d", "节点使用模式 %d;此版本提供 %d", in.V, nodelink.Schema)
	}
	o, err := h.record(r.Context(), p.Principal.Name)
	if err != nil {
		return err
	}
	feed, err := h.opt.Gate.Watch(actor(r, p), h.kinds(o), nil)
	if err != nil {
		return err
	}
	defer h.arrive(p.Principal.Name, identity.Source(r.RemoteAddr))()
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(http.StatusOK)
	s := &stream{rc: http.NewResponseController(w), enc: json.NewEncoder(w), sent: map[resource.Ref]uint64{}}
	s.run(r.Context(), feed, func() error { return h.admit(r.Context(), r, p) })
	return nil
}

// kinds are those that one of the node's roles watches.
func (h *Hub) kinds(o *resource.Object) []string {
	roles := o.Spec.(*system.NodeSpec).Roles
	var out []string
	for _, k := range h.opt.Gate.Registry().All() {
		if slices.ContainsFunc(k.NodeRoles, func(r string) bool { return slices.Contains(roles, r) }) {
			out = append(out, k.Name)
		}
	}
	return out
}

// stream writes frames to one node.
type stream struct {
	rc   *http.ResponseController
	enc  *json.Encoder
	sent map[resource.Ref]uint64 // revision of what the node has: a status alone moves nothing there
	any  bool                    // the state was sent
}

// run ends when the node does, is no node any more, or has to list again.
func (s *stream) run(ctx context.Context, feed resource.Feed, admit func() error) {
	for {
		beat, cancel := context.WithTimeout(ctx, nodelink.Heartbeat)
		b, err := feed.Next(beat)
		cancel()
		if ctx.Err() != nil {
			return
		}
		if aerr := admit(); aerr != nil {
			err = aerr
		}
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			err = s.send(nodelink.Frame{Type: "bookmark", At: b.At.String()})
		case err != nil:
			e := fault.Of(err)
			_ = s.send(nodelink.Frame{Type: "error", Error: &nodelink.FrameError{Code: string(e.Code), En: e.Detail.En, Zh: e.Detail.Zh}}) // it ends anyway
			return
		case b.Reset && s.any:
			_ = s.send(nodelink.Frame{Type: "gone", At: b.At.String()})
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
	for _, c := range b.Changes {
		ref := c.Ref
		ref.UID = ""
		at := resource.Position{Epoch: b.At.Epoch, Revision: c.Revision}.String()
		if c.Object == nil {
			delete(s.sent, ref)
			if err := s.write(nodelink.Frame{Type: "delete", At: at, Ref: &c.Ref}); err != nil {
				return err
			}
			continue
		}
		if s.sent[ref] == c.Object.Metadata.Revision {
			continue
		}
		stored, err := c.Object.Stored()
		if err != nil {
			return err
		}
		if err := s.write(nodelink.Frame{Type: "put", At: at, Object: stored}); err != nil {
			return err
		}
		s.sent[ref] = c.Object.Metadata.Revision
	}
	end := "bookmark"
	if !s.any {
		if !b.Synced {
			return s.rc.Flush()
		}
		s.any, end = true, "synced"
	}
	return s.send(nodelink.Frame{Type: end, At: b.At.String()})
}

func (s *stream) write(f nodelink.Frame) error {
	f.V = nodelink.Schema
	// Where a deadline cannot be set, the ping of the connection ends it.
	_ = s.rc.SetWriteDeadline(time.Now().Add(frameWithin))
	return s.enc.Encode(f)
}

func (s *stream) send(f nodelink.Frame) error {
	if err := s.write(f); err != nil {
		return err
	}
	return s.rc.Flush()
}
