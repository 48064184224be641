package console

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/text"
)

// maxTenants bounds the choice of tenants of a new record.
const maxTenants = 1000

// draft is a record that somebody is writing, as fields or as YAML.
type draft struct {
	kind     *resource.Kind
	verb     *resource.Verb // of a verb's input instead of a record
	object   *resource.Object
	inputs   []resource.Input
	prefix   string // spec or input
	values   *values
	yaml     string
	asYAML   bool
	fresh    bool // it is to be created
	tenants  []string
	revision uint64
	reason   string
	focus    string
	wrong    map[string]string // reason by path
	order    []fault.Field
	trouble  *fault.Error
	moved    []changeRow // what others changed meanwhile
}

// labelInput asks for the labels of any record.
func labelInput() *resource.Input {
	return &resource.Input{
		Name: "labels", Type: resource.InputMap, Label: text.T("Labels", "标签"), Each: &resource.Input{Type: resource.InputText},
		Help: text.T("Words to find and group records by; dun.dev/class is the data class", "用于查找和归类记录;dun.dev/class 为数据分级"),
	}
}

// ref reads whose record a path names.
func (v *visit) ref() (*resource.Kind, resource.Ref, error) {
	k, err := v.c.kind(v.r.PathValue("plural"))
	if err != nil {
		return nil, resource.Ref{}, err
	}
	ref := resource.Ref{Kind: k.Name, Tenant: v.r.PathValue("tenant"), Name: v.r.PathValue("name")}
	if !resource.ValidName(ref.Tenant) || !resource.ValidName(ref.Name) {
		return nil, ref, nothingHere()
	}
	return k, ref, nil
}

// found is ref with the record as it is now.
func (v *visit) found() (*resource.Kind, *resource.Object, error) {
	k, ref, err := v.ref()
	if err != nil {
		return nil, nil, err
	}
	o, err := v.c.opt.Gate.Get(v.r.Context(), v.actor, ref)
	return k, o, hidden(err)
}

// newDraft begins a record, with what the address already says of it.
func (v *visit) newDraft(k *resource.Kind) (*draft, error) {
	d := &draft{kind: k, inputs: k.Inputs(), prefix: "spec", fresh: true, wrong: map[string]string{}, tenants: v.c.opt.Gate.CreateIn(v.actor, k.Name, maxTenants)}
	if len(d.tenants) == 0 {
		return nil, fault.New(fault.Forbidden, "you may create no %s in any tenant", "您无权在任何租户中创建%s", k.Title)
	}
	d.values = valuesOf(d.inputs, nil, d.prefix)
	for name, all := range v.r.URL.Query() {
		if len(all) > 0 && (strings.HasPrefix(name, "spec.") || name == "metadata.name" || name == "metadata.tenant") && len(all[0]) < 4096 && len(d.values.text) < maxInputs {
			d.values.text[name] = all[0]
		}
	}
	if d.values.text["metadata.tenant"] == "" {
		d.values.text["metadata.tenant"] = d.tenants[0]
		if slices.Contains(d.tenants, v.actor.Principal.Tenant) {
			d.values.text["metadata.tenant"] = v.actor.Principal.Tenant
		}
	}
	d.yaml = k.Example
	return d, nil
}

// editDraft begins with the record as it is.
func (v *visit) editDraft(k *resource.Kind, o *resource.Object) (*draft, error) {
	if len(v.c.opt.Gate.Offers(v.actor, o.Ref(), "update")) == 0 {
		return nil, fault.New(fault.Forbidden, "you may not change %s", "您无权更改 %s", o.Ref())
	}
	d := &draft{kind: k, object: o, inputs: k.Inputs(), prefix: "spec", revision: o.Metadata.Revision, wrong: map[string]string{}}
	tree, err := resource.Tree(o)
	if err != nil {
		return nil, err
	}
	spec, _ := tree["spec"].(map[string]any)
	d.values = valuesOf(d.inputs, spec, d.prefix)
	labels := map[string]any{}
	for key, x := range o.Metadata.Labels {
		labels[key] = x
	}
	d.values.load(labelInput(), labels, "metadata.labels")
	d.yaml, err = manifest(o)
	return d, err
}

// take reads what was sent into the draft.
func (d *draft) take(form url.Values) {
	d.reason = form.Get("reason")
	if form.Has("yaml") {
		d.asYAML, d.yaml = true, strings.ReplaceAll(form.Get("yaml"), "\r\n", "\n")
	} else {
		d.values = posted(form)
	}
	if n, err := strconv.ParseUint(form.Get("revision"), 10, 53); err == nil && !d.fresh {
		d.revision = n
	}
}

// document is the record that the draft means, as plain maps.
func (d *draft) document() (map[string]any, error) {
	if d.asYAML {
		return d.fromYAML()
	}
	meta := map[string]any{"tenant": d.values.text["metadata.tenant"], "name": d.values.text["metadata.name"]}
	if d.object != nil {
		meta["tenant"], meta["name"] = d.object.Metadata.Tenant, d.object.Metadata.Name
		if len(d.object.Metadata.Annotations) > 0 {
			meta["annotations"] = d.object.Metadata.Annotations
		}
	}
	if d.kind.Scope == resource.ScopePlatform {
		meta["tenant"] = resource.Platform
	}
	if x := d.values.mapped("metadata.labels"); x != nil {
		meta["labels"] = x
	}
	return map[string]any{"kind": d.kind.Name, "metadata": meta, "spec": d.values.tree(d.inputs, d.prefix)}, nil
}

