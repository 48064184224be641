package console

import (
	"net/http"

	"github.com/dun-sec/dun/internal/core/fault"
)

// account shows who is signed in, and where.
func (c *Console) account(v *visit) error {
	sessions, err := c.opt.Gate.OwnSessions(v.token)
	if err != nil {
		return err
	}
	return v.render(http.StatusOK, accountPage(v, sessions))
}

// endSession ends one other session of the visitor, or all others.
func (c *Console) endSession(v *visit) error {
	id := v.r.PostFormValue("session")
	switch id {
	case "":
		return fault.New(fault.Invalid, "no session is named", "未指明会话")
	case "all":
		id = ""
	}
	if _, err := c.opt.Gate.EndSessions(v.r.Context(), v.actor, v.token, id); err != nil {
		return err
	}
	http.Redirect(v.w, v.r, "/account", http.StatusSeeOther)
	return nil
}
