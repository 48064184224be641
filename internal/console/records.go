package console

import (
	"net/http"
	"net/url"
	"slices"

	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/resource"
)

const (
	listRows     = 100
	historySteps = 30
)

func recordPath(k *resource.Kind, tenant, name string) string {
	return "/records/" + url.PathEscape(k.Plural) + "/" + url.PathEscape(tenant) + "/" + url.PathEscape(name)
}

func listPath(k *resource.Kind, after string) string {
	s := "/records/" + url.PathEscape(k.Plural)
	if after != "" {
		s += "?after=" + url.QueryEscape(after)
	}
	return s
}

func (c *Console) list(v *visit) error {
	k, err := c.kind(v.r.PathValue("plural"))
	if err != nil {
		return err
	}
	t, err := v.table(k, v.r.URL.Query().Get("after"), listRows, true)
	if err != nil {
		return hidden(err)
	}
	return v.render(http.StatusOK, listPage(v, t))
}

// detail is one record, ready to be shown.
type detail struct {
	kind   *resource.Kind
	object *resource.Object
	fields []fieldRow
	steps  []step
	more   bool   // there are older steps
	origin string // of the log that holds the leaves
}

// step is one change of a record's history.
type step struct {
	gate.Version
	changes []changeRow
}

func (c *Console) record(v *visit) error {
	k, err := c.kind(v.r.PathValue("plural"))
	if err != nil {
		return err
	}
	ref := resource.Ref{Kind: k.Name, Tenant: v.r.PathValue("tenant"), Name: v.r.PathValue("name")}
	if !resource.ValidName(ref.Tenant) || !resource.ValidName(ref.Name) {
		return nothingHere()
	}
	o, err := c.opt.Gate.Get(v.r.Context(), v.actor, ref)
	if err != nil {
		return hidden(err)
	}
	versions, err := c.opt.Gate.History(v.r.Context(), v.actor, ref, 0, historySteps+1)
	if err != nil {
		return hidden(err)
	}
	// An older record may have had the name; its history is not this one's.
	if i := slices.IndexFunc(versions, func(x gate.Version) bool { return x.Object != nil && x.Object.Metadata.UID != o.Metadata.UID }); i >= 0 {
		versions = versions[:i]
	}
	d := &detail{kind: k, object: o, origin: c.opt.Gate.Log().Origin, more: len(versions) > historySteps}
	if d.fields, err = fieldsOf(k, o); err != nil {
		return err
	}
	for i, x := range versions[:min(len(versions), historySteps)] {
		s := step{Version: x}
		if i+1 < len(versions) {
			if s.changes, err = changesOf(k, versions[i+1].Object, x.Object); err != nil {
				return err
			}
		}
		d.steps = append(d.steps, s)
	}
	return v.render(http.StatusOK, recordPage(v, d))
}
