package console

import (
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/a-h/templ"

	"github.com/dun-sec/dun/internal/console/part"
	"github.com/dun-sec/dun/internal/core/audit"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/resource"
)

const historySteps = 30

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

// detail is one record, ready to be shown.
type detail struct {
	kind   *resource.Kind
	object *resource.Object
	fields []fieldRow
	verbs  []*resource.Verb // that the visitor may carry out
	offers []string
	found  []originResult
	asked  []askedRow // of a record that asks for assent
	attack *attackView
	limits *thresholdsView
}

// needs is what the page takes beside its look.
func (d *detail) needs() string {
	if d.attack != nil && d.attack.points != "" {
		return "chart"
	}
	return ""
}

// step is one change of a record's history.
type step struct {
	gate.Version
	changes []changeRow
}

func (c *Console) record(v *visit) error {
	k, o, err := v.found()
	if err != nil {
		return err
	}
	d, err := v.detail(k, o)
	if err != nil {
		return err
	}
	return v.render(http.StatusOK, recordPage(v, d))
}

func (v *visit) detail(k *resource.Kind, o *resource.Object) (*detail, error) {
	names := []string{"update", "delete"}
	for i := range k.Verbs {
		if k.Verbs[i].ForPeople() || v.c.makes(&k.Verbs[i]) {
			names = append(names, k.Verbs[i].Name)
		}
	}
	d := &detail{kind: k, object: o, offers: v.c.opt.Gate.Offers(v.actor, o.Ref(), names...)}
	for i := range k.Verbs {
		if slices.Contains(d.offers, k.Verbs[i].Name) {
			d.verbs = append(d.verbs, &k.Verbs[i])
		}
	}
	var err error
	if d.fields, err = fieldsOf(k, o); err != nil {
		return nil, err
	}
	if d.attack, err = v.attackOf(k, o); err != nil {
		return nil, err
	}
	if d.attack != nil {
		d.fields = slices.DeleteFunc(d.fields, func(f fieldRow) bool { return d.attack.says(f.path) })
	}
	if d.limits, err = thresholdsOf(k, o); err != nil {
		return nil, err
	}
	if d.limits != nil {
		d.fields = slices.DeleteFunc(d.fields, func(f fieldRow) bool { return d.limits.says(f.path) })
	}
	d.asked, err = v.asked(o)
	if len(d.asked) > 0 { // the difference says it better
		d.fields = slices.DeleteFunc(d.fields, func(f fieldRow) bool { return strings.HasPrefix(f.path, "spec.changes") })
	}
	return d, err
}

// crumbs say where one is: the kind's list, the tenant, the record.
func crumbs(v *visit, k *resource.Kind, o *resource.Object) templ.Component {
	links := []part.Link{{Text: group(k.Nav).In(v.lang)}, {Text: k.Title.In(v.lang), Href: listPath(k, "")}}
	if o != nil {
		links = append(links, part.Link{Text: o.Metadata.Tenant, Href: listPath(k, "") + "?tenant=" + url.QueryEscape(o.Metadata.Tenant)})
	}
	return part.Breadcrumb(v.t("Where you are", "当前位置"), links)
}

// tabsOf are the views of a record that the visitor may have.
func tabsOf(v *visit, k *resource.Kind, o *resource.Object, now string) []part.Link {
	path := recordPath(k, o.Metadata.Tenant, o.Metadata.Name)
	out := []part.Link{{Text: v.t("Overview", "概览"), Href: path, Current: now == ""}}
	offers := v.c.opt.Gate.Offers(v.actor, o.Ref(), "update")
	if len(offers) > 0 {
		out = append(out, part.Link{Text: v.t("Edit", "编辑"), Href: path + "/edit", Current: now == "edit"}, part.Link{Text: "YAML", Href: path + "/edit?as=yaml", Current: now == "yaml"})
	}
	if k.Name == protectedKind && v.c.opt.Floods != nil {
		out = append(out, part.Link{Text: v.t("Traffic", "流量"), Href: path + "/traffic", Current: now == "traffic"})
	}
	return append(out, part.Link{Text: v.t("History", "历史"), Href: path + "/history", Current: now == "history"}, part.Link{Text: v.t("Proof", "证明"), Href: path + "/proof", Current: now == "proof"})
}

// past is a record's history, ready to be shown.
type past struct {
	kind     *resource.Kind
	object   *resource.Object
	steps    []step
	older    uint64 // revision before which there is more; 0 = none
	from, to uint64 // that are compared
	diff     []changeRow
	revert   bool
	origin   string // of the log that holds the leaves
}

