package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"

	"github.com/dun-sec/dun/internal/core/policy"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/kinds/access"
)

// pair is one cell and what is asked of it: by the snapshot, and by cedar-go
// over the policies of the platform and of the resource's tenant. The naive
// one gets its entities and its context ready made, and only evaluates.
type pair struct {
	snap     *policy.Snapshot
	queries  []policy.Query
	sets     []*cedar.PolicySet
	entities cedar.EntityMap
	requests []cedar.Request
}

func newPair(c *policy.Compiler, list []*resource.Object) (*pair, error) {
	snap, err := c.Compile(slices.Values(append(slices.Clone(list), user("u77", ""))))
	if err != nil {
		return nil, err
	}
	p := &pair{snap: snap, entities: cedar.EntityMap{}}
	builtins, err := policy.Builtins()
	if err != nil {
		return nil, err
	}
	sets := map[string]*cedar.PolicySet{}
	for _, tenant := range []string{"platform", "t0"} {
		set := cedar.NewPolicySet()
		put := func(id, text string) error {
			parsed, err := cedar.NewPolicyListFromBytes(id, []byte(text))
			for i, x := range parsed {
				set.Add(cedar.PolicyID(fmt.Sprint(id, "#", i)), x)
			}
			return err
		}
		for _, b := range builtins {
			if err := put(b.Name, b.Text); err != nil {
				return nil, err
			}
		}
		for _, o := range list {
			if s, ok := o.Spec.(*access.PolicySpec); ok && (o.Metadata.Tenant == "platform" || o.Metadata.Tenant == tenant) {
				if err := put(o.Metadata.Tenant+"/"+o.Metadata.Name, s.Cedar); err != nil {
					return nil, err
				}
			}
		}
		sets[tenant] = set
	}
	who := cedar.NewEntityUID("User", "platform/u77")
	p.entities[who] = cedar.Entity{UID: who, Parents: cedar.NewEntityUIDSet(cedar.NewEntityUID("Tenant", "platform"), cedar.NewEntityUID("Role", "platform/r0"))}
	for _, tenant := range []string{"platform", "t0"} {
		o := site(tenant)
		u := cedar.NewEntityUID("Site", cedar.String(tenant+"/shop"))
		p.entities[u] = cedar.Entity{
			UID: u, Parents: cedar.NewEntityUIDSet(cedar.NewEntityUID("Tenant", cedar.String(tenant))),
			Attributes: cedar.NewRecord(types.RecordMap{"name": cedar.String("shop"), "tenant": cedar.String(tenant), "class": cedar.String("production"),
				"spec": cedar.NewRecord(types.RecordMap{"hosts": cedar.NewSet(cedar.String("a.test"), cedar.String("b.test"))})}),
			Tags: cedar.NewRecord(types.RecordMap{"env": cedar.String("prod"), "team": cedar.String("web")}),
		}
		for _, verb := range []string{"read", "update", "delete"} {
			group := "write"
			if verb == "read" {
				group = "read"
			}
			action := cedar.NewEntityUID("Action", cedar.String("site."+verb))
			p.entities[action] = cedar.Entity{UID: action, Parents: cedar.NewEntityUIDSet(cedar.NewEntityUID("Action", cedar.String(group)))}
			at := time.UnixMilli(1e12)
			p.queries = append(p.queries, policy.Query{
				Principal: resource.Ref{Kind: "User", Tenant: "platform", Name: "u77"}, Action: "site." + verb, Object: o,
				Context: policy.Context{Phase: "old", Door: "api", Source: "127.0.0.1", Time: at, Request: "r"},
			})
			p.sets = append(p.sets, sets[tenant])
			p.requests = append(p.requests, cedar.Request{Principal: who, Action: action, Resource: u, Context: cedar.NewRecord(types.RecordMap{
				"phase": cedar.String("old"), "door": cedar.String("api"), "mfa": cedar.False, "time": cedar.NewDatetime(at), "request": cedar.String("r"),
			})})
		}
	}
	return p, p.agree()
}

// agree fails when the two peers do not decide alike: then they would not
// measure the same work.
func (p *pair) agree() error {
	for i, q := range p.queries {
		decision, _ := cedar.Authorize(p.sets[i], p.entities, p.requests[i])
		if got := p.snap.Decide(q); got.Allowed != (decision == cedar.Allow) {
			return fmt.Errorf("%s on %s: %v by %s, cedar-go says %v", q.Action, q.Object.Ref(), got.Allowed, strings.Join(got.Policies, ","), decision)
		}
	}
	return nil
}

// compare times both in turn and returns the medians for one decision.
func (p *pair) compare() (index, naive time.Duration) {
	var a, b []time.Duration
	for range pairs {
		a = append(a, p.decide())
		begin := time.Now()
		for i := range p.queries {
			cedar.Authorize(p.sets[i], p.entities, p.requests[i])
		}
		b = append(b, time.Since(begin)/time.Duration(len(p.queries)))
	}
	return median(a), median(b)
}

// decide times one decision of the snapshot, as the mean of a batch.
func (p *pair) decide() time.Duration {
	begin := time.Now()
	for i := range batch {
		p.snap.Decide(p.queries[i%len(p.queries)])
	}
	return time.Since(begin) / batch
}

// grows times the cells in turn, so that what else the machine does meets all
// of them, and returns how much the slowest takes of the quickest.
func grows(cells []*pair) float64 {
	all := make([][]time.Duration, len(cells))
	for range pairs {
		for i, p := range cells {
			all[i] = append(all[i], p.decide())
		}
	}
	var medians []time.Duration
	for _, list := range all {
		medians = append(medians, median(list))
	}
	return float64(slices.Max(medians)) / float64(slices.Min(medians))
}
