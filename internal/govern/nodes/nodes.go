// Package nodes is the control plane's end of the link to every node: it lets
// machines join by a token, streams to each node the records that policy lets
// it see, opens keys for it one by one, takes its events, usage and verdicts,
// and tells how it is. It owns the status of Node records. It acts for nodes
// under their own name, so that policy decides what each one gets, and it never
// dials: nodes come to it.
package nodes

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/dun-sec/dun/internal/core/events"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/nodelink"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/rpc"
	"github.com/dun-sec/dun/internal/core/secret"
	"github.com/dun-sec/dun/internal/core/usage"
	"github.com/dun-sec/dun/internal/core/verdicts"
	"github.com/dun-sec/dun/internal/kinds/system"
)

// Gate is what the hub asks of core/gate.
type Gate interface {
	Apply(context.Context, gate.Request) ([]gate.Result, error)
	Get(context.Context, identity.Actor, resource.Ref) (*resource.Object, error)
	List(context.Context, identity.Actor, gate.ListOptions) (gate.Page, error)
	SetStatus(context.Context, identity.Actor, resource.Ref, any) (*resource.Object, error)
	Watch(identity.Actor, []string, func(*resource.Object) bool) (resource.Feed, error)
	Registry() *resource.Registry
	At() resource.Position
	RefusedAt(identity.Actor, resource.Ref, string)
}

// Authority signs for keys that nodes hold.
type Authority interface {
	DER() []byte
	IssuePrincipalFor(cell string, p resource.Ref, key *ecdsa.PublicKey) ([]byte, error)
	IssueFor(key *ecdsa.PublicKey, hosts ...string) ([]byte, error)
}

// Secrets seals private keys to nodes.
type Secrets interface {
	SealTo(ctx context.Context, a identity.Actor, owner resource.Ref, ref secret.Ref, purpose string, node resource.Ref, public []byte) ([]byte, error)
}

// Events keeps what nodes saw.
type Events interface {
	Add(events.Event)
	Flush(context.Context) error
}

// Usage keeps what their sites took.
type Usage interface {
	Add(ctx context.Context, at time.Time, entries []usage.Entry) error
}

// Challenges answers ACME authorities.
type Challenges interface {
	HTTP(tenant, host, path string) (answer string, ok bool)
}

// Floods takes what nodes counted of floods, and says what is to be done there.
type Floods interface {
	Take(node string, r nodelink.FloodReport) nodelink.FloodReply
}

// Options of a Hub. Gate, Authority, Cell, Local and Log are needed; without
// one of the others a node is told that it is unavailable.
type Options struct {
	Gate       Gate
	Authority  Authority
	Cell       string
	Local      string // name of this node
	Roles      []string
	Secrets    Secrets
	Events     Events
	Usage      Usage
	Verdicts   *verdicts.Set
	Challenges Challenges
	Floods     Floods
	Self       func() nodelink.Report // how this node is; nil = not told
	Address    string                 // of the service, told to who joins; "" = nobody can
	Log        *slog.Logger
	Now        func() time.Time
}

// Hub is safe for concurrent use.
type Hub struct {
	opt  Options
	me   identity.Actor
	auth rpc.Authenticator

	joining sync.Mutex // one machine at a time

	mu   sync.Mutex
	seen map[string]*seen // by node; bounded by the records
}

// seen is what a node told last.
type seen struct {
	report  nodelink.Report
	at      time.Time
	source  string
	streams int
	behind  time.Time // since when a newer revision waits
}

// New makes a hub.
func New(opt Options) *Hub {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	h := &Hub{opt: opt, me: identity.Service(system.NodeOwner), seen: map[string]*seen{}}
	h.auth = &admitted{hub: h, certificates: rpc.Certificates{Cell: opt.Cell, Now: opt.Now}}
	return h
}

// Auth admits the nodes whose record is there, by the key that joined.
func (h *Hub) Auth() rpc.Authenticator { return h.auth }

// Services is what nodes may call.
func (h *Hub) Services() []rpc.Service {
	callers := []rpc.Caller{{Kind: "Node", Tenant: resource.Platform, Name: "*"}}
	method := func(name string, most int64, f func(http.ResponseWriter, *http.Request, rpc.Peer) error) rpc.Method {
		return rpc.Method{Name: name, Callers: callers, MaxBody: most, Handle: func(w http.ResponseWriter, r *http.Request, p rpc.Peer) {
			if err := f(w, r, p); err != nil {
				rpc.Refuse(w, err)
			}
		}}
	}
	return []rpc.Service{{Name: nodelink.Service, Methods: []rpc.Method{
		method(nodelink.Watch, nodelink.MaxReport, h.watch),
		method(nodelink.ReportState, nodelink.MaxReport, h.report),
		method(nodelink.Key, nodelink.MaxReport, h.key),
		method(nodelink.Certificates, nodelink.MaxReport, h.certificates),
		method(nodelink.Events, 4<<20, h.events),
		method(nodelink.Usage, nodelink.MaxLine, h.usage),
		method(nodelink.Digest, nodelink.MaxReport, h.digest),
		method(nodelink.Entries, verdicts.MaxMessage, h.entries),
		method(nodelink.Merge, verdicts.MaxMessage, h.merge),
		method(nodelink.Floods, nodelink.MaxFloodReport, h.floods),
		method(nodelink.Challenge, nodelink.MaxReport, h.challenge),
		method(nodelink.Renew, 1024, h.renew),
	}}}
}

// record reads a node's record.
func (h *Hub) record(ctx context.Context, name string) (*resource.Object, error) {
	return h.opt.Gate.Get(ctx, h.me, nodelink.NodeRef(name))
}

// all lists the records of nodes.
func (h *Hub) all(ctx context.Context) ([]*resource.Object, error) {
	var out []*resource.Object
	opt := gate.ListOptions{Kind: "Node", Tenant: resource.Platform, Limit: 1000}
	for {
		page, err := h.opt.Gate.List(ctx, h.me, opt)
		if err != nil {
			return nil, err
		}
		out = append(out, page.Items...)
		if opt.After = page.Next; page.Next == "" {
			return out, nil
		}
	}
}

// actor is a node that acts through the service.
func actor(r *http.Request, p rpc.Peer) identity.Actor {
	return identity.Actor{Principal: p.Principal, Door: "rpc", Source: identity.Source(r.RemoteAddr)}
}

// placed reports whether a tenant's data may be on a node.
func placed(o *resource.Object, tenant string) bool {
	s := o.Spec.(*system.NodeSpec)
	return len(s.Tenants) == 0 || slices.Contains(s.Tenants, tenant)
}

// tells reports whether a node may tell of a tenant: of those that are placed
// there, and, as every machine, of itself.
func tells(o *resource.Object, tenant string) bool {
	return tenant == resource.Platform || placed(o, tenant)
}

// number is the smallest that no node has; 1 is this one's.
func number(all []*resource.Object) int {
	taken := map[int]bool{1: true}
	for _, o := range all {
		taken[system.NodeStateOf(o).Number] = true
	}
	n := 2
	for taken[n] {
		n++
	}
	return n
}

// byName sorts records.
func byName(a, b *resource.Object) int { return cmp.Compare(a.Metadata.Name, b.Metadata.Name) }
