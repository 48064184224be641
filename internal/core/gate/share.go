package gate

import (
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/policy"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/text"
)

// maxShares bounds how many shares of one asset are looked at; those behind
// permit nothing.
const maxShares = 1000

// byShare stands for a policy where no share in force permits what policy does.
const byShare = "third-party-duty"

// shared refuses to give data away to whom, or for what, no record of a share
// says so, or does no longer (control 4.0-9).
func (g *Gate) shared(s *state, a identity.Actor, o *resource.Object, use Use) error {
	now := g.opt.Now()
	ended, live, more := s.shares(o, use, now)
	if live {
		return nil
	}
	ref := key(o.Ref())
	action := policy.DataAction("share")
	g.deny(a, ref, action, []string{byShare})
	e := fault.New(fault.Forbidden, "%s is not shared with %q for %q: there is no ThirdPartyDuty that says so", "%s 未与 %q 就用途 %q 共享:没有相应的 ThirdPartyDuty", ref, use.Recipient, use.Purpose)
	switch {
	case more:
		e = fault.New(fault.Forbidden, "%s has more than %d shares, and none of those looked at is with %q for %q; delete what has ended", "%s 的共享超过 %d 项,已查看的均非与 %q 就用途 %q 的共享;请删除已到期的", ref, maxShares, use.Recipient, use.Purpose)
	case !ended.IsZero():
		at := ended.UTC().Format(time.RFC3339)
		e = fault.New(fault.Forbidden, "the share of %s with %q for %q ended at %s", "%s 与 %q 就用途 %q 的共享已于 %s 到期", ref, use.Recipient, use.Purpose, at)
	}
	e.Policies = []string{byShare}
	e.Missing = []text.Text{text.T("a ThirdPartyDuty in force", "生效中的 ThirdPartyDuty")}
	return e
}

// shares looks for a share of o that is in force. It looks at the records alone
// that refer to o and give data away: what else there is costs nothing.
func (s *state) shares(o *resource.Object, use Use, now time.Time) (ended time.Time, live, more bool) {
	of := key(o.Ref())
	if k, err := s.reg.Kind(o.Kind); err == nil && k.Shares() {
		of = key(k.Share(o).Of)
	}
	seen := 0
	for _, k := range s.reg.All() {
		if !k.Shares() || live || more {
			continue
		}
		s.links.AscendGreaterOrEqual(link{to: of, from: resource.Ref{Kind: k.Name}}, func(l link) bool {
			if l.to != of || l.from.Kind != k.Name {
				return false
			}
			if seen++; seen > maxShares {
				more = true
				return false
			}
			x := s.get(k.Name, l.from.Tenant, l.from.Name)
			if x == nil || x.Metadata.Deleting != nil {
				return true
			}
			if sh := k.Share(x); sh != nil && key(sh.Of) == of && sh.Recipient == use.Recipient && sh.Purpose == use.Purpose {
				if live = now.Before(sh.Ends); !live && sh.Ends.After(ended) {
					ended = sh.Ends
				}
			}
			return !live
		})
	}
	return ended, live, more
}
