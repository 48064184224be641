package gate_test

import (
	"database/sql"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/govern/dayzero"
)

// signIn opens a session and fails the test when it does not authenticate.
func (c *cell) signIn(p resource.Ref, replaces string) string {
	c.t.Helper()
	token, expires, err := c.OpenSession(c.t.Context(), operator, p, replaces)
	if err != nil {
		c.t.Fatal(err)
	}
	if who, err := c.Authenticate(token); err != nil || who.Principal != p || !who.Expires.Equal(expires) {
		c.t.Fatalf("%v %v", who, err)
	}
	return token
}

func (c *cell) dead(t *testing.T, what, token string) {
	t.Helper()
	if _, err := c.Authenticate(token); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("%s: %v", what, err)
	}
}

const ann = "kind: User\nmetadata: {tenant: platform, name: ann}\n"

func TestASessionEnds(t *testing.T) {
	c := newCell(t)
	r := c.must(ann)
	p := resource.Ref{Kind: "User", Tenant: "platform", Name: "ann"}
	first := c.signIn(p, "")
	c.dead(t, "no token", "")
	c.dead(t, "a token that was never given", identity.NewToken())

	second := c.signIn(p, first)
	c.dead(t, "replaced", first)
	_, _, err := c.OpenSession(t.Context(), operator, p, first)
	wantCode(t, err, fault.Unauthenticated)
	_, _, err = c.OpenSession(t.Context(), operator, dayzero.Operator, second)
	wantCode(t, err, fault.Unauthenticated) // another's session is no way in

	c.reopen()
	if _, err := c.Authenticate(second); err != nil {
		t.Errorf("a restart ended the session: %v", err)
	}
	c.clock.advance(gate.SessionLife - time.Second)
	if _, err := c.Authenticate(second); err != nil {
		t.Error(err)
	}
	c.clock.advance(time.Second)
	c.dead(t, "expired", second)
	_, _, err = c.OpenSession(t.Context(), operator, p, second)
	wantCode(t, err, fault.Unauthenticated)

	third := c.signIn(p, "")
	if err := c.remove(operator, r); err != nil {
		t.Fatal(err)
	}
	c.dead(t, "of a deleted user", third)
	c.must(ann)
	c.dead(t, "of the user before", third)
	c.reopen()
	c.dead(t, "of the user before, after a restart", third)
	_, _, err = c.OpenSession(t.Context(), operator, resource.Ref{Kind: "User", Tenant: "platform", Name: "none"}, "")
	wantCode(t, err, fault.NotFound)
	c.check()
}

func TestADisabledUserLosesEverySessionForGood(t *testing.T) {
	c := newCell(t)
	r := c.must(ann)
	p := resource.Ref{Kind: "User", Tenant: "platform", Name: "ann"}
	tokens := []string{c.signIn(p, ""), c.signIn(p, "")}
	disabled := func(yes bool) map[string]any { return map[string]any{"spec": map[string]any{"disabled": yes}} }
	var err error
	var late string
	var opened, refused error
	c.Together(
		func() { late, _, opened = c.OpenSession(t.Context(), operator, p, "") },
		func() { r, err = c.patch(operator, r, disabled(true)) },
		func() { _, _, refused = c.OpenSession(t.Context(), operator, p, "") },
	)
	if err != nil || opened != nil {
		t.Fatal(err, opened)
	}
	wantCode(t, refused, fault.Unauthenticated)
	for _, token := range append(tokens, late) {
		c.dead(t, "disabled", token)
	}
	if _, err = c.patch(operator, r, disabled(false)); err != nil {
		t.Fatal(err)
	}
	for _, token := range append(tokens, late) {
		c.dead(t, "enabled again", token)
	}
	c.reopen()
	for _, token := range append(tokens, late) {
		c.dead(t, "enabled again, after a restart", token)
	}
	c.signIn(p, "")
}

