package lab

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"sync"
)

// Ledger writes records of a cell and remembers, outside of the cell, what was
// acknowledged. Whatever becomes of the cell, that must still be there.
type Ledger struct {
	mu    sync.Mutex
	acked map[string]uint64 // name -> newest acknowledged revision
	total int
}

// NewLedger makes an empty one.
func NewLedger() *Ledger { return &Ledger{acked: map[string]uint64{}} }

// Total is how many writes were acknowledged.
func (l *Ledger) Total() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total
}

// record is what of a record's JSON matters here.
type record struct {
	Metadata struct {
		Name     string `json:"name"`
		Revision uint64 `json:"revision"`
	} `json:"metadata"`
}

// Write creates records named after prefix and replaces each twice, until stop
// is closed or the cell no longer answers: the outcome of the last write is
// unknown then, and that is allowed.
func (l *Ledger) Write(c *Cell, prefix string, stop <-chan struct{}) {
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		default:
		}
		name := fmt.Sprintf("%s-%d", prefix, i/3)
		l.mu.Lock()
		rev := l.acked[name]
		l.mu.Unlock()
		body := fmt.Sprintf(`{"kind":"Ban","metadata":{"tenant":"platform","name":%q,"revision":%d},"spec":{"action":"ban","sources":["203.0.113.%d"]}}`, name, rev, i%250)
		status, reply, err := c.Call(http.MethodPut, "/api/v1/platform/bans/"+name, "application/json", body)
		var o record
		if err != nil || status > 201 || json.Unmarshal(reply, &o) != nil || o.Metadata.Revision == 0 {
			return
		}
		l.mu.Lock()
		l.acked[name] = o.Metadata.Revision
		l.total++
		l.mu.Unlock()
	}
}

// Lost reads everything back and says what was acknowledged and is missing or
// older. It fails when the cell does not answer, or finds its own log wrong.
func (l *Ledger) Lost(c *Cell) (lost []string, err error) {
	have := map[string]uint64{}
	for after, more := "", true; more; more = after != "" {
		status, reply, err := c.Call(http.MethodGet, "/api/v1/platform/bans?limit=1000&after="+url.QueryEscape(after), "", "")
		if err != nil || status != 200 {
			return nil, fmt.Errorf("list: %d %w %s", status, err, reply)
		}
		var page struct {
			Items []record `json:"items"`
			Next  string   `json:"next"`
		}
		if err := json.Unmarshal(reply, &page); err != nil {
			return nil, err
		}
		for _, o := range page.Items {
			have[o.Metadata.Name] = o.Metadata.Revision
		}
		after = page.Next
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, rev := range l.acked {
		if have[name] < rev {
			lost = append(lost, fmt.Sprintf("%s: acknowledged at revision %d, now at %d", name, rev, have[name]))
		}
	}
	if status, reply, err := c.Call(http.MethodGet, "/api/v1/-/audit/check", "", ""); err != nil || status != 200 {
		return lost, fmt.Errorf("audit check: %d %w %s", status, err, reply)
	}
	return lost, nil
}