func (c *Console) history(v *visit) error {
	k, o, err := v.found()
	if err != nil {
		return err
	}
	q := v.r.URL.Query()
	before := count(q.Get("before"))
	versions, err := c.opt.Gate.History(v.r.Context(), v.actor, o.Ref(), before, historySteps+1)
	if err != nil {
		return hidden(err)
	}
	// An older record may have had the name; its history is not this one's.
	if i := slices.IndexFunc(versions, func(x gate.Version) bool { return x.Object != nil && x.Object.Metadata.UID != o.Metadata.UID }); i >= 0 {
		versions = versions[:i]
	}
	p := &past{kind: k, object: o, from: count(q.Get("from")), to: count(q.Get("to")), origin: c.opt.Gate.Log().Origin, revert: len(c.opt.Gate.Offers(v.actor, o.Ref(), "update")) > 0}
	for i, x := range versions[:min(len(versions), historySteps)] {
		s := step{Version: x}
		if i+1 < len(versions) {
			if s.changes, err = changesOf(k, versions[i+1].Object, x.Object); err != nil {
				return err
			}
		}
		p.steps, p.older = append(p.steps, s), x.Revision
	}
	if len(versions) <= historySteps {
		p.older = 0
	}
	if p.from > 0 && p.to > 0 {
		if p.diff, err = v.between(k, o, p.from, p.to); err != nil {
			return hidden(err)
		}
	}
	return v.render(http.StatusOK, historyPage(v, p))
}

// between is what differs between two revisions.
func (v *visit) between(k *resource.Kind, o *resource.Object, from, to uint64) ([]changeRow, error) {
	a, err := v.c.opt.Gate.GetAt(v.r.Context(), v.actor, o.Ref(), from, v.c.opt.Now())
	if err != nil {
		return nil, err
	}
	b, err := v.c.opt.Gate.GetAt(v.r.Context(), v.actor, o.Ref(), to, v.c.opt.Now())
	if err != nil {
		return nil, err
	}
	return changesOf(k, a, b)
}

func count(s string) uint64 {
	n, err := strconv.ParseUint(s, 10, 53)
	if err != nil {
		return 0
	}
	return n
}

// evidence is the proof of a change, ready to be shown.
type evidence struct {
	kind     *resource.Kind
	object   *resource.Object
	revision uint64
	proof    gate.Proof
	leaf     audit.Leaf
	report   audit.Report
	wrong    string // why it does not verify
	hash     string
}

func (c *Console) proof(v *visit) error {
	k, o, err := v.found()
	if err != nil {
		return err
	}
	e := &evidence{kind: k, object: o, revision: count(v.r.URL.Query().Get("revision"))}
	p, _, r, err := c.opt.Gate.ProveBundle(v.r.Context(), v.actor, o.Ref(), e.revision)
	if err != nil && p.Entry.Leaf == nil {
		return hidden(err)
	}
	if err != nil {
		e.wrong = err.Error()
		c.opt.Log.Error("a proof does not verify", "kind", k.Name, "tenant", o.Metadata.Tenant, "name", o.Metadata.Name, "err", err)
	}
	e.proof, e.report = p, r
	if e.leaf, err = audit.ParseLeaf(p.Entry.Leaf); err != nil {
		return err
	}
	h := audit.LeafHash(p.Entry.Leaf)
	e.hash = hex.EncodeToString(h[:])
	return v.render(http.StatusOK, proofPage(v, e))
}

// bundle sends the proof as dun audit export writes it.
func (c *Console) bundle(v *visit) error {
	_, o, err := v.found()
	if err != nil {
		return err
	}
	b, err := c.opt.Gate.ExportProof(v.r.Context(), v.actor, o.Ref(), count(v.r.PostFormValue("revision")))
	if err != nil {
		return hidden(err)
	}
	return v.file("application/x-tar", o.Metadata.Name+".tar", b)
}

func (v *visit) file(contentType, name string, b []byte) error {
	v.w.Header().Set("Content-Type", contentType)
	v.w.Header().Set("Content-Disposition", `attachment; filename="`+name+`"`)
	if _, err := v.w.Write(b); err != nil {
		v.c.opt.Log.Debug("client left", "req", v.actor.Request, "err", err)
	}
	return nil
}

// step is what a page asks to be confirmed.
type confirmation struct {
	kind         *resource.Kind
	object       *resource.Object
	title, says  string
	path, button string
	danger       bool
	diff         []changeRow
	trouble      *fault.Error
	reason       string
}

// confirm shows the question, or does what was confirmed and goes on.
func (v *visit) confirm(q *confirmation, change func() gate.Change, next string) error {
	if v.r.Method == http.MethodPost {
		q.reason = v.r.PostFormValue("reason")
		_, err := v.c.opt.Gate.Apply(v.r.Context(), gate.Request{Actor: v.actor, Reason: q.reason, Changes: []gate.Change{change()}})
		if err == nil {
			http.Redirect(v.w, v.r, next, http.StatusSeeOther)
			return nil
		}
		if q.trouble = fault.Of(err); q.trouble.Code == fault.Internal || q.trouble.Code == fault.Unavailable {
			return err
		}
		return v.render(q.trouble.Code.Status(), confirmPage(v, q))
	}
	return v.render(http.StatusOK, confirmPage(v, q))
}

