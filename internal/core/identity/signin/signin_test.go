package signin

import (
	"context"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"github.com/dun-sec/dun/internal/core/db"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/secret"
)

const (
	right = "tangerine-oboe-42-plinth"
	other = "correct horse battery staple"
)

var ann = resource.Ref{Kind: "User", Tenant: "acme", Name: "ann"}

// house is a store with one user who has the uid u-ann, and a clock.
type house struct {
	*Store
	t     *testing.T
	at    time.Time
	uid   string // of ann; "" = she is disabled
	facts []string
}

func newHouse(t *testing.T) *house {
	t.Helper()
	dir := t.TempDir()
	d, err := db.OpenSQLite(t.Context(), filepath.Join(dir, "meta.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	k, err := secret.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Write(filepath.Join(dir, "root.key")); err != nil {
		t.Fatal(err)
	}
	h := &house{t: t, at: time.Date(2026, 11, 25, 9, 0, 1, 0, time.UTC), uid: "u-ann"}
	now := func() time.Time { return h.at }
	secrets, err := secret.Open(t.Context(), secret.Options{DB: d, KeyFile: filepath.Join(dir, "root.key"), Now: now,
		Record: func(context.Context, identity.Actor, secret.Use) error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	h.Store, err = Open(t.Context(), Options{DB: d, Secrets: secrets, Cell: "cell", Now: now,
		Find: func(tenant, name string) (string, bool) {
			return h.uid, h.uid != "" && tenant == "acme" && name == "ann"
		},
		Record: func(_ context.Context, _ identity.Actor, user resource.Ref, action string) error {
			h.facts = append(h.facts, action+" "+user.String())
			return nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

func code(t *testing.T, key string, at time.Time) string {
	t.Helper()
	c, err := totp.GenerateCode(key, at)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// enrol gives ann a password and an app, and returns the app's secret.
func (h *house) enrol() string {
	h.t.Helper()
	key := h.DraftApp(ann, h.uid).Key
	if err := h.Set(h.t.Context(), by("192.0.2.1"), ann, h.uid, right, code(h.t, key, h.at)); err != nil {
		h.t.Fatal(err)
	}
	h.at = h.at.Add(time.Minute)
	return key
}

func by(source string) identity.Actor { return identity.Actor{Door: "console", Source: source} }

func (h *house) password(source, typed, cookie string) (string, error) {
	return h.Password(h.t.Context(), by(source), Login{Tenant: "acme", Name: "ann", Password: typed, Browser: cookie})
}

func (h *house) enter(source, cookie, key string) (Passed, error) {
	ticket, err := h.password(source, right, cookie)
	if err != nil {
		return Passed{}, err
	}
	return h.Code(h.t.Context(), by(source), ticket, code(h.t, key, h.at))
}

func want(t *testing.T, what string, err error, c fault.Code) {
	t.Helper()
	if !fault.Is(err, c) {
		t.Errorf("%s: %v, want %v", what, err, c)
	}
}

func TestPasswordAndCodeLetSomebodyIn(t *testing.T) {
	h := newHouse(t)
	key := h.enrol()
	p, err := h.enter("192.0.2.1", "", key)
	if err != nil || p.User != ann || p.Proof != identity.ProofPassword {
		t.Fatalf("%+v %v", p, err)
	}
	_, err = h.password("192.0.2.1", right+"x", "")
	want(t, "a wrong password", err, fault.Unauthenticated)
	_, err = h.Password(t.Context(), by("192.0.2.1"), Login{Tenant: "acme", Name: "bob", Password: right})
	want(t, "nobody", err, fault.Unauthenticated)
	_, err = h.Code(t.Context(), by("192.0.2.1"), "no ticket", code(t, key, h.at))
	want(t, "no ticket", err, fault.Unauthenticated)
	h.uid = ""
	_, err = h.enter("192.0.2.1", "", key)
	want(t, "a disabled user", err, fault.Unauthenticated)
	h.uid = "u-another"
	_, err = h.enter("192.0.2.1", "", key)
	want(t, "another user under the old name", err, fault.Unauthenticated)
	if len(h.facts) != 1 || h.facts[0] != "set-password-and-codes User acme/ann" {
		t.Error(h.facts)
	}
}

// TestACodeIsGoodForOnce sends the same code again, an older one, and one of
// many at once.
func TestACodeIsGoodForOnce(t *testing.T) {
	h := newHouse(t)
	key := h.enrol()
	if _, err := h.enter("192.0.2.1", "", key); err != nil {
		t.Fatal(err)
	}
	_, err := h.enter("192.0.2.1", "", key)
	want(t, "the same again", err, fault.Unauthenticated)
	ticket, _ := h.password("192.0.2.1", right, "")
	_, err = h.Code(t.Context(), by("192.0.2.1"), ticket, code(t, key, h.at.Add(-period*time.Second)))
	want(t, "the one before", err, fault.Unauthenticated)

	h.at = h.at.Add(10 * time.Minute)
	var tickets []string
	for range 4 {
		ticket, err := h.password("192.0.2.1", right, "")
		if err != nil {
			t.Fatal(err)
		}
		tickets = append(tickets, ticket)
	}
	now := code(t, key, h.at)
	var in atomic.Int32
	var all sync.WaitGroup
	for _, ticket := range tickets {
		all.Go(func() {
			if _, err := h.Code(t.Context(), by("192.0.2.1"), ticket, now); err == nil {
				in.Add(1)
			}
		})
	}
	all.Wait()
	if in.Load() != 1 {
		t.Errorf("%d got in by one code", in.Load())
	}
}

func TestATicketIsWorthOneSignInAndFewTries(t *testing.T) {
	h := newHouse(t)
	key := h.enrol()
	ticket, err := h.password("192.0.2.1", right, "")
	if err != nil {
		t.Fatal(err)
	}
	for range maxTries {
		_, err := h.Code(t.Context(), by("192.0.2.1"), ticket, "000000")
		want(t, "a wrong code", err, fault.Unauthenticated)
	}
	_, err = h.Code(t.Context(), by("192.0.2.1"), ticket, code(t, key, h.at))
	want(t, "after too many", err, fault.Unauthenticated)

	ticket, _ = h.password("192.0.2.1", right, "")
	h.at = h.at.Add(TicketLife)
	_, err = h.Code(t.Context(), by("192.0.2.1"), ticket, code(t, key, h.at))
	want(t, "too late", err, fault.Unauthenticated)

	ticket, _ = h.password("192.0.2.1", right, "")
	if err := h.SetPassword(t.Context(), by("192.0.2.1"), ann, h.uid, right, other); err != nil {
		t.Fatal(err)
	}
	_, err = h.Code(t.Context(), by("192.0.2.1"), ticket, code(t, key, h.at))
	want(t, "after the password was changed", err, fault.Unauthenticated)
}

// TestStuffingIsSlowedAndKeepsNobodyOut guesses from one place and from many:
// the owner's browser is let in all the while.
func TestStuffingIsSlowedAndKeepsNobodyOut(t *testing.T) {
	h := newHouse(t)
	key := h.enrol()
	p, err := h.enter("192.0.2.1", "", key)
	if err != nil {
		t.Fatal(err)
	}
	cookie, err := h.Remember(t.Context(), p, "")
	if err != nil {
		t.Fatal(err)
	}
	h.at = h.at.Add(time.Hour)
	tried := 0
	for i := range 40 { // an IPv6 network gives many addresses
		_, err := h.Password(t.Context(), by("2001:db8::"+string(rune('a'+i%6))), Login{Tenant: "acme", Name: strings.Repeat("n", i+1), Password: "guess"})
		if fault.Is(err, fault.Unauthenticated) {
			tried++
		}
	}
	if tried != pace[sourceOf].burst {
		t.Errorf("one network tried %d times at once", tried)
	}
	tried = 0
	for i := range 30 { // a botnet: a new address for each try
		_, err := h.password("198.51.100."+string(rune('1'+i%9))+string(rune('0'+i/9)), "guess", "")
		if fault.Is(err, fault.Unauthenticated) {
			tried++
		} else {
			want(t, "one more", err, fault.Exhausted)
		}
	}
	if tried != pace[account].burst {
		t.Errorf("one account was tried %d times at once", tried)
	}
	_, err = h.password("192.0.2.1", right, "")
	want(t, "the owner from a new browser waits", err, fault.Exhausted)
	if _, err := h.enter("192.0.2.1", cookie, key); err != nil {
		t.Errorf("the owner's browser: %v", err)
	}
	_, err = h.password("192.0.2.1", right, cookie[1:]+"a")
	want(t, "a made-up cookie", err, fault.Exhausted)
	h.at = h.at.Add(pace[account].every + time.Second)
	if _, err := h.password("192.0.2.99", right, ""); err != nil {
		t.Errorf("a minute later: %v", err)
	}
}

func TestCodesAreSlowedForWhoKnowsThePassword(t *testing.T) {
	h := newHouse(t)
	h.enrol()
	tried := 0
	for i := range 20 {
		ticket, err := h.password("192.0.2."+string(rune('1'+i)), right, "")
		if err != nil {
			break
		}
		for range maxTries {
			if _, err := h.Code(t.Context(), by("192.0.2.1"), ticket, "000000"); fault.Is(err, fault.Unauthenticated) {
				tried++
			}
		}
	}
	if tried != pace[codesOf].burst {
		t.Errorf("%d codes were tried at once", tried)
	}
}

func TestWhatIsSetIsJudged(t *testing.T) {
	h := newHouse(t)
	key := h.DraftApp(ann, h.uid).Key
	if again := h.DraftApp(ann, h.uid); again.Key != key || !strings.Contains(again.URI, key) || !strings.HasPrefix(again.URI, "otpauth://totp/Dun%20cell:acme%2Fann?") {
		t.Errorf("%+v", again)
	}
	want(t, "a weak password", h.Set(t.Context(), by(""), ann, h.uid, "password1234", code(t, key, h.at)), fault.Invalid)
	want(t, "a wrong code", h.Set(t.Context(), by(""), ann, h.uid, right, "123456"), fault.Invalid)
	if p, err := h.Proofs(t.Context(), h.uid); err != nil || p.Any() {
		t.Errorf("%+v %v", p, err)
	}
	key = h.enrol()
	want(t, "a wrong old password", h.SetPassword(t.Context(), by(""), ann, h.uid, other, "another tangerine for oboes"), fault.Forbidden)
	want(t, "a weak new one", h.SetPassword(t.Context(), by(""), ann, h.uid, right, "password1234"), fault.Invalid)
	want(t, "the old one", h.SetPassword(t.Context(), by(""), ann, h.uid, right, right), fault.Invalid)

	next := h.DraftApp(ann, h.uid).Key
	if next == key {
		t.Error("a new app has the old secret")
	}
	want(t, "a wrong password for the app", h.SetApp(t.Context(), by(""), ann, h.uid, other, code(t, next, h.at)), fault.Forbidden)
	if err := h.SetApp(t.Context(), by(""), ann, h.uid, right, code(t, next, h.at)); err != nil {
		t.Fatal(err)
	}
	h.at = h.at.Add(time.Minute)
	_, err := h.enter("192.0.2.1", "", key)
	want(t, "the old app", err, fault.Unauthenticated)
	if _, err := h.enter("192.0.2.1", "", next); err != nil {
		t.Errorf("the new app: %v", err)
	}
	var n int
	if err := h.opt.DB.Reader.QueryRow(`SELECT count(*) FROM secrets`).Scan(&n); err != nil || n != 1 {
		t.Errorf("%d secrets are kept (%v)", n, err)
	}
}

func TestBrowsersAreForgottenInOrder(t *testing.T) {
	h := newHouse(t)
	h.enrol()
	p := Passed{User: ann, uid: h.uid}
	var first, last string
	for i := range maxBrowsers + 1 {
		h.at = h.at.Add(time.Second)
		c, err := h.Remember(t.Context(), p, "")
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = c
		}
		last = c
	}
	if h.knows(t.Context(), h.uid, first) || !h.knows(t.Context(), h.uid, last) || h.knows(t.Context(), "u-another", last) {
		t.Error("the wrong ones are known")
	}
	next, err := h.Remember(t.Context(), p, last)
	if err != nil || h.knows(t.Context(), h.uid, last) || !h.knows(t.Context(), h.uid, next) {
		t.Errorf("a cookie is good after its next: %v", err)
	}
	h.at = h.at.Add(BrowserLife)
	if h.knows(t.Context(), h.uid, next) {
		t.Error("a browser is known for ever")
	}
}
