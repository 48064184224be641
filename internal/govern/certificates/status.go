package certificates

import (
	"crypto/sha256"
	"encoding/hex"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/dun-sec/dun/internal/core/events"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/kinds/edge"
)

// warnAt are the days before the end at which an event tells of it; 0 is the end.
var warnAt = []int{0, 1, 7, 14, 30}

const (
	day      = 24 * time.Hour
	maxNames = 64 // in a status
)

// statusOf is how a certificate stands now, and when that changes by itself;
// zero = never. What an authority said last is taken over.
func statusOf(o *resource.Object, now time.Time) (*edge.CertificateStatus, time.Time) {
	spec := o.Spec.(*edge.CertificateSpec)
	chainPEM, _, serving := edge.InForce(o)
	s := &edge.CertificateStatus{Condition: edge.CertificateHalf, Serving: serving}
	if spec.ACME != nil {
		s.Condition = edge.CertificatePending
		if old, _ := o.Status.(*edge.CertificateStatus); old != nil {
			s.Trouble, s.Failures, s.Asked, s.Next, s.For = old.Trouble, old.Failures, old.Asked, old.Next, old.For
		}
	}
	if !serving {
		chainPEM = spec.Chain
	}
	chain, why := edge.ParseChain(chainPEM)
	if why != nil {
		return s, time.Time{}
	}
	leaf := chain[0]
	names := edge.Names(leaf)
	s.Names = names[:min(len(names), maxNames)]
	from, to := leaf.NotBefore.UTC(), leaf.NotAfter.UTC()
	s.NotBefore, s.NotAfter = &from, &to
	s.Issuer = clip(leaf.Issuer.String())
	sum := sha256.Sum256(leaf.Raw)
	s.Fingerprint = hex.EncodeToString(sum[:])
	if !serving {
		return s, time.Time{}
	}
	most := time.Duration(math.MaxInt64)
	if spec.ACME != nil {
		most = to.Sub(from) / 3 // what renews itself is a matter for people only later
	}
	days, next := stage(to, now, most)
	switch {
	case days == nil && edge.Whole(o):
		s.Condition = edge.CertificateReady
	case days != nil && *days == 0:
		s.Condition = edge.CertificateExpired
	case days != nil:
		s.Condition = edge.CertificateExpiring
	}
	s.Warned = days
	return s, next
}

// stage is the smallest of warnAt that is reached; nil = none is yet. next is
// when the following one will be. Stages of most and longer are left out.
func stage(end, now time.Time, most time.Duration) (days *int, next time.Time) {
	for _, d := range warnAt {
		if time.Duration(d)*day >= most {
			break
		}
		at := end.Add(-time.Duration(d) * day)
		if !now.Before(at) {
			return &d, next
		}
		next = at
	}
	return nil, next
}

// warns reports whether a stage is new: a later one than was told of this very
// certificate.
func warns(old, s *edge.CertificateStatus) bool {
	if s.Warned == nil {
		return false
	}
	return old == nil || old.Warned == nil || old.Fingerprint != s.Fingerprint || *s.Warned < *old.Warned
}

// warn makes an event of it.
func (w *watch) warn(o *resource.Object, s *edge.CertificateStatus) {
	w.tell(o, map[string]string{
		"state": s.Condition, "days": strconv.Itoa(*s.Warned), "notAfter": s.NotAfter.Format(time.RFC3339), "names": clip(strings.Join(s.Names, ",")),
	})
	w.opt.Log.Warn("a certificate ends", "tenant", o.Metadata.Tenant, "name", o.Metadata.Name, "kind", "Certificate")
}

func (w *watch) tell(o *resource.Object, attributes map[string]string) {
	w.opt.Events.Add(events.Event{
		Time: w.opt.Clock.Now(), Part: part, Kind: "certificate", Tenant: o.Metadata.Tenant, Object: "certificate/" + o.Metadata.Name, Action: "detected", Attributes: attributes,
	})
}

// clip bounds what a certificate or an authority makes us say.
func clip(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if r := []rune(s); len(r) > 240 {
		s = string(r[:240]) + "…"
	}
	return s
}
