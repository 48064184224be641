package events

import (
	"bytes"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/id"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// sample is the n-th event of a day, one a second.
func sample(n int) Event {
	at := noon.Add(time.Duration(n) * time.Second)
	return Event{
		ID: fmt.Sprintf("e%d", n), Time: at, Node: "n1", Part: "edge", Kind: "block",
		Tenant: []string{"acme", "globex", "initech"}[n%3], Object: "site/shop", Request: id.Request(at, 7),
		Source: "192.0.2.1", Action: []string{"blocked", "detected"}[n%2],
		Rules:      []Rule{{ID: 942100, Message: "SQL injection", Where: "ARGS:q", Match: "1' OR 1=1--"}},
		Attributes: map[string]string{"path": "/search"},
	}
}

// journal is a place for log lines that tests can read.
type journal struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.Write(p)
}

func (j *journal) count(s string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Count(j.buf.String(), s)
}

func (j *journal) logger() *slog.Logger { return slog.New(slog.NewTextHandler(j, nil)) }

func mustOpen(t testing.TB, opt Options) *Log {
	t.Helper()
	if opt.Now == nil {
		opt.Now = func() time.Time { return noon }
	}
	l, err := Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func mustFlush(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func mustClose(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// fill adds the events from..to-1, in batches of the writer.
func fill(t testing.TB, l *Log, from, to int) {
	t.Helper()
	for n := from; n < to; n++ {
		l.Add(sample(n))
		if n%1000 == 999 {
			mustFlush(t, l)
		}
	}
	mustFlush(t, l)
}

func mustSearch(t testing.TB, l *Log, q Query) ([]Event, string) {
	t.Helper()
	events, next, err := l.Search(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	return events, next
}

// all reads every page and returns the ids.
func all(t testing.TB, l *Log, q Query) []string {
	t.Helper()
	var list []string
	for {
		events, next := mustSearch(t, l, q)
		list = append(list, ids(events)...)
		if next == "" {
			return list
		}
		q.After = next
	}
}

func ids(events []Event) []string {
	var list []string
	for _, e := range events {
		list = append(list, e.ID)
	}
	return list
}

// names are the ids of the samples that keep allows.
func names(from, to int, keep func(n int) bool) []string {
	var list []string
	for n := from; n < to; n++ {
		if keep == nil || keep(n) {
			list = append(list, fmt.Sprintf("e%d", n))
		}
	}
	return list
}

func segmentFiles(t testing.TB, dir string) []string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(dir, "*.seg"))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func same(t testing.TB, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %d %.200v, want %d %.200v", what, len(got), got, len(want), want)
	}
}
