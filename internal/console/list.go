package console

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/views"
)

const (
	listRows = 100
	// What a search by words may cost: records that are read, and time.
	maxLooked = 200_000
	lookFor   = 2 * time.Second
)

// Views keeps saved filters (core/views).
type Views interface {
	Views(ctx context.Context, who resource.Ref) ([]views.View, error)
	Save(ctx context.Context, who resource.Ref, view views.View) error
	Drop(ctx context.Context, who resource.Ref, list, title string) error
}

// table is a list of records of one kind, ready to be shown.
type table struct {
	kind    *resource.Kind
	tenants bool // a column says whose each record is
	picks   bool // rows can be chosen
	head    []string
	rows    []row
	next    string // cursor of the next page
	partial bool   // the search by words ended before the records did
	at      resource.Position

	words, labels, tenant string
	saved                 []views.View
	create                bool
}

type row struct {
	href, tenant, name string
	cells              []string
	revision           uint64
	updated            string
}

// begin makes the empty table of a kind, with its wide columns or without.
func (v *visit) begin(k *resource.Kind, wide bool) (*table, []resource.Column) {
	columns := slices.DeleteFunc(slices.Clone(k.Columns), func(c resource.Column) bool { return c.Wide && !wide })
	t := &table{kind: k, tenants: k.Scope == resource.ScopeTenant}
	for _, c := range columns {
		t.head = append(t.head, c.Title.In(v.lang))
	}
	return t, columns
}

func rowOf(k *resource.Kind, columns []resource.Column, o *resource.Object) row {
	r := row{href: recordPath(k, o.Metadata.Tenant, o.Metadata.Name), tenant: o.Metadata.Tenant, name: o.Metadata.Name, revision: o.Metadata.Revision, updated: stamp(o.Metadata.Updated)}
	for _, c := range columns {
		r.cells = append(r.cells, c.Value(o))
	}
	return r
}

// table lists the beginning of what the visitor may read of a kind.
func (v *visit) table(k *resource.Kind, limit int) (*table, error) {
	t, columns := v.begin(k, false)
	p, err := v.c.opt.Gate.List(v.r.Context(), v.actor, gate.ListOptions{Kind: k.Name, Tenant: gate.AllTenants, Limit: limit})
	if err != nil {
		return nil, err
	}
	t.next, t.at = p.Next, p.At
	for _, o := range p.Items {
		t.rows = append(t.rows, rowOf(k, columns, o))
	}
	return t, nil
}

// holds reports whether a record shows the words: in its name, labels or
// columns, in any case.
func holds(k *resource.Kind, o *resource.Object, words string) bool {
	if words == "" || strings.Contains(o.Metadata.Name, words) || strings.Contains(o.Metadata.Tenant+"/"+o.Metadata.Name, words) {
		return true
	}
	for key, x := range o.Metadata.Labels {
		if strings.Contains(strings.ToLower(key+"="+x), words) {
			return true
		}
	}
	for _, c := range k.Columns {
		if strings.Contains(strings.ToLower(c.Value(o)), words) {
			return true
		}
	}
	return false
}

// filtered is one page of a kind's list as the address narrows it.
func (v *visit) filtered(k *resource.Kind) (*table, error) {
	q := v.r.URL.Query()
	t, columns := v.begin(k, true)
	t.words, t.labels, t.tenant = strings.TrimSpace(q.Get("q")), q.Get("labels"), q.Get("tenant")
	sel, err := resource.ParseSelector(t.labels)
	if err != nil {
		return t, err
	}
	opt := gate.ListOptions{Kind: k.Name, Tenant: gate.AllTenants, Selector: sel, Limit: listRows, After: q.Get("after")}
	if t.tenant != "" && resource.ValidName(t.tenant) {
		opt.Tenant = t.tenant
	}
	if t.words == "" {
		p, err := v.c.opt.Gate.List(v.r.Context(), v.actor, opt)
		if err != nil {
			return t, err
		}
		t.next, t.at = p.Next, p.At
		for _, o := range p.Items {
			t.rows = append(t.rows, rowOf(k, columns, o))
		}
		return t, nil
	}
	opt.Limit = maxLooked
	l, err := v.c.opt.Gate.Scan(v.actor, opt)
	if err != nil {
		return t, err
	}
	t.at = l.At
	words, end := strings.ToLower(t.words), time.Now().Add(lookFor)
	t.next, err = l.Each(v.r.Context(), func(o *resource.Object) bool {
		if holds(k, o, words) {
			t.rows = append(t.rows, rowOf(k, columns, o))
		}
		return len(t.rows) < listRows && time.Now().Before(end)
	})
	t.partial = t.next != "" && len(t.rows) < listRows
	return t, err
}

// kind finds the kind that a path names by its plural alone.
func (c *Console) kind(plural string) (*resource.Kind, error) {
	for _, k := range c.opt.Gate.Registry().All() {
		if k.Plural == plural {
			return k, nil
		}
	}
	return nil, nothingHere()
}

// hidden makes of an error what the visitor may know: what he may not read
// looks like what is not there.
func hidden(err error) error {
	if fault.Is(err, fault.Forbidden) {
		return nothingHere()
	}
	return err
}

func (c *Console) list(v *visit) error {
	k, err := c.kind(v.r.PathValue("plural"))
	if err != nil {
		return err
	}
	t, err := v.filtered(k)
	if err != nil {
		return hidden(err)
	}
	t.picks, t.create = true, len(c.opt.Gate.CreateIn(v.actor, k.Name, 1)) > 0
	if c.opt.Views != nil {
		all, err := c.opt.Views.Views(v.r.Context(), v.actor.Principal)
		if err != nil {
			return err
		}
		t.saved = slices.DeleteFunc(all, func(x views.View) bool { return x.List != k.Plural })
	}
	return v.stream(listPage(v, t))
}

// query is the table's filter as an address; after is a cursor.
func (t *table) query(after string) string {
	q := url.Values{}
	for name, s := range map[string]string{"q": t.words, "labels": t.labels, "tenant": t.tenant, "after": after} {
		if s != "" {
			q.Set(name, s)
		}
	}
	return q.Encode()
}

func (t *table) narrowed() bool { return t.words != "" || t.labels != "" || t.tenant != "" }

// saveView keeps or drops a filter of a list.
func (c *Console) saveView(v *visit) error {
	k, err := c.kind(v.r.PathValue("plural"))
	if err != nil {
		return err
	}
	if c.opt.Views == nil {
		return nothingHere()
	}
	query := ""
	if title := v.r.PostFormValue("drop"); title != "" {
		err = c.opt.Views.Drop(v.r.Context(), v.actor.Principal, k.Plural, title)
	} else {
		t := &table{words: v.r.PostFormValue("q"), labels: v.r.PostFormValue("labels"), tenant: v.r.PostFormValue("tenant")}
		query = t.query("")
		err = c.opt.Views.Save(v.r.Context(), v.actor.Principal, views.View{List: k.Plural, Title: v.r.PostFormValue("title"), Query: query})
	}
	if err != nil {
		return err
	}
	http.Redirect(v.w, v.r, listPath(k, "")+"?"+strings.TrimPrefix(query+"&done=saved", "&"), http.StatusSeeOther)
	return nil
}
