package classes

import (
	"bytes"
	"context"

	"github.com/dun-sec/dun/internal/core/audit"
	"github.com/dun-sec/dun/internal/core/events"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/resource"
)

// gateDoors are the ways on which the gate gives a record's content, tried as
// the founder, whom nothing stops but the class of users' data. Their twin is
// the same record without that class.
func (x *egress) gateDoors() []Door {
	door := func(name string, find func(context.Context, Planted) ([]byte, error)) Door {
		look := func(ctx context.Context, p Planted) (Look, error) {
			got, err := find(ctx, p)
			switch {
			case fault.Is(err, fault.NotFound) || fault.Is(err, fault.Forbidden):
				return Look{Saw: string(fault.Of(err).Code)}, nil
			case err != nil:
				return Look{}, err
			case holds(got, p.Marker):
				return Look{Leaked: true, Saw: "the marker"}, nil
			}
			return Look{Saw: "without it"}, nil
		}
		return Door{Name: name, Try: look, Twin: look}
	}
	return []Door{door("record", x.record), door("list", x.list), door("watch", x.watch), door("history", x.history), door("proof", x.proof), door("audit log", x.log), door("export", x.export), door("events", x.events)}
}

func (x *egress) record(ctx context.Context, p Planted) ([]byte, error) {
	o, err := x.env.Gate.Get(ctx, x.me, p.Ref)
	if err != nil {
		return nil, err
	}
	return o.Stored()
}

func (x *egress) list(ctx context.Context, p Planted) ([]byte, error) {
	l, err := x.env.Gate.Scan(x.me, gate.ListOptions{Kind: p.Ref.Kind, Tenant: gate.AllTenants, Limit: gate.MaxList})
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	_, err = l.Each(ctx, func(o *resource.Object) bool { return x.write(&b, o, p) })
	return b.Bytes(), err
}

func (x *egress) write(b *bytes.Buffer, o *resource.Object, p Planted) bool {
	if o != nil && o.Metadata.Name == p.Ref.Name {
		stored, err := o.Stored()
		b.Write(stored)
		return err == nil
	}
	return true
}

func (x *egress) watch(ctx context.Context, p Planted) ([]byte, error) {
	feed, err := x.env.Gate.Watch(x.me, []string{p.Ref.Kind}, nil)
	if err != nil {
		return nil, err
	}
	batch, err := feed.Next(ctx)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	for _, c := range batch.Changes {
		x.write(&b, c.Object, p)
	}
	return b.Bytes(), nil
}

func (x *egress) history(ctx context.Context, p Planted) ([]byte, error) {
	list, err := x.env.Gate.History(ctx, x.me, p.Ref, 0, 10)
	var b bytes.Buffer
	for _, v := range list {
		x.write(&b, v.Object, p)
	}
	return b.Bytes(), err
}

func (x *egress) proof(ctx context.Context, p Planted) ([]byte, error) {
	_, b, _, err := x.env.Gate.ProveBundle(ctx, x.me, p.Ref, 0)
	return b, err
}

func (x *egress) log(ctx context.Context, p Planted) ([]byte, error) {
	book, err := x.env.Gate.Book(x.me, gate.MainLog)
	if err != nil {
		return nil, err
	}
	list, err := book.Leaves(ctx, uint64(p.log), gate.MaxPage)
	var b bytes.Buffer
	for _, l := range list {
		for _, v := range l.Values {
			b.Write(v)
		}
	}
	return b.Bytes(), err
}

func (x *egress) export(ctx context.Context, p Planted) ([]byte, error) {
	book, err := x.env.Gate.Book(x.me, gate.MainLog)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = book.Export(ctx, &b, func(e audit.Entry) bool { return e.Seq >= uint64(p.log) })
	return b.Bytes(), err
}

func (x *egress) events(ctx context.Context, p Planted) ([]byte, error) {
	if err := x.env.Events.Flush(ctx); err != nil {
		return nil, err
	}
	list, _, err := x.env.Events.Search(ctx, events.Query{Tenants: []string{canaryTenant}, Kind: "canary", NewestFirst: true, Limit: 1000, Keep: x.env.Gate.Sees(x.me)})
	var b bytes.Buffer
	for _, e := range list {
		if e.Object == "ban/"+p.Ref.Name {
			b.WriteString(p.Marker) // its attribute is masked like a secret: that the event comes is the find
		}
	}
	return b.Bytes(), err
}
