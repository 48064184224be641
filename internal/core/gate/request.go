package gate

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/text"
)

// Op is what a Change does.
type Op uint8

// The operations. There is no unconditional one: all but a creation name the
// revision that was read.
const (
	Put     Op = iota + 1 // create without a revision, replace with one
	Patch                 // JSON merge patch (RFC 7396) with a revision
	Delete                // with a revision
	Act                   // carry out a verb on the state, with a revision
	Release               // take a finalizer off, with a revision; of a record that waits for nobody else it is the end
)

// Change is one wanted change of one record.
type Change struct {
	Op       Op
	Ref      resource.Ref // UID is optional; when given it must match
	Object   *resource.Object
	Document *resource.Node // of Put, instead of Object: as it was sent, with its revision
	Patch    map[string]any
	Verb     string // of Act; of Release the finalizer
	Input    any    // of the verb, encodable as JSON; nil = none
	Revision uint64 // that was read; 0 = create

	input any // decoded
}

// Decoded is the input of a verb as the kind's own type; nil before Apply.
func (c *Change) Decoded() any { return c.input }

// Request is what one caller wants, all of it or nothing.
type Request struct {
	Actor          identity.Actor
	Changes        []Change
	Reason         string   // of the person, up to 1 KiB; in the leaf
	IdempotencyKey string   // scoped to the actor; "" = none
	Hash           [32]byte // of what was sent; the same key with another hash is invalid

	// Ask makes a request for assent of it, whether any is needed or not; it is
	// carried out between Open and Close, where they are set.
	Ask         bool
	Open, Close time.Time

	// BreakGlass carries it out without the assent that it needs, with a reason,
	// where policy lets the actor; an incident tells of it in the same transaction.
	BreakGlass bool

	approved []identity.Actor   // who assented; nil = nobody was asked
	glass    []*resource.Object // that a change by break-glass brings along
}

// Result is what became of one change.
type Result struct {
	Ref       resource.Ref
	Object    *resource.Object // nil after a deletion
	Revision  uint64           // of the change; of the record where nothing changed
	Created   bool
	Unchanged bool // the record already said so: no revision, no leaf
	Replayed  bool // the answer of an earlier request with the same idempotency key

	waits *Waiting
}

const (
	maxReason = 1024
	maxKey    = 128

	// MaxChanges is how many changes one request may hold.
	MaxChanges = 100
)

// Apply carries out a request. It returns when the change is on disk, or with
// an error when none of it happened; the error is a *Waiting where it waits for
// the assent of others. A context that ends before the writer
// took the request withdraws it; later the outcome is waited for.
func (g *Gate) Apply(ctx context.Context, req Request) ([]Result, error) {
	var out []Result
	m, err := g.prepare(ctx, req, &out)
	if err != nil {
		return nil, err
	}
	if err := g.submit(ctx, m); err != nil {
		return nil, err
	}
	if len(out) == 1 && out[0].waits != nil {
		return nil, out[0].waits
	}
	s := g.state.Load()
	for i := range out {
		out[i].Object = g.shown(ctx, s, req.Actor, out[i].Object)
	}
	return out, nil
}

// prepare checks what needs no writer and returns the member that does the
// rest; it leaves the results in out.
func (g *Gate) prepare(ctx context.Context, req Request, out *[]Result) (*member, error) {
	if err := g.checkRequest(&req); err != nil {
		return nil, err
	}
	var early *plan
	if len(req.Changes) == 1 && req.IdempotencyKey == "" {
		// Most refusals end here, beside the writer and not in its way.
		s := g.state.Load()
		p, err := g.decide(s, &req, &req.Changes[0], s.at.Revision+1, s.time)
		if err != nil {
			return nil, err
		}
		early = p
	}
	run := func(b *build) (err error) {
		*out, err = b.applyOrAsk(&req, early)
		return err
	}
	return &member{ctx: ctx, run: run, done: make(chan struct{})}, nil
}

// Numbered says in an error which of several changes it is about.
func Numbered(err error, i, of int) error {
	e := fault.Of(err)
	if of < 2 || e.Code == fault.Internal {
		return err
	}
	n := *e
	n.Detail = text.F("change %d of %d: %s", "第 %d 项更改(共 %d 项):%s", i+1, of, e.Detail)
	n.Fields = slices.Clone(e.Fields)
	for j := range n.Fields {
		n.Fields[j].Path = fmt.Sprintf("changes[%d].%s", i, n.Fields[j].Path)
	}
	return &n
}

