package api

import (
	"bufio"
	"encoding/json"
	"net/http"
	"time"

	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/resource"
)

// A list is read at the client's pace, but not slower than this.
const (
	listStall = 30 * time.Second // for one buffer
	listWhole = 10 * time.Minute
)

// stream writes a list record by record: however many there are, one encoded
// record is held at a time. What cannot be written ends the connection, so
// that half a list never looks like a whole one.
func (c *call) stream(l *gate.Listing) error {
	c.w.Header().Set("Content-Type", jsonType)
	out := bufio.NewWriterSize(&paced{w: c.w, conn: http.NewResponseController(c.w), end: time.Now().Add(listWhole)}, 32<<10)
	must := func(err error) {
		if err != nil {
			c.api.opt.Log.Info("a list broke off", "req", c.req, "err", err)
			panic(http.ErrAbortHandler)
		}
	}
	out.WriteString(`{"items":[`) // a bufio.Writer keeps its first error
	count, enc := 0, json.NewEncoder(out)
	end := func() {}
	defer func() { end() }()
	next, err := l.Each(c.r.Context(), func(o *resource.Object) bool {
		if count > 0 {
			out.WriteByte(',')
		}
		if count++; count == longList {
			end = c.api.thrift.begin()
		}
		must(enc.Encode(o)) // whose buffers are used again
		return true
	})
	must(err)
	tail, err := json.Marshal(struct {
		Next string `json:"next"`
		At   string `json:"at"`
	}{next, l.At.String()})
	must(err)
	out.WriteString("],")
	out.Write(append(tail[1:], '\n'))
	must(out.Flush())
	return nil
}

// paced gives each write a deadline: a reader who stalls does not keep the
// records of an old revision in memory.
type paced struct {
	w    http.ResponseWriter
	conn *http.ResponseController
	end  time.Time
}

// Write implements io.Writer.
func (p *paced) Write(b []byte) (int, error) {
	at := time.Now().Add(listStall)
	if at.After(p.end) {
		at = p.end
	}
	// Where the connection knows no deadlines there is nothing to hold it to.
	_ = p.conn.SetWriteDeadline(at)
	n, err := p.w.Write(b)
	_ = p.conn.SetWriteDeadline(time.Time{})
	return n, err
}
