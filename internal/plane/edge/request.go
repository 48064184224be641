package edge

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/dun-sec/dun/internal/core/id"
)

// RequestHeader carries the request id on every response and to the origin.
const RequestHeader = "Dun-Request-Id"

// request is one request on its way through the edge; its goroutine owns it.
type request struct {
	edge   *Edge
	w      http.ResponseWriter
	r      *http.Request
	rc     *http.ResponseController
	id     string
	now    time.Time
	from   netip.AddrPort // IPv4-mapped addresses unmapped
	host   string         // normalised
	target target
	site   *site
	wrote  bool // the response has begun; no page can follow
}

// serveHTTP is the whole way of a request: identity, sanity, site, allow and
// ban, limits, firewall, origin. Each step may end it.
func (e *Edge) serveHTTP(w http.ResponseWriter, r *http.Request) {
	if wire := wireOf(r.Context()); wire != nil {
		wire.serving.Store(true)
	}
	q := &request{edge: e, w: w, r: r, rc: http.NewResponseController(w), now: e.opts.Now()}
	q.id = id.Request(q.now, e.opts.NodeID)
	w.Header().Set(RequestHeader, q.id)
	defer q.recoverPanic()
	if n := e.flights.Add(1); n > e.bounds.requests {
		e.flights.Add(-1)
		q.reportBusy("requests")
		q.refuse(http.StatusServiceUnavailable)
		return
	}
	defer e.flights.Add(-1)
	snap := e.snap.Load()
	if snap == nil {
		q.refuse(http.StatusServiceUnavailable)
		return
	}
	if !q.sane() || !q.findSite(snap) || !q.admitted(snap) || !q.withinLimits() {
		return
	}
	body, ok := q.judged()
	if body != nil {
		defer body.close()
	}
	if ok {
		q.proxy(body)
	}
}

// recoverPanic fails closed: a defect of ours refuses this request and lets
// the others live.
func (q *request) recoverPanic() {
	p := recover()
	if p == nil {
		return
	}
	if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(http.ErrAbortHandler)
	}
	q.edge.opts.Log.Error("request handler panicked", "req", q.id, "err", p)
	if q.wrote {
		panic(http.ErrAbortHandler)
	}
	q.refuse(http.StatusInternalServerError)
}

// refuse answers with our page and gives the connection up where unread bytes
// of the request may follow.
func (q *request) refuse(status int) {
	if q.r.ProtoMajor == 1 && q.r.Body != nil && q.r.Body != http.NoBody {
		q.w.Header().Set("Connection", "close")
	}
	q.edge.pages.write(q.w, q.r, q.id, status)
}

// abandon ends a request without an answer: the client is gone, or the
// response broke off and must not look complete.
func (q *request) abandon() { panic(http.ErrAbortHandler) }

// sane refuses what servers read differently or what no client needs. The
// framing of HTTP/1 was checked before on the bytes (wireScan).
func (q *request) sane() bool {
	r := q.r
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		q.refuse(http.StatusBadRequest)
		return false
	}
	q.from = netip.AddrPortFrom(from.Addr().Unmap().WithZone(""), from.Port())
	switch r.Method {
	case http.MethodTrace, http.MethodConnect, "TRACK":
		q.refuse(http.StatusMethodNotAllowed)
		return false
	}
	t, err := parseTarget(r.RequestURI)
	if err != nil || r.Host == "" || len(r.Header["Content-Type"]) > 1 || len(r.Header["Content-Length"]) > 1 {
		q.refuse(http.StatusBadRequest)
		return false
	}
	q.target = t
	for _, v := range r.Header["Via"] {
		if strings.Contains(v, q.edge.via) {
			q.refuse(http.StatusLoopDetected)
			return false
		}
	}
	return true
}

// findSite sets the site of the Host header; over TLS the server name must
// lead to the same one (RFC 9110 section 7.4).
func (q *request) findSite(snap *snapshot) bool {
	host, ok := normalHost(q.r.Host)
	if !ok {
		q.refuse(http.StatusBadRequest)
		return false
	}
	s := snap.lookup(host)
	if s != nil && q.r.TLS != nil && snap.lookup(serverName(q.r.TLS.ServerName, localAddr(q.r))) != s {
		s = nil
	}
	if s == nil {
		q.refuse(http.StatusMisdirectedRequest)
		return false
	}
	q.host, q.site = host, s
	s.tally.requests.Add(1)
	if s.broken {
		q.refuse(http.StatusServiceUnavailable)
		return false
	}
	return true
}

func localAddr(r *http.Request) net.Addr {
	a, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return a
}

func (q *request) admitted(snap *snapshot) bool {
	if !snap.bans.refused(q.site.name, q.from.Addr(), q.now) {
		return true
	}
	q.site.tally.blocked.Add(1)
	q.edge.report.add(q.event(kindBan, actionBlocked, map[string]string{"status": "403"}))
	q.refuse(http.StatusForbidden)
	return false
}