// checkRequest refuses what is wrong whatever the records say, and makes the
// request independent of the caller's memory. It comes before every look at a
// record, so that its refusals tell nothing about records.
func (g *Gate) checkRequest(req *Request) error {
	switch {
	case len(req.Changes) == 0:
		return fault.New(fault.Invalid, "nothing to change", "没有要更改的内容")
	case len(req.Changes) > MaxChanges:
		return fault.New(fault.Invalid, "more than %d changes in one request", "一个请求中的更改超过 %d 项", MaxChanges)
	case len(req.Reason) > maxReason:
		return fault.New(fault.Invalid, "the reason is longer than %d bytes", "理由超过 %d 字节", maxReason)
	case len(req.IdempotencyKey) > maxKey:
		return fault.New(fault.Invalid, "the idempotency key is longer than %d bytes", "幂等键超过 %d 字节", maxKey)
	}
	req.Changes = slices.Clone(req.Changes)
	for i := range req.Changes {
		c := &req.Changes[i]
		k, err := g.opt.Registry.Kind(c.Ref.Kind)
		if err != nil {
			return err
		}
		if err := inPerson(req.Actor, k); err != nil {
			return err
		}
		if c.Op == Put {
			if c.Document != nil {
				err = c.decode(k)
			} else {
				c.Object, err = strict(k, c)
			}
			if err != nil {
				return Numbered(err, i, len(req.Changes))
			}
		}
		if c.Op == Act {
			if err := c.act(k); err != nil {
				return Numbered(err, i, len(req.Changes))
			}
		}
	}
	return nil
}

// inPerson keeps access keys from what only a person does who signed in: keys
// would make keys, and one who stole a key would assent to what he asked for.
func inPerson(a identity.Actor, k *resource.Kind) error {
	if k.Presence && a.Proof == identity.ProofKey {
		return fault.New(fault.Forbidden, "an access key never changes %s; sign in for it", "访问密钥不能更改 %s;请登录后操作", k.Plural)
	}
	return nil
}

// decode reads the record to put from what was sent. Names that it leaves out
// are those of the address.
func (c *Change) decode(k *resource.Kind) error {
	o, err := k.Decode(c.Document)
	if err != nil {
		return err
	}
	m := &o.Metadata
	m.Tenant, m.Name = cmp.Or(m.Tenant, c.Ref.Tenant), cmp.Or(m.Name, c.Ref.Name)
	if m.Tenant != c.Ref.Tenant || m.Name != c.Ref.Name {
		return elsewhere()
	}
	c.Object, c.Revision, c.Ref.UID = o, m.Revision, m.UID
	return nil
}

func elsewhere() error {
	return fault.New(fault.Invalid, "kind, tenant and name of the record differ from the address", "记录的类型、租户或名称与地址不一致")
}

// act decodes what the verb takes.
func (c *Change) act(k *resource.Kind) error {
	v, err := k.FindVerb(c.Verb)
	if err != nil {
		return err
	}
	if _, sealed := c.Input.(resource.Sealed); v.Secret != nil && !sealed {
		return fault.New(fault.Invalid, "%q takes a secret, which is put by itself: dun secret put", "%q 接受机密,须单独存入:dun secret put", v.Name)
	}
	n, err := node(c.Input)
	if err != nil {
		return err
	}
	c.input, err = v.Input(n)
	return err
}

// node turns a value into the form that strict decoding reads; nil stays nil.
func node(v any) (*resource.Node, error) {
	if v == nil {
		return nil, nil
	}
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fault.New(fault.Invalid, "cannot be encoded as JSON", "无法编码为 JSON").Because(err)
	}
	return resource.ParseJSON(b)
}

// strict decodes the record to put once more, whoever made it: what is kept in
// memory is then what a restart reads back, and nobody else holds a part of it.
func strict(k *resource.Kind, c *Change) (*resource.Object, error) {
	if c.Object == nil || c.Object.Kind != c.Ref.Kind || c.Object.Metadata.Tenant != c.Ref.Tenant || c.Object.Metadata.Name != c.Ref.Name {
		return nil, elsewhere()
	}
	o := *c.Object
	o.State, o.Status = nil, nil
	b, err := json.Marshal(&o)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", c.Ref, err)
	}
	n, err := resource.ParseJSON(b)
	if err != nil {
		return nil, err
	}
	return k.Decode(n)
}

// member is one caller's part of a group.
type member struct {
	ctx   context.Context
	run   func(*build) error // in the writer; refuses without traces
	after func()             // in the writer, after the commit
	err   error              // written before done is closed
	done  chan struct{}
}

func (g *Gate) submit(ctx context.Context, m *member) error {
	select {
	case g.queue <- m:
	case <-ctx.Done():
		return fault.New(fault.Unavailable, "the request was withdrawn before it was carried out", "请求在执行前被撤回").Because(ctx.Err())
	case <-g.stop:
		return stopping()
	}
	select {
	case <-m.done:
		return m.err
	case <-g.stopped:
		select {
		case <-m.done:
			return m.err
		default:
			return stopping()
		}
	}
}

func stopping() error {
	return fault.New(fault.Unavailable, "Dun is stopping", "Dun 正在停止")
}
