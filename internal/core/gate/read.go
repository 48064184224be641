package gate

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate/internal/store"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/policy"
	"github.com/dun-sec/dun/internal/core/resource"
)

// AllTenants in a list means every tenant that the actor may see.
const AllTenants = "-"

// Limits of a list.
const (
	DefaultPage = 100
	MaxPage     = 1000
	MaxList     = 1_000_000 // of a list that is read record by record
)

func readAction(kind string) string { return strings.ToLower(kind) + "." + policy.Read }

func actionName(k *resource.Kind, verb string) string { return strings.ToLower(k.Name) + "." + verb }

// Get returns one record. Missing and hidden look the same.
func (g *Gate) Get(ctx context.Context, a identity.Actor, ref resource.Ref) (*resource.Object, error) {
	s := g.state.Load()
	k, err := s.reg.Kind(ref.Kind)
	if err != nil {
		return nil, err
	}
	o := s.get(k.Name, ref.Tenant, ref.Name)
	if o == nil || !g.mayRead(s, a, o) {
		return nil, notFound(resource.Ref{Kind: k.Name, Tenant: ref.Tenant, Name: ref.Name})
	}
	return g.shown(ctx, s, a, o), nil
}

// mayRead decides about a record that was named. Of one with a class of data a
// refusal is noted, though who asks is told nothing of it (control 1-1).
func (g *Gate) mayRead(s *state, a identity.Actor, o *resource.Object) bool {
	d := g.ask(s, a, o, readAction(o.Kind), "old")
	if !d.Allowed && classed(s, o) {
		g.deny(a, key(o.Ref()), readAction(o.Kind), d.Policies)
	}
	return d.Allowed
}

// ListOptions narrow a list.
type ListOptions struct {
	Kind     string
	Tenant   string // or AllTenants
	Selector resource.Selector
	Limit    int    // 0 = DefaultPage, at most MaxPage
	After    string // cursor of the page before

	// Outline leaves out the content of what requests for assent ask for, whoever
	// reads: who needs it not need not wait until it is judged.
	Outline bool
}

// Page is one page of records, in the order of tenant and name.
type Page struct {
	Items []*resource.Object
	Next  string // cursor; "" = the end
	At    resource.Position
}

// List returns what the actor may read. A page holds records as they are now:
// one that is made behind the cursor while paging appears, none appears twice.
func (g *Gate) List(ctx context.Context, a identity.Actor, opt ListOptions) (Page, error) {
	if opt.Limit > MaxPage {
		return Page{}, tooMany(MaxPage)
	}
	l, err := g.Scan(a, opt)
	if err != nil {
		return Page{}, err
	}
	p := Page{At: l.At}
	p.Next, err = l.Each(ctx, func(o *resource.Object) bool {
		p.Items = append(p.Items, o)
		return true
	})
	if err != nil {
		return Page{}, err
	}
	return p, nil
}

func tooMany(most int) error {
	return fault.New(fault.Invalid, "limit: want 1 to %d", "limit:应为 1 到 %d", most)
}

// Listing is a list that is read record by record, as of one revision. While
// it is held the records of that revision stay in memory.
type Listing struct {
	At    resource.Position
	g     *Gate
	s     *state
	actor identity.Actor
	kind  *resource.Kind
	opt   ListOptions
	after *resource.Object
}

// Scan prepares a list of up to MaxList records.
func (g *Gate) Scan(a identity.Actor, opt ListOptions) (*Listing, error) {
	return g.scan(g.state.Load(), a, opt)
}

func (g *Gate) scan(s *state, a identity.Actor, opt ListOptions) (*Listing, error) {
	k, err := s.reg.Kind(opt.Kind)
	if err != nil {
		return nil, err
	}
	if opt.Limit == 0 {
		opt.Limit = DefaultPage
	}
	if opt.Limit < 0 || opt.Limit > MaxList {
		return nil, tooMany(MaxList)
	}
	after, err := parseCursor(opt.After, s.at.Epoch)
	if err != nil {
		return nil, err
	}
	return &Listing{At: s.at, g: g, s: s, actor: a, kind: k, opt: opt, after: after}, nil
}

// Level is the level of the class that a record has in force at the listing's
// revision; of what is not there the highest.
func (l *Listing) Level(r resource.Ref) int {
	level, _ := l.s.snap.Level(r)
	return level
}

// Each yields what the actor may read, in the order of tenant and name, and
// returns the cursor behind the last one, "" at the end. A yield that returns
// false ends it there.
func (l *Listing) Each(ctx context.Context, yield func(*resource.Object) bool) (next string, err error) {
	from := &resource.Object{}
	if l.opt.Tenant != AllTenants {
		from.Metadata.Tenant = l.opt.Tenant
	}
	if l.after != nil && objectLess(from, l.after) {
		from = l.after
	}
	count := 0
	var last *resource.Object
	l.s.trees[l.kind.Name].AscendGreaterOrEqual(from, func(o *resource.Object) bool {
		m := &o.Metadata
		switch {
		case l.opt.Tenant != AllTenants && m.Tenant != l.opt.Tenant || ctx.Err() != nil:
			return false
		case l.after != nil && !objectLess(l.after, o), !l.opt.Selector.Matches(m.Labels), !l.g.ask(l.s, l.actor, o, readAction(l.kind.Name), "old").Allowed:
			return true
		case count == l.opt.Limit:
			next = cursor(l.At.Epoch, last.Metadata.Tenant, last.Metadata.Name)
			return false
		}
		count, last = count+1, o
		return yield(l.shown(ctx, o))
	})
	if err := ctx.Err(); err != nil {
		return "", fmt.Errorf("list %s: %w", l.kind.Plural, err)
	}
	return next, nil
}