func (q *request) withinLimits() bool {
	size, fields := len(q.r.Method)+len(q.r.RequestURI)+len(q.r.Host)+len("  HTTP/1.1\r\nHost: \r\n\r\n"), 1
	for name, values := range q.r.Header {
		fields += len(values)
		for _, v := range values {
			size += len(name) + len(v) + len(": \r\n")
		}
	}
	switch {
	case size > q.site.header:
		q.limit("header", http.StatusRequestHeaderFieldsTooLarge)
	case fields > maxHeaderFields:
		q.limit("headerFields", http.StatusRequestHeaderFieldsTooLarge)
	case q.r.ContentLength > q.site.body:
		q.limit("body", http.StatusRequestEntityTooLarge)
	default:
		return true
	}
	return false
}

// limit refuses a request that is over a limit.
func (q *request) limit(class string, status int) {
	q.site.tally.blocked.Add(1)
	q.reportLimit(class, actionBlocked, status)
	q.refuse(status)
}

// judged has the firewall decide. body is what was buffered, nil when there is
// none or when it is to be streamed; the caller closes it.
func (q *request) judged() (body *spool, pass bool) {
	if q.site.mode == modeOff {
		return nil, true
	}
	if q.r.Body != nil && q.r.Body != http.NoBody && q.r.ContentLength != 0 {
		body = &spool{budget: q.edge.spools}
		if !q.buffer(body) {
			return body, false
		}
	}
	v, err := q.edge.engine.inspect(q.r.Context(), q.site, q.r, &q.target, q.from, body, q.now)
	if err != nil {
		return body, q.unjudged(err)
	}
	if !v.blocked {
		return body, true
	}
	if q.site.mode == modeDetect {
		q.site.tally.detected.Add(1)
		q.reportBlock(v, actionDetected, 0)
		return body, true
	}
	q.site.tally.blocked.Add(1)
	q.reportBlock(v, actionBlocked, http.StatusForbidden)
	q.refuse(http.StatusForbidden)
	return body, false
}

// buffer reads the whole body; it answers and returns false when that fails.
func (q *request) buffer(body *spool) bool {
	q.rc.SetReadDeadline(time.Now().Add(q.site.request))
	chunk := q.edge.buffers.Get().(*[]byte)
	err := body.fill(q.r.Body, q.site.body, *chunk)
	q.edge.buffers.Put(chunk)
	if err == nil {
		q.rc.SetReadDeadline(time.Time{}) // else net/http takes the client for gone when it passes
		return true
	}
	q.bodyFailed(err)
	return false
}

// bodyFailed answers for a body that could not be read.
func (q *request) bodyFailed(err error) {
	var netErr net.Error
	var perr *os.PathError
	switch {
	case errors.Is(err, errTooLarge):
		q.limit("body", http.StatusRequestEntityTooLarge)
	case errors.Is(err, errSpoolFull):
		q.reportBusy("spool")
		q.refuse(http.StatusServiceUnavailable)
	case errors.As(err, &perr):
		q.edge.opts.Log.Error("request body not spooled", "req", q.id, "err", err)
		q.refuse(http.StatusServiceUnavailable)
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &netErr) && netErr.Timeout():
		q.limit("requestTime", http.StatusRequestTimeout)
	case errors.Is(err, io.ErrUnexpectedEOF) && q.r.Context().Err() != nil:
		q.abandon()
	default:
		q.refuse(http.StatusBadRequest)
	}
}

// unjudged decides about a request on which the firewall came to no verdict:
// refused, because passing it would make overload a way around the firewall.
// Detect mode never refuses, by its meaning.
func (q *request) unjudged(err error) (pass bool) {
	if errors.Is(err, errGone) {
		q.abandon()
	}
	class, status := "engine", http.StatusInternalServerError
	switch {
	case errors.Is(err, errBusy):
		class, status = "busy", http.StatusServiceUnavailable
	case errors.Is(err, errBudget):
		class, status = "inspection", http.StatusRequestEntityTooLarge
	case errors.Is(err, errParts):
		class, status = "parts", http.StatusRequestEntityTooLarge
	case errors.Is(err, errTextSize):
		class, status = "text", http.StatusRequestEntityTooLarge
	default:
		q.edge.opts.Log.Error("firewall came to no verdict", "req", q.id, "err", err)
	}
	if q.site.mode == modeDetect {
		q.site.tally.detected.Add(1)
		q.reportLimit(class, actionDetected, 0)
		return true
	}
	q.site.tally.blocked.Add(1)
	if class == "busy" {
		q.reportBusy(class)
	} else {
		q.reportLimit(class, actionBlocked, status)
	}
	q.refuse(status)
	return false
}
