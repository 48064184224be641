package console

import (
	"net/http"
	"regexp"
	"sync"
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
)

// Wrong links: so many at once, and one more each interval. Who holds the
// right one is never kept waiting by those who guess.
const (
	knockBurst = 10
	knockEvery = time.Second
)

// knocks counts wrong links.
type knocks struct {
	mu    sync.Mutex
	left  float64
	since time.Time
}

// wrong takes one from what is left; false when there is none.
func (k *knocks) wrong(now time.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.since.IsZero() {
		k.left = knockBurst
	} else if d := now.Sub(k.since); d > 0 {
		k.left = min(knockBurst, k.left+float64(d)/float64(knockEvery))
	}
	k.since = now
	if k.left < 1 {
		return false
	}
	k.left--
	return true
}

// tokenForm is what a link's token can look like: anything else is not carried
// into the page.
var tokenForm = regexp.MustCompile(`^[a-z0-9]{1,16}\.[a-z2-7]{52}$`)

// showEnter shows one button and burns nothing, since programs open links to
// preview them. It says nothing about the token, right or wrong.
func (c *Console) showEnter(v *visit) error {
	token := v.r.URL.Query().Get("t")
	if !tokenForm.MatchString(token) {
		token = ""
	}
	return v.render(http.StatusOK, entrance(v, token))
}

// enter burns the link and opens the session, in this order.
func (c *Console) enter(v *visit) error {
	who, err := c.opt.Enter(v.r.PostFormValue("t"))
	if fault.Is(err, fault.Unauthenticated) {
		if !c.knocks.wrong(c.opt.Now()) {
			e := fault.New(fault.Exhausted, "too many links were tried; wait a little", "尝试次数过多;请稍候再试")
			e.RetryAfter = knockEvery
			return e
		}
		c.opt.Gate.Refused(v.actor, "Link", "enter")
	}
	if err != nil {
		return err
	}
	by := v.actor
	by.Principal, by.Proof, by.MFA = who, identity.ProofLink, false
	token, _, err := c.opt.Gate.OpenSession(v.r.Context(), by, who, "")
	if err != nil {
		return err
	}
	v.cookie(sessionCookie, token, gate.EnrolLife)
	http.Redirect(v.w, v.r, "/setup", http.StatusSeeOther)
	return nil
}

// leave ends the session and takes the cookie back.
func (c *Console) leave(v *visit) error {
	if v.token != "" {
		if err := c.opt.Gate.CloseSession(v.r.Context(), v.actor, v.token); err != nil && !fault.Is(err, fault.Unauthenticated) {
			return err
		}
	}
	v.cookie(sessionCookie, "", -time.Second)
	http.Redirect(v.w, v.r, "/", http.StatusSeeOther)
	return nil
}
