package edge

import (
	"errors"
	"io"
	"net/http"
	"os"
)

// judged has the firewall decide. body is what was buffered, nil when there is
// none or when it is to be streamed; the caller closes it.
func (q *request) judged() (body *spool, pass bool) {
	if q.site.mode == modeOff {
		return nil, true
	}
	if q.r.Body != nil && q.r.Body != http.NoBody && q.r.ContentLength != 0 {
		if body, pass = q.arrived(); !pass {
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
	q.strike()
	q.reportBlock(v, actionBlocked, http.StatusForbidden)
	q.refuse(http.StatusForbidden)
	return body, false
}

// arrived is the whole body without its content coding.
func (q *request) arrived() (body *spool, pass bool) {
	coding, err := contentCoding(q.r.Header["Content-Encoding"])
	if err != nil && !q.overCoded("coding", http.StatusUnsupportedMediaType) {
		return nil, false
	}
	body = &spool{budget: q.edge.spools}
	if !q.buffer(body) {
		return body, false
	}
	if coding != "" {
		return q.decoded(coding, body)
	}
	if err == nil {
		q.r.Header.Del("Content-Encoding") // "identity" says nothing
	}
	return body, true
}

// buffer reads the whole body; it answers and returns false when that fails.
func (q *request) buffer(body *spool) bool {
	from := q.paced(q.r.Body)
	chunk := q.edge.buffers.Get().(*[]byte)
	err := body.fill(from, q.site.body, *chunk)
	q.edge.buffers.Put(chunk)
	if err == nil {
		from.clear()
		return true
	}
	q.bodyFailed(err)
	return false
}

// bodyFailed answers for a body that could not be read.
func (q *request) bodyFailed(err error) {
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
	case errors.Is(err, errSlow):
		q.limit("slowBody", http.StatusRequestTimeout)
	case late(err):
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
	case errors.Is(err, errGRPC):
		class, status = "grpc", http.StatusBadRequest
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
