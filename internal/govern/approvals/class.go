package approvals

import (
	"maps"
	"slices"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/policy"
	"github.com/dun-sec/dun/internal/core/resource"
)

// The rules that are no records, so that nobody can take them away (design
// section 2): data are not protected less than before, nor given away where
// their class asks for assent, without a second person.
const (
	canaryTenant = "dun-canary"

	ruleLower = "platform/lower-class"
	ruleShare = "platform/share"
)

// lowering names the rule that a request needs for what it does to classes of
// data, "" for none. A service has nobody to ask for it: it is refused.
func lowering(v gate.View, req *gate.Request, wanted []gate.Wanted) (string, error) {
	for _, w := range wanted {
		rule := ""
		switch {
		case canary(req, w):
		case w.Next == nil: // what is made anew later begins with the highest class
		case lower(v, w):
			rule = ruleLower
		case shares(v, w):
			rule = ruleShare
		}
		if rule == "" {
			continue
		}
		if p := req.Actor.Principal; p.Kind == "Service" && p != identity.Service(gate.Dayzero).Principal {
			return "", fault.New(fault.Forbidden, "a service does not lower a class of data, nor share data", "服务不能降低数据分类,也不能共享数据")
		}
		return rule, nil
	}
	return "", nil
}

// canary reports whether a check of the posture makes something in its own
// tenant, where nothing but its marks is. The built-in policy of the posture
// says what that may be; what is there already it does not lower.
func canary(req *gate.Request, w gate.Wanted) bool {
	return req.Actor.Principal == identity.Service(gate.Posture).Principal && w.Old == nil && w.Next != nil && w.Next.Metadata.Tenant == canaryTenant
}

func lower(v gate.View, w gate.Wanted) bool {
	if next := w.Kind.Class(w.Next); next != nil && w.Old != nil {
		old := w.Kind.Class(w.Old)
		was, will := policy.Class{Level: old.Level, Handling: old.Handling, Assent: old.Assent}, policy.Class{Level: next.Level, Handling: next.Handling, Assent: next.Assent}
		if will.Weaker(was) || old.Parent != next.Parent {
			return true
		}
	}
	before := w.Old
	if before == nil {
		bare := *w.Next
		bare.Metadata.Labels = maps.Clone(bare.Metadata.Labels)
		delete(bare.Metadata.Labels, resource.LabelClass)
		before = &bare
	}
	return v.Class(w.Next).Weaker(v.Class(before))
}

// shares reports whether a change gives data away whose class asks for assent.
func shares(v gate.View, w gate.Wanted) bool {
	a := w.Kind.Asset(w.Next)
	return a != nil && a.Of.Name != "" && slices.Contains(v.Class(w.Next).Assent, "share")
}