func (l *Listing) shown(ctx context.Context, o *resource.Object) *resource.Object {
	if l.opt.Outline && l.g.AsksAssent(o.Kind) {
		return l.g.opt.Approvals.Withhold(o)
	}
	return l.g.shown(ctx, l.s, l.actor, o)
}

func cursor(epoch, tenant, name string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(epoch + "\x00" + tenant + "\x00" + name))
}

func parseCursor(s, epoch string) (*resource.Object, error) {
	if s == "" {
		return nil, nil
	}
	bad := fault.New(fault.Invalid, "after: not a cursor of this list; start again without it", "after:不是此列表的游标;请去掉后重新开始")
	if len(s) > 512 {
		return nil, bad
	}
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return nil, bad
	}
	parts := strings.Split(string(b), "\x00")
	if len(parts) != 3 || parts[0] != epoch {
		return nil, bad
	}
	return &resource.Object{Metadata: resource.Metadata{Tenant: parts[1], Name: parts[2]}}, nil
}

// Version is one change of a record.
type Version struct {
	Revision uint64           `json:"revision"`
	Time     time.Time        `json:"time"`
	Action   string           `json:"action"`
	Actor    string           `json:"actor"`
	Request  string           `json:"request,omitempty"`
	Leaf     uint64           `json:"leaf"` // its number in the audit log
	Object   *resource.Object `json:"object,omitempty"`
}

// History lists the changes of a record, newest first, also of a deleted one.
// A version is shown to whoever might read the record as it was then.
func (g *Gate) History(ctx context.Context, a identity.Actor, ref resource.Ref, before uint64, limit int) ([]Version, error) {
	s := g.state.Load()
	k, err := s.reg.Kind(ref.Kind)
	if err != nil {
		return nil, err
	}
	if limit <= 0 || limit > MaxPage {
		limit = DefaultPage
	}
	if now := s.get(k.Name, ref.Tenant, ref.Name); now != nil && !g.mayRead(s, a, now) {
		return nil, notFound(ref)
	}
	out, err := g.versions(ctx, s, a, resource.Ref{Kind: k.Name, Tenant: ref.Tenant, Name: ref.Name}, before, limit)
	if err != nil || len(out) > 0 {
		return out, err
	}
	if before != 0 { // the end of a record that may be read, or a record that may not
		_, err := g.History(ctx, a, ref, 0, 1)
		return nil, err
	}
	return nil, notFound(ref)
}

// versions reads on until it has found limit versions that may be shown: the
// hidden ones between them do not end the list.
func (g *Gate) versions(ctx context.Context, s *state, a identity.Actor, ref resource.Ref, before uint64, limit int) ([]Version, error) {
	var out []Version
	for before = min(before, s.at.Revision+1); ; {
		rows, err := g.store.History(ctx, ref.Kind, ref.Tenant, ref.Name, before, limit+1)
		if err != nil {
			return nil, err
		}
		for i, c := range rows[:min(limit, len(rows))] {
			shown, v, err := g.version(ctx, s, a, rows, i)
			if err != nil {
				return nil, err
			}
			if !shown {
				continue
			}
			v.Revision, v.Time, v.Action, v.Actor, v.Request, v.Leaf = c.Revision, time.UnixMicro(c.Time).UTC(), c.Action, c.Actor, c.Request, c.Seq
			if out = append(out, v); len(out) == limit {
				return out, nil
			}
		}
		if len(rows) <= limit {
			return out, nil
		}
		before = rows[limit-1].Revision
	}
}

// version decides about rows[i]; a deletion is judged by what it deleted.
func (g *Gate) version(ctx context.Context, s *state, a identity.Actor, rows []store.Change, i int) (bool, Version, error) {
	data := rows[i].Data
	if data == nil {
		if i+1 == len(rows) {
			return false, Version{}, nil
		}
		data = rows[i+1].Data
	}
	if data == nil {
		return false, Version{}, errors.New("two deletions of a record in a row")
	}
	o, err := g.opt.Registry.Load(data)
	if err != nil {
		return false, Version{}, err
	}
	v := Version{}
	if rows[i].Data != nil {
		v.Object = g.shown(ctx, s, a, o)
	}
	return g.ask(s, a, o, readAction(o.Kind), "old").Allowed, v, nil
}

// May reports whether the actor may do what is asked about a tenant as a
// whole, such as reading its events; forbidden otherwise.
func (g *Gate) May(a identity.Actor, action, tenant string) error {
	d := g.state.Load().snap.Decide(policy.Query{Principal: a.Principal, Action: action, Tenant: tenant, Context: g.context(a, "old")})
	if d.Allowed {
		return nil
	}
	g.deny(a, resource.Ref{Kind: "Tenant", Tenant: resource.Platform, Name: tenant}, action, d.Policies)
	e := fault.New(fault.Forbidden, "%s lacks %s on tenant %s", "%s 在租户 %[3]s 上没有 %[2]s 权限", a, action, tenant)
	return e
}

// Tenants lists the tenants on which the actor may do what is asked.
func (g *Gate) Tenants(a identity.Actor, action string) []string {
	s := g.state.Load()
	names := []string{}
	s.trees["Tenant"].Ascend(func(o *resource.Object) bool {
		names = append(names, o.Metadata.Name)
		return true
	})
	var out []string
	for _, n := range names {
		if s.snap.Decide(policy.Query{Principal: a.Principal, Action: action, Tenant: n, Context: g.context(a, "old")}).Allowed {
			out = append(out, n)
		}
	}
	return out
}
