package console

import (
	"bytes"
	"net/http"
	"net/url"
	"strings"

	"github.com/dun-sec/dun/internal/core/audit"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
)

// Bounds of one look at the log: leaves on a page, and leaves that are read for
// a filter.
const (
	leafRows   = 100
	leafLooked = 10 * gate.MaxPage
)

// leafRow is one leaf with what it commits to.
type leafRow struct {
	audit.Leaf
	actor, tenant, name, reason string
	erased                      bool
}

// ledger is a page of the audit log, ready to be shown.
type ledger struct {
	log, who, what, when string
	rows                 []leafRow
	next                 uint64 // leaves before this number; 0 = the end
	size                 int64
	info                 gate.LogInfo
	checkpoint           string
	report               *gate.CheckReport
	trouble              *fault.Error
}

func (c *Console) audit(v *visit) error {
	l, err := v.ledger()
	if err != nil {
		return err
	}
	return v.render(http.StatusOK, auditPage(v, l))
}

func (v *visit) ledger() (*ledger, error) {
	q := v.r.URL.Query()
	l := &ledger{log: q.Get("log"), who: strings.TrimSpace(q.Get("who")), what: strings.TrimSpace(q.Get("what")), when: strings.TrimSpace(q.Get("when"))}
	book, err := v.c.opt.Gate.Book(v.actor, l.log)
	if err != nil {
		return nil, err
	}
	l.size, l.info = book.Size(), book.Info()
	note, err := book.Checkpoint(v.r.Context())
	if err != nil {
		return nil, err
	}
	l.checkpoint = string(note)
	end := uint64(l.size)
	if before := count(q.Get("before")); before > 0 {
		end = min(end, before)
	}
	for looked := 0; end > 0 && looked < leafLooked && len(l.rows) < leafRows; {
		n := min(end, gate.MaxPage)
		list, err := book.Leaves(v.r.Context(), end-n, int(n))
		if err != nil {
			return nil, err
		}
		looked += len(list)
		for i := len(list) - 1; i >= 0 && len(l.rows) < leafRows; i-- {
			end = list[i].Seq
			r, err := leafOf(&list[i])
			if err != nil {
				return nil, err
			}
			if l.keeps(&r) {
				l.rows = append(l.rows, r)
			}
		}
		if len(list) == 0 {
			break
		}
	}
	l.next = end
	return l, nil
}

func leafOf(e *audit.Entry) (leafRow, error) {
	leaf, err := audit.ParseLeaf(e.Leaf)
	text := func(f audit.Field) string { return string(e.Values[f]) }
	return leafRow{Leaf: leaf, actor: text(audit.FieldActor), tenant: text(audit.FieldTenant), name: text(audit.FieldName), reason: text(audit.FieldReason), erased: e.Salts[audit.FieldActor] == nil}, err
}

func (l *ledger) keeps(r *leafRow) bool {
	has := func(s, part string) bool { return strings.Contains(strings.ToLower(s), strings.ToLower(part)) }
	return has(r.actor, l.who) && has(r.Class.String()+" "+r.Kind+" "+r.Action+" "+r.tenant+"/"+r.name, l.what) && strings.HasPrefix(r.Time.Format("2006-01-02 15:04:05"), l.when)
}

func (l *ledger) query(name, value string) string {
	q := url.Values{}
	for n, s := range map[string]string{"log": l.log, "who": l.who, "what": l.what, "when": l.when} {
		if s != "" {
			q.Set(n, s)
		}
	}
	return with(q, name, value)
}

func with(q url.Values, name, value string) string {
	q.Set(name, value)
	return q.Encode()
}

// auditCheck proves that records, history and log agree.
func (c *Console) auditCheck(v *visit) error {
	r, err := c.opt.Gate.Check(v.r.Context(), v.actor)
	l, lerr := v.ledger()
	if lerr != nil {
		return lerr
	}
	if err != nil {
		if l.trouble = fault.Of(err); l.trouble.Code != fault.Internal {
			return err
		}
		c.opt.Log.Error("the audit log does not verify", "req", v.actor.Request, "err", err)
	} else {
		l.report = &r
	}
	return v.render(http.StatusOK, auditPage(v, l))
}

// auditExport sends one leaf with its proof.
func (c *Console) auditExport(v *visit) error {
	book, err := c.opt.Gate.Book(v.actor, v.r.PostFormValue("log"))
	if err != nil {
		return err
	}
	seq := count(v.r.PostFormValue("seq"))
	var b bytes.Buffer
	if err := book.Export(v.r.Context(), &b, func(e audit.Entry) bool { return e.Seq == seq }); err != nil {
		return err
	}
	return v.file("application/x-tar", "leaf-"+number(seq)+".tar", b.Bytes())
}