func TestAPrincipalHasABoundedNumberOfSessions(t *testing.T) {
	c := newCell(t)
	c.must(ann)
	p := resource.Ref{Kind: "User", Tenant: "platform", Name: "ann"}
	other := c.signIn(dayzero.Operator, "")
	tokens := make([]string, gate.MaxSessions+10)
	var calls []func()
	for i := range tokens {
		calls = append(calls, func() { tokens[i], _, _ = c.OpenSession(t.Context(), operator, p, "") })
	}
	c.Together(calls[:40]...)
	c.Together(calls[40:]...)
	for i, token := range tokens {
		_, err := c.Authenticate(token)
		if (err == nil) != (i >= 10) {
			t.Errorf("session %d: %v", i, err)
		}
	}
	// Exchanging one for another costs nobody else his session.
	next := c.signIn(p, tokens[30])
	if _, err := c.Authenticate(tokens[10]); err != nil {
		t.Errorf("an exchange ended another session: %v", err)
	}
	if _, err := c.Authenticate(other); err != nil {
		t.Errorf("the bound of one ended a session of another: %v", err)
	}
	var errs [2]error
	c.Together(
		func() { _, _, errs[0] = c.OpenSession(t.Context(), operator, p, next) },
		func() { _, _, errs[1] = c.OpenSession(t.Context(), operator, p, next) },
	)
	if errs[0] != nil {
		t.Error(errs[0])
	}
	wantCode(t, errs[1], fault.Unauthenticated) // one session is exchanged for one
	c.check()
}

func TestAClockThatJumpsBackLocksNobodyOut(t *testing.T) {
	c := newCell(t)
	r := c.must(ann)
	p := resource.Ref{Kind: "User", Tenant: "platform", Name: "ann"}
	c.clock.advance(-time.Hour)
	old := c.signIn(p, "")
	if err := c.remove(operator, r); err != nil {
		t.Fatal(err)
	}
	c.must(ann)
	c.dead(t, "of the user before", old)
	c.signIn(p, "")
}

func TestASessionOfAnotherEpochIsDead(t *testing.T) {
	c := newCell(t)
	token := c.signIn(dayzero.Operator, "")
	c.damage(t, func(d *sql.DB) error {
		_, err := d.Exec(`UPDATE head SET epoch='restored'`)
		return err
	})
	c.dead(t, "before the restore", token)
	c.signIn(dayzero.Operator, "")
}

func TestASessionIsWorthWhatWasProven(t *testing.T) {
	c := newCell(t)
	c.must(ann)
	p := resource.Ref{Kind: "User", Tenant: "platform", Name: "ann"}
	by := identity.Actor{Principal: p, Door: "console", Source: "192.0.2.7", Proof: identity.ProofPassword, MFA: true}
	token, _, err := c.OpenSession(t.Context(), by, p, "")
	if err != nil {
		t.Fatal(err)
	}
	by.Proof, by.MFA = identity.ProofLink, false
	link, _, err := c.OpenSession(t.Context(), by, p, "")
	if err != nil {
		t.Fatal(err)
	}
	c.reopen()
	s, err := c.Authenticate(token)
	if err != nil || !s.MFA || s.Proof != identity.ProofPassword || s.UID == "" {
		t.Errorf("%+v %v", s, err)
	}
	if a := s.Actor(identity.Actor{Door: "api"}); !a.MFA || a.Principal != p || a.Door != "api" {
		t.Errorf("%+v", a)
	}
	c.dead(t, "a session by link does nothing", link)
	if s, err := c.Enrolling(link); err != nil || s.MFA || s.Principal != p {
		t.Errorf("but set the proofs: %+v %v", s, err)
	}
	if _, err := c.Enrolling(token); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("any other does not: %v", err)
	}
	own, err := c.OwnSessions(token)
	if err != nil || len(own) != 2 || own[0].Source != "192.0.2.7" || own[0].Proof != identity.ProofLink {
		t.Errorf("%+v %v", own, err)
	}
	if err := c.CloseSession(t.Context(), by, link); err != nil {
		t.Errorf("it can be left: %v", err)
	}
}