func (d *draft) fromYAML() (map[string]any, error) {
	docs, err := resource.ParseYAML([]byte(d.yaml))
	if err != nil {
		return nil, err
	}
	if len(docs) != 1 {
		return nil, fault.New(fault.Invalid, "want one record, not %d", "须为一条记录,而非 %d 条", len(docs))
	}
	tree, _ := docs[0].Any().(map[string]any)
	meta, _ := tree["metadata"].(map[string]any)
	if meta == nil || tree["kind"] != d.kind.Name {
		return nil, fault.New(fault.Invalid, "want kind: %s with metadata", "须为 kind: %s 并含 metadata", d.kind.Name)
	}
	delete(meta, "revision") // the form keeps the one that was read
	if o := d.object; o != nil {
		if meta["tenant"] != o.Metadata.Tenant || meta["name"] != o.Metadata.Name {
			return nil, fault.New(fault.Invalid, "a record keeps its tenant and name; create another one instead", "记录的租户和名称不可更改;请另行创建")
		}
		if last, ok := o.Metadata.Annotations[resource.LastApplied]; ok {
			a, _ := meta["annotations"].(map[string]any)
			if a == nil {
				a = map[string]any{}
			}
			a[resource.LastApplied], meta["annotations"] = last, a
		}
	}
	return tree, nil
}

// save writes the draft through the gate.
func (v *visit) save(d *draft) (*resource.Object, error) {
	doc, err := d.document()
	if err != nil {
		return nil, err
	}
	meta := doc["metadata"].(map[string]any)
	if !d.fresh {
		meta["revision"] = d.revision
	}
	b, err := json.Marshal(doc)
	if err != nil {
		return nil, err
	}
	n, err := resource.ParseJSON(b)
	if err != nil {
		return nil, err
	}
	tenant, _ := meta["tenant"].(string)
	name, _ := meta["name"].(string)
	if !resource.ValidName(tenant) || !resource.ValidName(name) {
		return nil, fault.Fields([]fault.Field{{Path: "metadata.name", Reason: text.T("want small letters, digits and hyphens, as in shop-1", "须为小写字母、数字和连字符,例如 shop-1")}})
	}
	out, err := v.c.opt.Gate.Apply(v.r.Context(), gate.Request{
		Actor: v.actor, Reason: d.reason, Changes: []gate.Change{{Op: gate.Put, Ref: resource.Ref{Kind: d.kind.Name, Tenant: tenant, Name: name}, Document: n}},
	})
	if err != nil {
		return nil, err
	}
	return out[0].Object, nil
}

// blame puts an error where it belongs in the draft; what is no fault of the
// person goes on as an error.
func (v *visit) blame(d *draft, err error) error {
	e := fault.Of(err)
	if e.Code == fault.Internal || e.Code == fault.Unavailable || e.Code == fault.NotFound {
		return hidden(err)
	}
	d.trouble, d.order = e, e.Fields
	for _, f := range e.Fields {
		d.wrong[f.Path] = f.Reason.In(v.lang)
	}
	if e.Code != fault.Conflict || d.object == nil || d.object.Metadata.Revision == d.revision {
		return nil
	}
	was, err := v.c.opt.Gate.GetAt(v.r.Context(), v.actor, d.object.Ref(), d.revision, v.c.opt.Now())
	if err == nil {
		d.moved, err = changesOf(d.kind, was, d.object)
	}
	d.revision = d.object.Metadata.Revision // who has seen it may save over it
	return hidden(err)
}

// answer is the status of a page that shows the draft again.
func (d *draft) answer() int {
	if d.trouble == nil {
		return http.StatusOK
	}
	return d.trouble.Code.Status()
}

func (c *Console) create(v *visit) error {
	k, err := c.kind(v.r.PathValue("plural"))
	if err != nil {
		return err
	}
	if c.opt.Gate.AsksAssent(k.Name) {
		return nothingHere() // the change that needs one makes it
	}
	d, err := v.newDraft(k)
	if err != nil {
		return err
	}
	return v.write(d, newPath(k), func(o *resource.Object) string {
		return recordPath(k, o.Metadata.Tenant, o.Metadata.Name) + "?done=created"
	})
}

func (c *Console) edit(v *visit) error {
	k, o, err := v.found()
	if err != nil {
		return err
	}
	if c.opt.Gate.AsksAssent(k.Name) {
		return nothingHere()
	}
	d, err := v.editDraft(k, o)
	if err != nil {
		return err
	}
	path := recordPath(k, o.Metadata.Tenant, o.Metadata.Name)
	return v.write(d, path+"/edit", func(*resource.Object) string { return path + "?done=saved" })
}

// write shows the draft, or carries out what its form sent.
func (v *visit) write(d *draft, path string, next func(*resource.Object) string) error {
	d.asYAML = v.r.URL.Query().Get("as") == "yaml"
	if v.r.Method == http.MethodPost {
		if err := v.r.ParseForm(); err != nil {
			return fault.New(fault.Invalid, "the form cannot be read, or is too large", "表单无法读取或过大").Because(err)
		}
		d.take(v.r.PostForm)
		focus, rows := d.values.edit(v.r.PostForm.Get("do"))
		if d.focus = focus; !rows || d.asYAML {
			o, err := v.save(d)
			if err == nil {
				http.Redirect(v.w, v.r, next(o), http.StatusSeeOther)
				return nil
			}
			if err := v.blame(d, err); err != nil {
				return err
			}
		}
	}
	return v.render(d.answer(), draftPage(v, d, path))
}

func newPath(k *resource.Kind) string { return "/new/" + url.PathEscape(k.Plural) }
