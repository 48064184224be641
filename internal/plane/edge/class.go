package edge

import (
	"log/slog"
	"net/http"
	"strconv"
	"strings"

	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/kinds/data"
)

// ClassHeader is in which an origin names the class of the data in an answer.
// It never leaves the edge.
const ClassHeader = "Dun-Class"

// What an event calls a mark that is no name of one class: what an origin
// sends is content, and is not repeated.
const (
	classUnknown = "unknown"
	classSeveral = "several"
)

// classLevels is the level of each DataClass by its name, 1 to
// resource.HighestLevel.
type classLevels map[string]int

// compileClasses follows each class to those that it is part of, whose level
// it never falls below. What leads nowhere is of the highest.
func compileClasses(list []named[*data.DataClassSpec]) classLevels {
	specs := make(map[string]*data.DataClassSpec, len(list))
	for _, o := range list {
		if o.tenant == resource.Platform {
			specs[o.name] = o.spec
		}
	}
	out := make(classLevels, len(specs))
	for name := range specs {
		level := 0
		for at, left := name, len(specs); at != ""; left-- {
			s := specs[at]
			if s == nil || left == 0 { // a ring ends, too
				level = resource.HighestLevel
				break
			}
			level, at = max(level, s.Level), s.Parent
		}
		out[name] = level
	}
	return out
}

// outlet is what may leave a site: answers up to a level. Answers that say
// nothing of a class leave.
type outlet struct {
	levels classLevels
	level  int // 0 = no answer that names a class
	class  string
}

// compileOutlet is nil for a site without a label: nothing is held back.
func compileOutlet(o *resource.Object, levels classLevels, log *slog.Logger) *outlet {
	name := o.Metadata.Labels[resource.LabelClass]
	if name == "" {
		return nil
	}
	out := &outlet{levels, levels[name], name}
	if out.level == 0 {
		log.Warn("class of a site is not there; every answer that names one is held back", "kind", "Site", "tenant", o.Metadata.Tenant, "name", o.Metadata.Name)
	}
	return out
}

// keeps reports whether an answer with this header stays inside, and as what
// its class is told of.
func (u *outlet) keeps(h http.Header) (class string, held bool) {
	if u == nil {
		return "", false
	}
	marks := h[ClassHeader]
	if len(marks) == 0 {
		return "", false
	}
	name := strings.TrimSpace(marks[0])
	for _, other := range marks[1:] {
		if strings.TrimSpace(other) != name {
			return classSeveral, u.level < resource.HighestLevel
		}
	}
	level, known := u.levels[name]
	if !known {
		name, level = classUnknown, resource.HighestLevel
	}
	return name, level > u.level
}

// heldBack refuses in place of an answer whose class the site does not give
// out. It is 403 and not 502: the origin answered well, and whoever asks again
// (a client, a balancer before the edge) would get no other answer.
func (q *request) heldBack(resp *http.Response) bool {
	class, held := q.site.outlet.keeps(resp.Header)
	if !held {
		return false
	}
	q.site.tally.blocked.Add(1)
	q.edge.report.add(q.event(kindEgress, actionBlocked, map[string]string{
		"class": class, "limit": q.site.outlet.class, "status": strconv.Itoa(http.StatusForbidden),
	}))
	q.refuse(http.StatusForbidden)
	return true
}
