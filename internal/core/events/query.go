package events

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/id"
)

// Query selects events. An empty field does not restrict, but Tenants: nil is
// every tenant and an empty list is none, so that a caller who may see nothing
// is never shown everything.
type Query struct {
	Tenants                             []string
	Kind, Part, Request, Action, Object string
	Since, Until                        time.Time // Since <= time < Until; zero = open
	Limit                               int       // default 100, at most 1000
	After                               string    // cursor of the page before
	NewestFirst                         bool      // by arrival; otherwise oldest first

	// Keep says of what record the reader may see events; nil = of every one.
	Keep func(tenant, object string) bool
}

const (
	defaultLimit = 100
	maxLimit     = 1000
	// requestSlack is how far from the time in its request id an event is
	// looked for: a response may take minutes, and clocks differ a little.
	requestAhead  = time.Minute
	requestBehind = 10 * time.Minute
)

// cursor is a place in the log: a frame of a segment. It stays true while
// events are added, and after retention has removed the segment.
type cursor struct {
	number uint64
	at     int64
}

func (c cursor) String() string {
	return strconv.FormatUint(c.number, 10) + "." + strconv.FormatInt(c.at, 10)
}

func parseCursor(s string) (cursor, bool) {
	number, at, _ := strings.Cut(s, ".")
	n, err1 := strconv.ParseUint(number, 10, 64)
	a, err2 := strconv.ParseInt(at, 10, 64)
	c := cursor{n, a}
	return c, err1 == nil && err2 == nil && c.String() == s
}

// filter is a query made ready.
type filter struct {
	q       Query
	tenants map[string]bool // nil = all
	needles [][]byte        // parts of the encoded event that must be there
	times   span
	after   *cursor
	limit   int
}

func newFilter(q Query) (*filter, error) {
	f := &filter{q: q, limit: q.Limit, times: span{micro(q.Since, math.MinInt64), micro(q.Until, math.MaxInt64)}}
	if q.Limit < 0 {
		return nil, fault.New(fault.Invalid, "limit is negative", "limit 不能为负数")
	}
	if q.Limit == 0 {
		f.limit = defaultLimit
	}
	f.limit = min(f.limit, maxLimit)
	if !q.Until.IsZero() {
		f.times.max-- // the end is not included
	}
	if q.After != "" {
		c, ok := parseCursor(q.After)
		if !ok {
			return nil, fault.New(fault.Invalid, "after is not a cursor of a search", "after 不是有效的查询游标")
		}
		f.after = &c
	}
	if q.Tenants != nil {
		f.tenants = make(map[string]bool, len(q.Tenants))
		for _, t := range q.Tenants {
			f.tenants[t] = true
		}
	}
	if at, _, ok := id.ParseRequest(q.Request); ok {
		f.times.min = max(f.times.min, at.Add(-requestAhead).UnixMicro())
		f.times.max = min(f.times.max, at.Add(requestBehind).UnixMicro())
	}
	if len(q.Tenants) == 1 {
		f.needles = append(f.needles, needle("tenant", q.Tenants[0]))
	}
	for _, p := range [][2]string{{"kind", q.Kind}, {"part", q.Part}, {"request", q.Request}, {"action", q.Action}, {"object", q.Object}} {
		if p[1] != "" {
			f.needles = append(f.needles, needle(p[0], p[1]))
		}
	}
	return f, nil
}

// needle is how Event writes a field; looking for it first saves decoding the
// events that cannot match.
func needle(name, value string) []byte {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if enc.Encode(value) != nil {
		return nil
	}
	return append([]byte(`"`+name+`":`), bytes.TrimSuffix(buf.Bytes(), []byte("\n"))...)
}

// mayMatch is a quick test of an encoded event.
func (f *filter) mayMatch(raw []byte) bool {
	for _, n := range f.needles {
		if !bytes.Contains(raw, n) {
			return false
		}
	}
	return true
}

// match is the whole test but for the time.
func (f *filter) match(e *Event) bool {
	q := &f.q
	return (f.tenants == nil || f.tenants[e.Tenant]) &&
		(q.Kind == "" || q.Kind == e.Kind) && (q.Part == "" || q.Part == e.Part) &&
		(q.Request == "" || q.Request == e.Request) && (q.Action == "" || q.Action == e.Action) &&
		(q.Object == "" || q.Object == e.Object) && (q.Keep == nil || q.Keep(e.Tenant, e.Object))
}

// beyond reports whether the frame lies on the side of the cursor that is asked for.
func (f *filter) beyond(c cursor) bool {
	if f.after == nil {
		return true
	}
	later := c.number > f.after.number || c.number == f.after.number && c.at > f.after.at
	return later != f.q.NewestFirst && c != *f.after
}
