package gate

import (
	"context"

	"github.com/dun-sec/dun/internal/core/audit"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
)

// Fact is something that happened without a change of a record.
type Fact struct {
	Class        audit.Class
	Kind, Action string
	Tenant, Name string
	Reason       string
}

// Record appends a leaf without a record change. The caller has authorised
// what the fact tells of.
func (g *Gate) Record(ctx context.Context, a identity.Actor, f Fact) error {
	m := &member{ctx: ctx, done: make(chan struct{})}
	m.run = func(b *build) error {
		return b.leaf(fact{class: f.Class, kind: f.Kind, action: f.Action, time: b.now(), actor: a, tenant: f.Tenant, name: f.Name, reason: f.Reason})
	}
	return g.submit(ctx, m)
}

// RecordCheck keeps the result of a check as a leaf (assurance.Recorder).
func (g *Gate) RecordCheck(ctx context.Context, a identity.Actor, control, action, evidence string) error {
	return g.Record(ctx, a, Fact{Class: audit.Check, Kind: "Control", Action: action, Tenant: resource.Platform, Name: control, Reason: evidence})
}
