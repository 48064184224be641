package console

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/govern/dayzero"
)

func TestAPageLivesAndEndsWithItsSession(t *testing.T) {
	h := newHouse(t)
	token := h.signIn(dayzero.Operator)
	lines, res := h.tune()
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%d %v", res.StatusCode, res.Header)
	}
	h.put(site("platform", "appears", "appears.test", 0))
	if !hear(t, lines, `hx-target="#records"`, "appears.test") {
		t.Fatal("the stream ended")
	}
	h.hit("platform", "/attack", "SQL")
	if !hear(t, lines, `hx-target="#blocks"`, "/attack") || !hear(t, lines, ": still here") {
		t.Fatal("the stream ended")
	}
	if err := h.gate.CloseSession(t.Context(), identity.Actor{Principal: dayzero.Operator}, token); err != nil {
		t.Fatal(err)
	}
	if !hear(t, lines, "event: end") || hear(t, lines, "hx-partial") {
		t.Error("the stream goes on without a session")
	}
}

func TestStoppingEndsTheStreams(t *testing.T) {
	h := newHouse(t)
	h.signIn(dayzero.Operator)
	lines, _ := h.tune()
	hear(t, lines, `hx-target="#blocks"`)
	h.console.Stop()
	if hear(t, lines, "never") {
		t.Error("what should never come came")
	}
}

func TestStreamsAreBounded(t *testing.T) {
	h := newHouse(t)
	h.signIn(dayzero.Operator)
	for range maxOfOne {
		lines, _ := h.tune()
		hear(t, lines, `hx-target="#blocks"`)
	}
	res, _ := h.call("GET", "/live", nil)
	if res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
	var p places
	for i := range maxStreams {
		if !p.take(resource.Ref{Name: number(uint64(i))}) {
			t.Fatalf("no place for %d", i)
		}
	}
	if p.take(resource.Ref{Name: "more"}) {
		t.Error("one more than there are places")
	}
	p.give(resource.Ref{Name: "3"})
	if !p.take(resource.Ref{Name: "more"}) || len(p.by) != maxStreams {
		t.Error("a place that was given back is not free")
	}
}

func TestAFloodIsShownByItsNewestAndCountedOnce(t *testing.T) {
	h := newHouse(t)
	for range 3 {
		h.hit("platform", "/before", "m")
	}
	p, err := h.console.join(t.Context(), []string{"platform", ""})
	if err != nil {
		t.Fatal(err)
	}
	defer p.leave()
	if v := p.view(); v.total() != 3 || len(v.list) != 3 {
		t.Fatalf("%d blocks, %d listed", v.total(), len(v.list))
	}
	const many = 2*newest + 7
	for range many {
		h.hit("platform", "/flood", "m")
	}
	last := h.hit("platform", "/last", "m")
	late := time.After(time.Minute)
	for p.view().list[0].Request != last {
		select {
		case <-late:
			t.Fatal("the last block does not appear")
		case <-time.Tick(time.Millisecond):
		}
	}
	v := p.view()
	if v.total() != many+4 || len(v.list) != newest || v.atLeast || strings.Contains(v.words().En, "At least") {
		t.Errorf("%d counted, %d listed, at least %v", v.total(), len(v.list), v.atLeast)
	}
	q, err := h.console.join(t.Context(), []string{"", "platform"})
	if err != nil || q != p {
		t.Errorf("two pulses of the same tenants: %v", err)
	}
	q.leave()
}

func TestLineEndsDoNotEndAMessage(t *testing.T) {
	h := newHouse(t)
	w := httptest.NewRecorder()
	s := &stream{v: h.console.visit(w, httptest.NewRequest("GET", "/live", nil)), rc: http.NewResponseController(w), ctx: t.Context()}
	if err := s.put("blocks", "a\nb\r\nc\rd\n\nevent: end"); err != nil {
		t.Fatal(err)
	}
	for _, l := range strings.FieldsFunc(strings.TrimSuffix(w.Body.String(), "\n\n"), func(r rune) bool { return r == '\n' || r == '\r' }) {
		if !strings.HasPrefix(l, "data: ") {
			t.Errorf("%q is a line of its own", l)
		}
	}
	if strings.Count(w.Body.String(), "\n\n") != 1 {
		t.Errorf("%q is more than one message", w.Body.String())
	}
}
