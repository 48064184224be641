package console

import (
	"net/http"
	"slices"
	"strings"

	"github.com/dun-sec/dun/internal/core/deposit"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/secret"
)

// makes reports whether a person has a secret made by the verb, here.
func (c *Console) makes(verb *resource.Verb) bool {
	return verb.Secret != nil && verb.Secret.Made && c.opt.MakeSecret != nil
}

// makeSecret carries the verb out and shows the secret: the page is the only
// place where it is ever seen, and is kept nowhere.
func (c *Console) makeSecret(v *visit, d *draft) error {
	o, made, err := c.opt.MakeSecret(v.r.Context(), deposit.Request{Actor: v.actor, Ref: d.object.Ref(), Verb: d.verb.Name, Revision: d.revision, Reason: d.reason})
	if err != nil {
		return err
	}
	rows, err := fieldsOf(d.kind, o)
	if err != nil {
		return err
	}
	rows = slices.DeleteFunc(rows, func(f fieldRow) bool { return !strings.HasPrefix(f.path, "state.") || secret.Ref(f.value).Valid() })
	return v.render(http.StatusOK, secretPage(v, d.kind, o, rows, made))
}
