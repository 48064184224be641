package edge

import (
	"io"
	"net/http"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/dun-sec/dun/internal/core/usage"
)

// What a request costs beside its inspection, as far as the processors' time is
// shared out by it: fixed, and for each byte that moves.
const (
	requestCost = 50 * time.Microsecond
	byteCost    = time.Nanosecond
)

// countedBody counts what is read of a client's body.
type countedBody struct {
	io.ReadCloser
	n *atomic.Uint64
}

// Read implements io.Reader.
func (c *countedBody) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.n.Add(uint64(n))
	return n, err
}

// countedWriter counts the bytes of bodies that go to the client.
type countedWriter struct {
	http.ResponseWriter
	n *atomic.Uint64
}

// Write implements io.Writer.
func (c *countedWriter) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.n.Add(uint64(n))
	return n, err
}

// ReadFrom implements io.ReaderFrom, so that what the server can do without
// copying stays possible.
func (c *countedWriter) ReadFrom(r io.Reader) (int64, error) {
	from, ok := c.ResponseWriter.(io.ReaderFrom)
	if !ok {
		return io.Copy(struct{ io.Writer }{c}, r)
	}
	n, err := from.ReadFrom(r)
	c.n.Add(uint64(n))
	return n, err
}

// Unwrap is what http.ResponseController looks for.
func (c *countedWriter) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// accounted puts what the request moves to its site's account; it ends none.
func (q *request) accounted() bool {
	t := q.site.tally
	q.w = &countedWriter{q.w, &t.out}
	if q.r.Body != nil && q.r.Body != http.NoBody {
		q.r.Body = &countedBody{q.r.Body, &t.in}
	}
	return false
}

// debts are what was counted and not yet told; tally.mu guards them.
type debts struct {
	owed []usage.Entry // could not be kept; comes again
	cpu  time.Duration // of the program, when it was looked at last
}

// maxOwed bounds what waits while usage cannot be kept.
const maxOwed = 1 << 16

// since is what a site took since it was told last, with the weight of its work
// in place of the processors' time.
func (t *siteTally) since(n siteName) usage.Entry {
	sum := usage.Sum{Requests: t.requests.Load(), Blocks: t.blocked.Load(), In: t.in.Load(), Out: t.out.Load()}
	work := t.work.Load()
	d := usage.Sum{Requests: sum.Requests - t.told.Requests, Blocks: sum.Blocks - t.told.Blocks, In: sum.In - t.told.In, Out: sum.Out - t.told.Out}
	d.CPU = work - t.told.CPU + d.Requests*uint64(requestCost) + (d.In+d.Out)*uint64(byteCost)
	t.told, t.told.CPU = sum, work
	return usage.Entry{Tenant: n.tenant, Site: n.name, Sum: d}
}

// Usage is what each site took since Usage was called last. The processors'
// time is that of the whole program, shared out by measured inspection,
// requests and bytes, and never more than these are worth. Who loses the answer
// gives it back with Owe.
func (e *Edge) Usage() []usage.Entry {
	e.tally.mu.Lock()
	defer e.tally.mu.Unlock()
	out := e.tally.debts.owed
	e.tally.debts.owed = nil
	begin, weight := len(out), uint64(0)
	for n, t := range e.tally.sites {
		if n.tenant == CanaryTenant {
			continue
		}
		if x := t.since(n); x.Sum != (usage.Sum{}) {
			out = append(out, x)
			weight += x.CPU
		}
	}
	now := processorTime()
	took := uint64(max(0, now-e.tally.debts.cpu))
	e.tally.debts.cpu = now
	for i := begin; i < len(out); i++ {
		c := float64(out[i].CPU)
		if weight > took && weight > 0 {
			c *= float64(took) / float64(weight)
		}
		out[i].CPU = uint64(c) / uint64(time.Microsecond)
	}
	return out
}

// Owe takes back what could not be kept; it comes again with the next Usage.
func (e *Edge) Owe(entries []usage.Entry) {
	e.tally.mu.Lock()
	defer e.tally.mu.Unlock()
	if room := maxOwed - len(e.tally.debts.owed); room > 0 {
		e.tally.debts.owed = append(e.tally.debts.owed, entries[:min(room, len(entries))]...)
	}
}

// processorTime is what the program has taken of the processors.
func processorTime() time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
