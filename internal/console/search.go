package console

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/id"
	"github.com/dun-sec/dun/internal/core/resource"
)

// Bounds of one search over everything.
const (
	searchRecords = 100_000
	searchHits    = 50
)

type hit struct {
	kind *resource.Kind
	row
}

// search looks for words in names, labels and columns of every kind, and leads
// to the page of a request.
func (c *Console) search(v *visit) error {
	words := strings.TrimSpace(v.r.URL.Query().Get("q"))
	if _, _, ok := id.ParseRequest(words); ok {
		http.Redirect(v.w, v.r, "/blocks/"+url.PathEscape(words), http.StatusSeeOther)
		return nil
	}
	var hits []hit
	left, end, all := searchRecords, time.Now().Add(lookFor), true
	if len(words) > 1 && len(words) <= 256 {
		for _, k := range c.opt.Gate.Registry().All() {
			l, err := c.opt.Gate.Scan(v.actor, gate.ListOptions{Kind: k.Name, Tenant: gate.AllTenants, Limit: gate.MaxList, Outline: true})
			if err != nil {
				continue // who may not read the kind finds nothing in it
			}
			next, err := l.Each(v.r.Context(), func(o *resource.Object) bool {
				left--
				if holds(k, o, strings.ToLower(words)) {
					hits = append(hits, hit{k, rowOf(k, k.Columns, o)})
				}
				return left > 0 && len(hits) < searchHits && time.Now().Before(end)
			})
			if err != nil {
				return hidden(err)
			}
			all = all && next == ""
		}
	}
	return v.render(http.StatusOK, searchPage(v, words, hits, all))
}
