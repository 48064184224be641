package console

import (
	"net/http"
	"slices"
	"strings"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/resource"
)

// bulk is one action on several records: all of it or nothing.
type bulk struct {
	kind       *resource.Kind
	action     string // delete, label or verb:NAME
	key, value string // of a label; an empty value takes it off
	rows       []bulkRow
	reason     string
	trouble    *fault.Error
}

type bulkRow struct {
	id     string // tenant/name@revision
	object *resource.Object
	why    *fault.Error // why it would be refused; nil = it would not
}

// bulk shows what would happen to the chosen rows, or does it.
func (c *Console) bulk(v *visit) error {
	k, err := c.kind(v.r.PathValue("plural"))
	if err != nil {
		return err
	}
	if err := v.r.ParseForm(); err != nil {
		return fault.New(fault.Invalid, "the form cannot be read, or is too large", "表单无法读取或过大").Because(err)
	}
	f := v.r.PostForm
	b := &bulk{kind: k, action: f.Get("action"), key: strings.TrimSpace(f.Get("key")), value: strings.TrimSpace(f.Get("value")), reason: f.Get("reason")}
	picked := f["row"]
	if len(picked) == 0 || len(picked) > gate.MaxChanges {
		return fault.New(fault.Invalid, "choose 1 to %d rows", "请选择 1 至 %d 行", gate.MaxChanges)
	}
	for _, id := range picked {
		b.rows = append(b.rows, v.bulkRow(k, id))
	}
	changes, err := b.changes()
	if err != nil {
		return err
	}
	v.judge(b, changes)
	if f.Get("do") != "save" || b.refused() {
		return v.render(http.StatusOK, bulkPage(v, b))
	}
	if _, err := c.opt.Gate.Apply(v.r.Context(), gate.Request{Actor: v.actor, Reason: b.reason, Changes: changes}); err != nil {
		if b.trouble = fault.Of(err); b.trouble.Code == fault.Internal {
			return err
		}
		return v.render(b.trouble.Code.Status(), bulkPage(v, b))
	}
	http.Redirect(v.w, v.r, listPath(k, "")+"?done=done", http.StatusSeeOther)
	return nil
}

func (v *visit) bulkRow(k *resource.Kind, id string) bulkRow {
	at, rev, _ := strings.Cut(id, "@")
	tenant, name, _ := strings.Cut(at, "/")
	r := bulkRow{id: id}
	o, err := v.c.opt.Gate.Get(v.r.Context(), v.actor, resource.Ref{Kind: k.Name, Tenant: tenant, Name: name})
	switch {
	case err != nil:
		r.why = fault.New(fault.NotFound, "it is not there any more", "该记录已不存在")
	case o.Metadata.Revision != count(rev):
		r.object, r.why = o, fault.New(fault.Conflict, "it changed since you saw the list", "自您查看列表后已被更改")
	default:
		r.object = o
	}
	return r
}

// changes are those of the rows that are still as they were seen.
func (b *bulk) changes() ([]gate.Change, error) {
	verb, isVerb := strings.CutPrefix(b.action, "verb:")
	switch {
	case isVerb:
		if _, err := b.kind.FindVerb(verb); err != nil {
			return nil, err
		}
	case b.action == "label":
		if why := resource.CheckLabelKey(b.key); why != nil {
			return nil, fault.Fields([]fault.Field{{Path: "key", Reason: *why}})
		}
	case b.action != "delete":
		return nil, fault.New(fault.Invalid, "choose what to do", "请选择操作")
	}
	var out []gate.Change
	for _, r := range b.rows {
		if r.why != nil {
			continue
		}
		c := gate.Change{Op: gate.Delete, Ref: r.object.Ref(), Revision: r.object.Metadata.Revision}
		switch {
		case isVerb:
			c.Op, c.Verb = gate.Act, verb
		case b.action == "label":
			var x any = b.value
			if b.value == "" {
				x = nil
			}
			c.Op, c.Patch = gate.Patch, map[string]any{"metadata": map[string]any{"labels": map[string]any{b.key: x}}}
		}
		out = append(out, c)
	}
	return out, nil
}

// judge asks of each row whether it would be refused.
func (v *visit) judge(b *bulk, changes []gate.Change) {
	why := v.c.opt.Gate.Try(gate.Request{Actor: v.actor, Changes: changes})
	next := 0
	for i := range b.rows {
		if b.rows[i].why != nil {
			continue
		}
		if why[next] != nil {
			b.rows[i].why = fault.Of(why[next])
		}
		next++
	}
}

func (b *bulk) refused() bool {
	return slices.ContainsFunc(b.rows, func(r bulkRow) bool { return r.why != nil })
}

// says is what would happen, in words.
func (b *bulk) says(v *visit) string {
	verb, isVerb := strings.CutPrefix(b.action, "verb:")
	switch {
	case isVerb:
		x, err := b.kind.FindVerb(verb)
		if err != nil {
			return ""
		}
		return x.Title.In(v.lang)
	case b.action == "label" && b.value == "":
		return v.t("Take off the label ", "移除标签 ") + clean(b.key, clipCell)
	case b.action == "label":
		return v.t("Set the label ", "设置标签 ") + clean(b.key+"="+b.value, clipCell)
	}
	return v.t("Delete", "删除")
}
