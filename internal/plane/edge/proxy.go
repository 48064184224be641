package edge

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// proxy sends the request to an origin and its answer to the client. A buffered
// body is replayed; a nil one is streamed from the client, if there is any.
func (q *request) proxy(body *spool) {
	ctx, cancel := context.WithCancel(q.r.Context())
	defer cancel()
	upgrade := q.r.ProtoMajor == 1 && q.r.Method == http.MethodGet &&
		hasToken(q.r.Header["Connection"], "upgrade") && hasToken(q.r.Header["Upgrade"], "websocket")
	out, streamed := q.outRequest(ctx, body, upgrade)
	if streamed != nil {
		defer streamed.from.leave()
	}
	if streamed != nil && isGRPC(q.r) {
		defer q.converse(streamed, cancel)()
	}
	resp, a, err := q.roundTrip(out, body, streamed)
	if a != nil {
		defer a.leave()
	}
	if err != nil {
		q.originFailed(a, err, streamed)
		return
	}
	defer resp.Body.Close()
	if q.heldBack(resp) {
		return
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		q.switchProtocols(ctx, a.origin, resp, upgrade)
		return
	}
	q.respond(resp, cancel)
}

func (q *request) outRequest(ctx context.Context, body *spool, upgrade bool) (*http.Request, *bodyStream) {
	out := (&http.Request{
		Method: q.r.Method, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: q.outgoing(upgrade), Body: http.NoBody,
	}).WithContext(ctx)
	switch {
	case body != nil:
		if out.ContentLength = body.size(); out.ContentLength > 0 {
			out.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(body.reader()), nil }
			out.Body, _ = out.GetBody()
		}
	case q.r.Body != nil && q.r.Body != http.NoBody && q.r.ContentLength != 0:
		s := &bodyStream{from: q.paced(q.r.Body), left: q.site.body}
		out.ContentLength, out.Body = q.r.ContentLength, s
		return out, s
	}
	return out, nil
}

// originFailed answers 502, 503 or 504, or what the client's own fault calls for.
func (q *request) originFailed(a *attempt, err error, streamed *bodyStream) {
	if streamed != nil {
		if berr := streamed.failure(); berr != nil {
			q.bodyFailed(berr)
			return
		}
	}
	if q.r.Context().Err() != nil {
		q.abandon()
	}
	class, status := classify(err)
	q.site.tally.originErrors.Add(1)
	label := ""
	if a != nil {
		label = a.label
	}
	q.reportOrigin(class, label, status)
	q.edge.opts.Log.Debug("origin failed", "req", q.id, "tenant", q.site.name.tenant, "name", q.site.name.name, "err", err)
	q.refuse(status)
}

func classify(err error) (class string, status int) {
	var dial *dialError
	var timeout interface{ Timeout() bool }
	late := errors.As(err, &timeout) && timeout.Timeout() || errors.Is(err, context.DeadlineExceeded)
	switch isDial := errors.As(err, &dial); {
	case errors.Is(err, errOpen):
		return "breaker", http.StatusServiceUnavailable
	case isDial && dial.Timeout():
		return "connect timeout", http.StatusGatewayTimeout
	case isDial:
		return "connect", http.StatusBadGateway
	case strings.Contains(err.Error(), "tls:") || strings.Contains(err.Error(), "x509:"):
		return "tls", http.StatusBadGateway
	case late:
		return "timeout", http.StatusGatewayTimeout
	}
	return "protocol", http.StatusBadGateway
}

// respond copies the answer. Each write may take as long as the site's idle
// time, and so may each wait for the origin; the whole may take for ever.
func (q *request) respond(resp *http.Response, cancel context.CancelFunc) {
	h := q.w.Header()
	incoming(h, resp.Header)
	h.Set(RequestHeader, q.id)
	q.site.headers.apply(h, q.scheme == "https", q.host)
	announced := len(resp.Trailer)
	for name := range resp.Trailer {
		if !ours(name) {
			h.Add("Trailer", name)
		}
	}
	q.allowWrite()
	q.wrote = true
	q.w.WriteHeader(resp.StatusCode)
	if resp.Body == http.NoBody {
		return
	}
	if announced > 0 {
		q.rc.Flush() // trailers need the chunked coding, which a short body would not get
	}
	idle := time.AfterFunc(q.site.idle, cancel)
	if q.moved != nil {
		idle.Stop() // both directions are watched at once
	}
	err := q.copy(resp, idle)
	idle.Stop()
	if err != nil {
		q.abandon()
	}
	for name, values := range resp.Trailer {
		if ours(name) {
			continue
		}
		for _, v := range values {
			if len(resp.Trailer) == announced {
				h.Add(name, v)
			} else {
				h.Add(http.TrailerPrefix+name, v)
			}
		}
	}
}

// converse lets a gRPC call that streams in both directions go on as long as
// anything moves in either of them. The returned function ends the watch.
func (q *request) converse(body *bodyStream, cancel context.CancelFunc) (stop func()) {
	q.moved = new(atomic.Int64)
	body.moved, body.from.end = q.moved, time.Time{}
	body.from.clear()
	q.rc.SetWriteDeadline(time.Time{})
	return newIdleWatch(q.moved, q.site.idle, func() {
		cancel()
		q.rc.SetWriteDeadline(time.Unix(1, 0)) // a write that waits for the client
	}).stop
}

// allowWrite gives the next write the site's idle time.
func (q *request) allowWrite() {
	if q.moved == nil {
		q.rc.SetWriteDeadline(time.Now().Add(q.site.idle))
	}
}

// streams reports whether the origin sends bit by bit and each bit counts.
func streams(resp *http.Response) bool {
	t := resp.Header.Get("Content-Type")
	return resp.ContentLength < 0 || strings.HasPrefix(t, "text/event-stream") || strings.HasPrefix(t, "application/grpc")
}

func (q *request) copy(resp *http.Response, idle *time.Timer) error {
	chunk := q.edge.buffers.Get().(*[]byte)
	defer q.edge.buffers.Put(chunk)
	flush := streams(resp)
	if flush {
		q.rc.Flush() // the header, before the first event
	}
	for {
		n, err := resp.Body.Read(*chunk)
		if n > 0 {
			if q.moved == nil {
				idle.Reset(q.site.idle)
			} else {
				q.moved.Add(int64(n))
			}
			q.allowWrite()
			if _, werr := q.w.Write((*chunk)[:n]); werr != nil {
				return werr
			}
			if flush {
				if ferr := q.rc.Flush(); ferr != nil {
					return ferr
				}
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
