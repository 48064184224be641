package gate

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/resource"
)

// precondition holds the caller to the revision he read.
func precondition(c *Change, old *resource.Object) error {
	switch {
	case old == nil && c.Op == Put && c.Revision == 0:
		return nil
	case old == nil:
		return notFound(c.Ref)
	case c.Ref.UID != "" && c.Ref.UID != old.Metadata.UID:
		return fault.New(fault.Conflict, "%s was deleted and made anew since it was read", "%s 在读取后被删除并重建", c.Ref)
	case c.Revision == old.Metadata.Revision:
		return nil
	case c.Revision == 0 && c.Op == Put:
		return fault.New(fault.Conflict, "%s exists at revision %d; to replace it send that metadata.revision", "%s 已存在(修订 %d);要替换请带上该 metadata.revision", c.Ref, old.Metadata.Revision)
	case c.Revision == 0:
		return fault.New(fault.Invalid, "send the revision that was read (it is %d now)", "请带上读取时的修订号(当前为 %d)", old.Metadata.Revision)
	}
	return fault.New(fault.Conflict, "%s is at revision %d, not %d; read it again", "%s 的修订号为 %d,不是 %d;请重新读取", c.Ref, old.Metadata.Revision, c.Revision)
}

// shape makes the new record, with everything that callers do not write
// carried over; nil for a deletion. by says who asks and when it would happen.
func shape(k *resource.Kind, c *Change, old *resource.Object, by resource.Moment) (*resource.Object, error) {
	if old != nil && old.Metadata.Deleting != nil && c.Op != Release && c.Op != Delete {
		return nil, fault.New(fault.Conflict, "%s is being deleted; it waits for %s", "%s 正在删除,等待 %s 完成清理", c.Ref, strings.Join(old.Metadata.Finalizers, ", "))
	}
	var next *resource.Object
	var err error
	switch c.Op {
	case Delete:
		return marked(old, by.Time), nil
	case Release:
		return released(c, old)
	case Act:
		return acted(k, c, old, by)
	case Put:
		o := *c.Object // metadata is completed on a copy: a change may be decided twice
		next = &o
	case Patch:
		if next, err = patched(k, c, old); err != nil {
			return nil, err
		}
	default:
		return nil, fault.New(fault.Invalid, "unknown operation", "未知操作")
	}
	m := &next.Metadata
	if old == nil {
		m.Owner, m.Finalizers, m.Deleting, m.StatusRevision = nil, slices.Clone(k.Finalizers), nil, 0
		if k.NewState != nil {
			next.State = k.NewState()
		}
		if k.Settle != nil {
			next.State = k.Settle(nil, next)
		}
		return next, nil
	}
	om := &old.Metadata
	m.UID, m.Created, m.Updated, m.Revision, m.StatusRevision = om.UID, om.Created, om.Updated, om.Revision, om.StatusRevision
	m.Owner, m.Finalizers, m.Deleting = om.Owner, om.Finalizers, om.Deleting
	next.State, next.Status = old.State, old.Status
	if k.Settle != nil {
		next.State = k.Settle(old, next)
	}
	return next, nil
}

// marked is a record that is to go: nil when nobody has to clean up first.
func marked(old *resource.Object, at time.Time) *resource.Object {
	if len(old.Metadata.Finalizers) == 0 {
		return nil
	}
	o := *old
	if o.Metadata.Deleting == nil {
		at = at.UTC()
		o.Metadata.Deleting = &at
	}
	return &o
}

// released takes one finalizer off; the last one of a record that is to go
// takes the record along.
func released(c *Change, old *resource.Object) (*resource.Object, error) {
	i := slices.Index(old.Metadata.Finalizers, c.Verb)
	if i < 0 {
		return nil, fault.New(fault.NotFound, "%s does not wait for %q", "%s 没有在等待 %q", c.Ref, c.Verb)
	}
	o := *old
	o.Metadata.Finalizers = slices.Delete(slices.Clone(old.Metadata.Finalizers), i, i+1)
	if len(o.Metadata.Finalizers) == 0 && o.Metadata.Deleting != nil {
		return nil, nil
	}
	return &o, nil
}

// acted carries a verb out on a copy that shares nothing with old.
func acted(k *resource.Kind, c *Change, old *resource.Object, by resource.Moment) (*resource.Object, error) {
	v, err := k.FindVerb(c.Verb)
	if err != nil {
		return nil, err
	}
	o, err := k.Copy(old)
	if err != nil {
		return nil, err
	}
	o.Status = old.Status // for reading
	if err := v.Perform(o, c.input, by); err != nil {
		return nil, err
	}
	// A verb changes state and nothing else, whatever its code does.
	next := *old
	next.State = o.State
	return &next, nil
}

func patched(k *resource.Kind, c *Change, old *resource.Object) (*resource.Object, error) {
	tree, err := resource.Tree(old)
	if err != nil {
		return nil, err
	}
	delete(tree, "state")
	delete(tree, "status")
	merged, ok := resource.Merge(tree, c.Patch).(map[string]any)
	if !ok {
		return nil, fault.New(fault.Invalid, "the patch is not an object", "补丁不是对象")
	}
	b, err := json.Marshal(merged)
	if err != nil {
		return nil, fmt.Errorf("encode a patched record: %w", err)
	}
	n, err := resource.ParseJSON(b)
	if err != nil {
		return nil, err
	}
	o, err := k.Decode(n)
	if err != nil {
		return nil, err
	}
	if o.Metadata.Tenant != c.Ref.Tenant || o.Metadata.Name != c.Ref.Name {
		return nil, fault.New(fault.Invalid, "a patch cannot change kind, tenant or name", "补丁不能更改类型、租户或名称")
	}
	return o, nil
}
