package edge

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

var errSlow = errors.New("request body arrives too slowly")

// paced reads a request body and gives it up when the client is too slow: when
// the site's request time is over, or when, after bounds.bodyGrace of waiting,
// he sent fewer than bounds.bodyRate bytes for each second that we waited for
// him. The least rate is below what a bad mobile uplink does and far above what
// a slow-body attack pays for its connections. Only waiting counts, not the
// time that a slow origin lets a streamed body lie.
type paced struct {
	from   io.Reader
	rc     *http.ResponseController
	h2     bool
	grace  time.Duration
	rate   int64
	end    time.Time // of the site's request time; zero = the body may take for ever
	set    time.Time // the deadline in force
	waited time.Duration
	taken  int64

	mu   sync.Mutex
	over bool // guarded by mu: the handler has returned
}

func (q *request) paced(from io.Reader) *paced {
	return &paced{from: from, rc: q.rc, h2: q.r.ProtoMajor == 2, grace: q.edge.bounds.bodyGrace, rate: q.edge.bounds.bodyRate, end: time.Now().Add(q.site.request)}
}

// Read implements io.Reader. It fails with errSlow, or as the body does.
func (p *paced) Read(b []byte) (int, error) {
	if p.end.IsZero() {
		return p.from.Read(b)
	}
	start := time.Now()
	allowed := max(p.grace, time.Duration(p.taken)*time.Second/time.Duration(p.rate))
	until := start.Add(allowed - p.waited)
	if until.After(p.end) {
		until = p.end
	}
	p.deadline(until)
	n, err := p.from.Read(b)
	p.waited += time.Since(start)
	p.taken += int64(n)
	if late(err) && until.Before(p.end) {
		return n, errSlow
	}
	if p.h2 {
		p.deadline(p.end) // there a deadline passes although nobody reads
	}
	return n, err
}

// deadline leaves one in force that is about the same: setting it costs more
// than a small body.
func (p *paced) deadline(t time.Time) {
	if t.Sub(p.set).Abs() > p.grace/64 {
		p.apply(t)
		p.set = t
	}
}

// apply sets the deadline while the handler runs. The transport may still read
// a streamed body after that, and the controller of a request that is over
// belongs to nobody: on HTTP/2 using it would crash the process, on HTTP/1 it
// would set the next request's deadline.
func (p *paced) apply(t time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.over {
		p.rc.SetReadDeadline(t)
	}
}

// leave is called when the handler returns.
func (p *paced) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = true
}

// clear lets the connection live on: net/http takes the client for gone when
// a deadline passes between two requests.
func (p *paced) clear() { p.apply(time.Time{}) }

func late(err error) bool {
	var timeout net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}
