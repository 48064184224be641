// Package releases proves that a release passes its gates with evidence, and
// not otherwise (control 2.1-16). It owns that check; the order of the gates is
// kinds/build's, who assents to going live is govern/approvals'.
package releases

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/dun-sec/dun/internal/core/assurance"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/text"
	"github.com/dun-sec/dun/internal/kinds/build"
)

// Gate is what the check asks of core/gate.
type Gate interface {
	Rehearse(ctx context.Context, f func(try func(gate.Request) ([]gate.Result, error)) error) error
}

type check struct {
	g   Gate
	me  identity.Actor
	now func() time.Time
}

// Check rehearses releases in the writer as the founder would make them, and
// undoes them.
func Check(g Gate, founder resource.Ref, now func() time.Time) assurance.Check {
	c := check{g, identity.Actor{Principal: founder, Door: "posture", MFA: true}, now}
	return assurance.Check{
		Control: "2.1-16", Scope: assurance.Production, Period: time.Hour,
		Title:    text.T("A release does not pass a gate without fresh evidence about its own commit", "若缺少针对其提交的有效证据,发布不能通过任何阶段"),
		Cost:     text.T("a few rehearsed changes", "数次演练更改"),
		Positive: c.passes, Probe: c.refused,
	}
}

var (
	commit = strings.Repeat("d0", 20)
	digest = "sha256:" + strings.Repeat("d0", 32)
)

// walk rehearses a release through all gates; spoil changes one piece of
// evidence on the way, or leaves it out by an empty name.
func (c check) walk(ctx context.Context, spoil func(*build.AttestInput)) error {
	return c.g.Rehearse(ctx, func(try func(gate.Request) ([]gate.Result, error)) error {
		o := &resource.Object{Kind: "Release", Version: 1, Metadata: resource.Metadata{Tenant: resource.Platform, Name: "dun-canary"}, Spec: &build.ReleaseSpec{Service: "dun-canary", Commit: commit, Level: "high"}}
		res, err := try(gate.Request{Actor: c.me, Reason: "rehearsed by the posture", Changes: []gate.Change{{Op: gate.Put, Ref: o.Ref(), Object: o}}})
		if err != nil {
			return fmt.Errorf("a release cannot be made: %w", err)
		}
		rev := res[0].Object.Metadata.Revision
		act := func(verb string, input any) error {
			res, err := try(gate.Request{Actor: c.me, Changes: []gate.Change{{Op: gate.Act, Ref: o.Ref(), Verb: verb, Input: input, Revision: rev}}})
			if err == nil {
				rev = res[0].Object.Metadata.Revision
			}
			return err
		}
		for _, name := range build.Needs("high") {
			in := build.AttestInput{Name: name, Commit: commit, Digest: digest, Time: c.now()}
			spoil(&in)
			if in.Name == "" {
				continue
			}
			if err := act("attest", in); err != nil {
				return fmt.Errorf("evidence is not taken: %w", err)
			}
		}
		for _, g := range build.Gates {
			if err := act("advance", nil); err != nil {
				return fmt.Errorf("%s: %w", g.Name, err)
			}
		}
		return nil
	})
}

func (c check) passes(ctx context.Context) error {
	return c.walk(ctx, func(*build.AttestInput) {})
}

// refused spoils each piece of evidence in each way.
func (c check) refused(ctx context.Context, e *assurance.Evidence) error {
	for _, way := range []struct {
		what  string
		spoil func(*build.AttestInput)
	}{
		{"missing", func(in *build.AttestInput) { in.Name = "" }},
		{"stale", func(in *build.AttestInput) { in.Time = c.now().Add(-build.FreshFor - time.Hour) }},
		{"for another commit", func(in *build.AttestInput) { in.Commit = strings.Repeat("d1", 20) }},
	} {
		n := 0
		for _, name := range build.Needs("high") {
			err := c.walk(ctx, func(in *build.AttestInput) {
				if in.Name == name {
					way.spoil(in)
				}
			})
			if err == nil {
				return assurance.NotHeld("a release passes every gate though %s is %s", "尽管证据 %s 不合格(%s),发布仍通过了全部阶段", name, way.what)
			}
			if f, ok := errors.AsType[*fault.Error](err); !ok || f.Code != fault.Conflict && f.Code != fault.Forbidden {
				return err
			}
			n++
		}
		e.Add(way.what, "%d pieces of evidence, each refused", n)
	}
	return nil
}
