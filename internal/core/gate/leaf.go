package gate

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/dun-sec/dun/internal/core/audit"
	"github.com/dun-sec/dun/internal/core/gate/internal/store"
	"github.com/dun-sec/dun/internal/core/identity"
)

// fact is what one leaf says.
type fact struct {
	class          audit.Class
	kind, action   string
	revision       uint64
	time           int64
	actor          identity.Actor
	tenant, name   string
	reason         string
	policies       []string
	old, next      []byte
	oldRev, newRev uint64
}

// leafContext is the context field of a leaf (formats.md, Leaf).
type leafContext struct {
	Request       string   `json:"request"`
	ChangeRequest string   `json:"changeRequest"`
	Policies      []string `json:"policies"`
	Source        string   `json:"source"`
	Door          string   `json:"door"`
	Node          string   `json:"node"`
	Epoch         string   `json:"epoch"`
	Founding      bool     `json:"founding"`
}

// leafEnv is what a leaf's context says of the place where it was made.
type leafEnv struct {
	node, epoch string
	founding    bool
}

func (b *build) leaf(f fact) error {
	return appendLeaf(&b.group, b.tree, f, leafEnv{b.g.opt.Node, b.g.epoch, b.g.founding.Load()})
}

// appendLeaf adds the leaf of f to a group and to the tree.
func appendLeaf(g *store.Group, tree *audit.Tree, f fact, env leafEnv) error {
	c := leafContext{
		Request: f.actor.Request, ChangeRequest: f.actor.ChangeRequest, Policies: slices.Compact(slices.Sorted(slices.Values(f.policies))), Source: f.actor.Source, Door: f.actor.Door,
		Node: env.node, Epoch: env.epoch, Founding: env.founding,
	}
	if c.Policies == nil {
		c.Policies = []string{} // an array in the format, not null
	}
	context, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("encode a leaf's context: %w", err)
	}
	v := audit.Values{
		audit.FieldTenant: present(f.tenant), audit.FieldActor: []byte(f.actor.String()), audit.FieldName: present(f.name),
		audit.FieldOld: f.old, audit.FieldNew: f.next, audit.FieldReason: present(f.reason), audit.FieldContext: context,
	}
	salts := audit.NewSalts()
	leaf := audit.Leaf{
		Seq: uint64(tree.Size()), Revision: f.revision, Time: time.UnixMicro(f.time).UTC(), Class: f.class,
		Kind: f.kind, Action: f.action, Commitments: audit.CommitAll(salts, v),
	}
	body, err := leaf.MarshalBinary()
	if err != nil {
		return fmt.Errorf("encode a leaf: %w", err)
	}
	g.Leaves = append(g.Leaves, store.Leaf{
		Seq: leaf.Seq, Body: body, Salts: joinSalts(salts), Tenant: v[audit.FieldTenant], Actor: v[audit.FieldActor], Name: v[audit.FieldName],
		Old: f.oldRev, New: f.newRev, Reason: v[audit.FieldReason], Context: context,
	})
	g.Hashes = append(g.Hashes, tree.Append(audit.LeafHash(body))...)
	return nil
}

func present(s string) []byte {
	if s == "" {
		return nil
	}
	return []byte(s)
}

func joinSalts(s audit.Salts) []byte {
	out := make([]byte, 0, audit.Fields*audit.SaltSize)
	for _, x := range s {
		out = append(out, x...)
	}
	return out
}
