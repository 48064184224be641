package console

import (
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/identity/signin"
	"github.com/dun-sec/dun/internal/core/resource"
)

// browserCookie is of a browser that signed in before.
const browserCookie = "__Host-dun-browser"

// signInForm is what the page for people outside shows.
type signInForm struct {
	tenant, name, back string
	ticket             string // of the second step
	wrong              *fault.Error
}

// place is where the browser is, as a passkey is bound to it; false where none
// is offered: under an address, and under a name that the configuration does
// not give.
func (v *visit) place() (signin.Place, bool) {
	host := v.r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(host)
	if !slices.Contains(v.c.opt.Names, host) {
		return signin.Place{}, false
	}
	return signin.Place{Host: host, Origin: "https://" + strings.ToLower(v.r.Host)}, true
}

func (v *visit) passkeys() bool {
	_, ok := v.place()
	return ok
}

// signIn takes the password and asks for the code.
func (c *Console) signIn(v *visit) error {
	f := signInForm{tenant: strings.TrimSpace(v.r.PostFormValue("tenant")), name: strings.TrimSpace(v.r.PostFormValue("name")), back: v.back()}
	if t, n, both := strings.Cut(f.name, "/"); both {
		f.tenant, f.name = t, n
	}
	if f.tenant == "" {
		f.tenant = resource.Platform
	}
	cookie := ""
	if k, err := v.r.Cookie(browserCookie); err == nil {
		cookie = k.Value
	}
	ticket, err := c.opt.SignIn.Password(v.r.Context(), v.actor, signin.Login{Tenant: f.tenant, Name: f.name, Password: v.r.PostFormValue("password"), Browser: cookie})
	if err != nil {
		return v.refused(err, f)
	}
	f.ticket = ticket
	return v.render(http.StatusOK, outside(v, f))
}

// code takes the code and opens the session.
func (c *Console) code(v *visit) error {
	f := signInForm{ticket: v.r.PostFormValue("ticket"), back: v.back()}
	who, err := c.opt.SignIn.Code(v.r.Context(), v.actor, f.ticket, v.r.PostFormValue("code"))
	if err != nil {
		return v.refused(err, f)
	}
	if err := v.admit(who, ""); err != nil {
		return err
	}
	http.Redirect(v.w, v.r, f.back, http.StatusSeeOther)
	return nil
}

// refused shows the form again. Who was named is told to the log of denials
// where there is such a user.
func (v *visit) refused(err error, f signInForm) error {
	e := fault.Of(err)
	if e.Code != fault.Unauthenticated && e.Code != fault.Exhausted {
		return err
	}
	target := resource.Ref{Kind: "Session", Tenant: resource.Platform}
	if user := (resource.Ref{Kind: "User", Tenant: f.tenant, Name: f.name}); f.name != "" {
		if _, there := v.c.opt.Gate.Subject(user); there {
			target = user
		}
	}
	v.c.opt.Gate.RefusedAt(v.actor, target, "sign-in")
	f.wrong = e
	v.retryAfter(e)
	if e.Code == fault.Unauthenticated {
		v.w.Header().Set("WWW-Authenticate", "Cookie")
	}
	return v.render(e.Code.Status(), outside(v, f))
}

// admit opens the session of somebody who proved himself by two factors;
// replaces is one that it takes the place of.
func (v *visit) admit(who signin.Passed, replaces string) error {
	by := v.actor
	by.Principal, by.Proof, by.MFA = who.User, who.Proof, true
	token, _, err := v.c.opt.Gate.OpenSession(v.r.Context(), by, who.User, replaces)
	if err != nil {
		return err
	}
	old := ""
	if k, err := v.r.Cookie(browserCookie); err == nil {
		old = k.Value
	}
	cookie, err := v.c.opt.SignIn.Remember(v.r.Context(), who, old)
	if err != nil {
		return err
	}
	v.cookie(sessionCookie, token, gate.SessionLife)
	v.cookie(browserCookie, cookie, signin.BrowserLife)
	v.token, v.actor = token, by
	return nil
}

// enrolling serves a page to whoever entered by a link.
func (c *Console) enrolling(h func(*visit) error) func(*visit) error {
	return func(v *visit) error {
		if !v.enrolling {
			http.Redirect(v.w, v.r, "/", http.StatusSeeOther)
			return nil
		}
		return h(v)
	}
}

// setup gives whoever entered by a link a password and an app, and lets him in.
func (c *Console) setup(v *visit) error {
	had, err := c.opt.SignIn.Proofs(v.r.Context(), v.uid)
	if err != nil {
		return err
	}
	show := func(status int, wrong *fault.Error) error {
		return v.render(status, setupPage(v, c.opt.SignIn.DraftApp(v.actor.Principal, v.uid), had, wrong))
	}
	if v.r.Method == http.MethodGet {
		return show(http.StatusOK, nil)
	}
	typed := v.r.PostFormValue("password")
	if typed != v.r.PostFormValue("again") {
		return show(http.StatusUnprocessableEntity, fault.New(fault.Invalid, "the two passwords differ", "两次输入的密码不一致"))
	}
	err = c.opt.SignIn.Set(v.r.Context(), v.actor, v.actor.Principal, v.uid, typed, v.r.PostFormValue("code"))
	if e := fault.Of(err); err != nil && (e.Code == fault.Invalid || e.Code == fault.Exhausted) {
		return show(e.Code.Status(), e)
	}
	if err != nil {
		return err
	}
	return v.enrolled(identity.ProofPassword, had.Any())
}

// enrolled lets in whoever just set his proofs; had says that he had others
// before: whoever signed in by those is signed out.
func (v *visit) enrolled(p identity.Proof, had bool) error {
	if err := v.admit(signin.Proven(v.actor.Principal, v.uid, p), v.token); err != nil {
		return err
	}
	if had {
		if err := v.endOthers(); err != nil {
			return err
		}
	}
	if v.r.Header.Get("Content-Type") == jsonType {
		return v.json(map[string]string{"to": "/"})
	}
	http.Redirect(v.w, v.r, "/", http.StatusSeeOther)
	return nil
}

// endOthers signs out whoever signed in as the visitor by what he now replaced.
func (v *visit) endOthers() error {
	_, err := v.c.opt.Gate.EndSessions(v.r.Context(), v.actor, v.token, gate.People)
	return err
}
