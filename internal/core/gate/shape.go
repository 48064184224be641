package gate

import (
	"encoding/json"
	"fmt"

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

// shape makes the new record; nil for a deletion.
func shape(k *resource.Kind, c *Change, old *resource.Object) (*resource.Object, error) {
	switch c.Op {
	case Delete:
		return nil, nil
	case Put:
		o := *c.Object // metadata is completed on a copy: a change may be decided twice
		return &o, nil
	case Patch:
		return patched(k, c, old)
	}
	return nil, fault.New(fault.Invalid, "unknown operation", "未知操作")
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