func (c *Console) remove(v *visit) error {
	k, o, err := v.found()
	if err != nil {
		return err
	}
	if len(c.opt.Gate.Offers(v.actor, o.Ref(), "delete")) == 0 && v.r.Method != http.MethodPost {
		return fault.New(fault.Forbidden, "you may not delete %s", "您无权删除 %s", o.Ref())
	}
	path := recordPath(k, o.Metadata.Tenant, o.Metadata.Name)
	q := &confirmation{
		kind: k, object: o, title: v.t("Delete: ", "删除:") + o.Metadata.Name, path: path + "/delete", button: v.t("Delete", "删除"), danger: true,
		says: v.t("The record goes, and what enforced it follows at once. Its history and the proofs of it stay.", "该记录将被删除,执行点随即生效;其历史和证明会保留。"),
	}
	return v.confirm(q, func() gate.Change {
		return gate.Change{Op: gate.Delete, Ref: o.Ref(), Revision: count(v.r.PostFormValue("revision"))}
	}, listPath(k, "")+"?done=deleted")
}

func (c *Console) revert(v *visit) error {
	k, o, err := v.found()
	if err != nil {
		return err
	}
	to := count(v.r.URL.Query().Get("to"))
	then, err := c.opt.Gate.GetAt(v.r.Context(), v.actor, o.Ref(), to, c.opt.Now())
	if err != nil {
		return hidden(err)
	}
	path := recordPath(k, o.Metadata.Tenant, o.Metadata.Name)
	q := &confirmation{
		kind: k, object: o, title: v.t("Revert to revision ", "恢复到修订 ") + number(to), path: path + "/revert?to=" + number(to), button: v.t("Revert", "恢复"),
		says: v.t("The record gets the content that it had then. This is a new change with its own proof; nothing is rewritten.", "记录将恢复为当时的内容。这是一次新的更改,有自己的证明;历史不会被改写。"),
	}
	if q.diff, err = changesOf(k, o, then); err != nil {
		return err
	}
	return v.confirm(q, func() gate.Change {
		old := *then
		old.Metadata = resource.Metadata{Tenant: o.Metadata.Tenant, Name: o.Metadata.Name, Labels: then.Metadata.Labels, Annotations: then.Metadata.Annotations}
		old.State, old.Status = nil, nil
		return gate.Change{Op: gate.Put, Ref: o.Ref(), Object: &old, Revision: count(v.r.PostFormValue("revision"))}
	}, path+"/history?done=saved")
}

// act shows the form of a verb, or carries it out.
func (c *Console) act(v *visit) error {
	k, o, err := v.found()
	if err != nil {
		return err
	}
	verb, err := k.FindVerb(v.r.PathValue("verb"))
	if err != nil {
		return err
	}
	made := c.makes(verb)
	if !verb.ForPeople() && !made {
		return nothingHere()
	}
	path := recordPath(k, o.Metadata.Tenant, o.Metadata.Name)
	d := &draft{kind: k, verb: verb, object: o, inputs: verb.Inputs(), prefix: "input", revision: o.Metadata.Revision, wrong: map[string]string{}}
	if made {
		d.inputs = nil
	}
	d.values = valuesOf(d.inputs, nil, d.prefix)
	if v.r.Method == http.MethodPost {
		if err := v.r.ParseForm(); err != nil {
			return fault.New(fault.Invalid, "the form cannot be read, or is too large", "表单无法读取或过大").Because(err)
		}
		d.take(v.r.PostForm)
		if made {
			err := c.makeSecret(v, d)
			if err == nil {
				return nil
			}
			if err := v.blame(d, err); err != nil {
				return err
			}
		} else if _, rows := d.values.edit(v.r.PostForm.Get("do")); !rows {
			_, err := c.opt.Gate.Apply(v.r.Context(), gate.Request{Actor: v.actor, Reason: d.reason, Changes: []gate.Change{
				{Op: gate.Act, Ref: o.Ref(), Verb: verb.Name, Input: d.values.tree(d.inputs, d.prefix), Revision: d.revision}}})
			if err == nil {
				http.Redirect(v.w, v.r, path+"?done=done", http.StatusSeeOther)
				return nil
			}
			if err := v.blame(d, err); err != nil {
				return err
			}
		}
	}
	return v.render(d.answer(), verbPage(v, d, path+"/do/"+url.PathEscape(verb.Name)))
}
