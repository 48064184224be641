package classes

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/dun-sec/dun/internal/core/id"
	"github.com/dun-sec/dun/internal/core/identity/sigv4"
	"github.com/dun-sec/dun/internal/core/resource"
)

// Bounds of one request of the check.
const (
	askWithin = 10 * time.Second
	askWindow = 1 << 20 // bytes of an answer that are looked through at once
	askSeam   = 8 << 10 // bytes of a window that the next one begins with
)

// caller is somebody who asks API and console.
type caller struct {
	name string
	sign func(r *http.Request, body []byte) error
	api  bool // asks the API alone
}

// by is a caller with a session, as a program and as a browser has it.
func (s *stage) by(who resource.Ref) caller {
	return caller{name: map[bool]string{true: "its own tenant", false: "another tenant"}[who == owner], sign: func(r *http.Request, _ []byte) error {
		r.Header.Set("Authorization", "Bearer "+s.tokens[who])
		r.AddCookie(&http.Cookie{Name: "__Host-dun", Value: s.tokens[who]})
		return nil
	}}
}

// outsiders are those who must not have it.
func (s *stage) outsiders() []caller {
	out := []caller{s.by(stranger), {name: "nobody", sign: func(*http.Request, []byte) error { return nil }}}
	if s.keyID != "" {
		out = append(out, caller{name: "its key", api: true, sign: func(r *http.Request, body []byte) error {
			return sigv4.Sign(r, s.keyID, s.keySecret, body, time.Now())
		}})
	}
	return out
}

// httpDoors are API and console, page by page.
func (x *egress) httpDoors(s *stage) []Door {
	if x.env.Serve == nil {
		return nil
	}
	var out []Door
	for _, p := range pagesOf(s) {
		d := Door{Name: p.name, Try: func(ctx context.Context, _ Planted) (Look, error) { return x.outside(ctx, s, p) }}
		if !p.operators {
			d.Twin = func(ctx context.Context, _ Planted) (Look, error) {
				a, err := x.ask(ctx, s, p, s.by(owner))
				return Look{Leaked: a.found, Saw: fmt.Sprint(a.status)}, err
			}
		}
		out = append(out, d)
	}
	return out
}

// outside asks as everybody who must not have it.
func (x *egress) outside(ctx context.Context, s *stage, p page) (Look, error) {
	out := Look{}
	var saw []string
	for _, c := range s.outsiders() {
		if c.api && !p.api() {
			continue
		}
		a, err := x.ask(ctx, s, p, c)
		switch {
		case err != nil:
			return out, fmt.Errorf("as %s: %w", c.name, err)
		case a.status >= 500 || a.status == http.StatusTooManyRequests:
			return out, fmt.Errorf("as %s: it answers %d", c.name, a.status)
		case p.operators && c.name != "nobody" && !a.found && a.status != http.StatusForbidden:
			return out, fmt.Errorf("as %s: it answers %d, where a door that is there refuses with 403", c.name, a.status)
		}
		word := fmt.Sprintf("%s %d", c.name, a.status)
		if a.found {
			out.Leaked = true
			word += " with the marker"
		} else if a.status == http.StatusOK {
			word += " without it"
		}
		saw = append(saw, word)
	}
	out.Saw = strings.Join(saw, ", ")
	return out, nil
}

// ask sends one request to the handler of API and console, in process, and
// looks through the answer as it comes.
func (x *egress) ask(ctx context.Context, s *stage, p page, c caller) (a *answer, err error) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	method, body := http.MethodGet, []byte(nil)
	if p.form != "" {
		method, body = http.MethodPost, []byte(p.form)
	}
	r, err := http.NewRequestWithContext(ctx, method, "https://dun-check.invalid"+p.path, bytes.NewReader(body))
	if err != nil {
		return &answer{}, err
	}
	if p.form != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	r.Header.Set("User-Agent", "dun-check/1-1")
	if err := c.sign(r, body); err != nil {
		return &answer{}, err
	}
	// As a server has it.
	r.Host, r.RemoteAddr, r.RequestURI = r.URL.Host, "127.0.0.1:1", r.URL.RequestURI()
	r.URL.Scheme, r.URL.Host = "", ""
	a = &answer{header: http.Header{}, needle: p.needle, end: cancel, stop: p.stop}
	if p.follows {
		a.stop = Mark + "sentinel-" + id.Random(10)
		a.begun = func() { x.tell(s, a.stop) }
	}
	defer func() {
		if p := recover(); p != nil {
			cut, _ := p.(error)
			if !errors.Is(cut, http.ErrAbortHandler) {
				panic(p)
			}
			a.found = a.found || a.look()
			err = nil // an answer that breaks off is one; what came of it was looked through
		}
	}()
	x.env.Serve.ServeHTTP(a, r)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.found = a.found || a.look()
	if a.stop != "" && a.status == http.StatusOK && !a.found && !a.stopped {
		return a, errors.New("the stream did not come to where the marker would have been")
	}
	return a, nil
}

// answer takes what a handler writes. A stream is ended as soon as it has shown
// what it would show.
type answer struct {
	header http.Header
	needle string
	stop   string // of a stream: what shows that it has come past the marker; "" = it is none
	begun  func()
	end    func()

	mu      sync.Mutex
	status  int
	window  []byte
	found   bool
	stopped bool
}

// Header implements http.ResponseWriter.
func (a *answer) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) {
	a.mu.Lock()
	first := a.status == 0 && status >= 200
	if first {
		a.status = status
	}
	a.mu.Unlock()
	if first && status == http.StatusOK && a.begun != nil {
		a.begun()
	}
}

// Write implements http.ResponseWriter.
func (a *answer) Write(b []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.window = append(a.window, b...)
	if len(a.window) > askWindow {
		a.found = a.found || a.look()
		a.window = append([]byte(nil), a.window[len(a.window)-askSeam:]...)
	}
	if a.stop == "" || a.stopped {
		return len(b), nil
	}
	a.found = a.found || a.look()
	if a.stopped = a.found || bytes.Contains(a.window, []byte(a.stop)); a.stopped {
		a.end()
	}
	return len(b), nil
}

// look reports whether the window has the needle.
func (a *answer) look() bool { return holds(a.window, a.needle) }

// Flush implements http.Flusher: nothing is held back.
func (a *answer) Flush() {}
