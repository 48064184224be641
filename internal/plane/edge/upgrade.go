package edge

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// switchProtocols joins client and origin after a 101 answer until one of them
// closes, nothing moves for the site's idle time, or the edge stops. Only
// WebSocket is let through: an upgrade to h2c would carry requests past the
// firewall.
func (q *request) switchProtocols(ctx context.Context, g *origin, resp *http.Response, asked bool) {
	back, ok := resp.Body.(io.ReadWriteCloser)
	if !ok || !asked || !hasToken(resp.Header["Upgrade"], "websocket") {
		q.site.tally.originErrors.Add(1)
		q.reportOrigin("protocol", g.label, http.StatusBadGateway)
		q.refuse(http.StatusBadGateway)
		return
	}
	conn, buffered, err := q.rc.Hijack()
	if err != nil {
		q.edge.opts.Log.Error("connection not taken over", "req", q.id, "err", err)
		q.refuse(http.StatusInternalServerError)
		return
	}
	q.wrote = true
	defer conn.Close()
	if wire := wireOf(q.r.Context()); wire != nil {
		wire.raw.Store(true)
	}
	conn.SetReadDeadline(time.Time{})
	conn.SetWriteDeadline(time.Now().Add(q.site.idle))
	if err := writeSwitch(conn, q.id, resp.Header); err != nil {
		return
	}
	joinStreams(ctx, conn, buffered.Reader, back, q.site.idle)
}

func writeSwitch(w io.Writer, id string, origin http.Header) error {
	h := http.Header{}
	incoming(h, origin)
	h.Del("Content-Length")
	h.Set(RequestHeader, id)
	h.Set("Connection", "Upgrade")
	h.Set("Upgrade", "websocket")
	b := bufio.NewWriter(w)
	fmt.Fprint(b, "HTTP/1.1 101 Switching Protocols\r\n")
	if err := h.Write(b); err != nil {
		return fmt.Errorf("write upgrade: %w", err)
	}
	fmt.Fprint(b, "\r\n")
	if err := b.Flush(); err != nil {
		return fmt.Errorf("write upgrade: %w", err)
	}
	return nil
}

// joinStreams copies both ways and returns when both copies have ended.
func joinStreams(ctx context.Context, client net.Conn, early *bufio.Reader, origin io.ReadWriteCloser, idle time.Duration) {
	var once sync.Once
	end := func() {
		once.Do(func() {
			client.Close()
			origin.Close()
		})
	}
	defer context.AfterFunc(ctx, end)()
	var moved atomic.Int64 // bytes, both ways
	watch := newIdleWatch(&moved, idle, end)
	defer watch.stop()
	client.SetWriteDeadline(time.Time{}) // from here on idleness is watched for both directions at once
	var back sync.WaitGroup
	back.Go(func() {
		defer end()
		io.Copy(counting{client, &moved}, origin)
	})
	io.Copy(counting{origin, &moved}, early)
	end()
	back.Wait()
}

// counting hides ReadFrom, so that each piece is counted when it is written.
type counting struct {
	w     io.Writer
	moved *atomic.Int64
}

// Write implements io.Writer.
func (c counting) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.moved.Add(int64(n))
	return n, err
}

// idleWatch calls end when moved did not change for a whole idle time.
type idleWatch struct {
	mu      sync.Mutex
	timer   *time.Timer
	stopped bool
}

func newIdleWatch(moved *atomic.Int64, idle time.Duration, end func()) *idleWatch {
	w := &idleWatch{}
	last := moved.Load()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer = time.AfterFunc(idle, func() {
		now := moved.Load()
		w.mu.Lock()
		defer w.mu.Unlock()
		switch {
		case w.stopped:
		case now == last:
			end()
		default:
			last = now
			w.timer.Reset(idle)
		}
	})
	return w
}

func (w *idleWatch) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
	w.timer.Stop()
}
