package usage

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/db"
	"github.com/dun-sec/dun/internal/core/fault"
)

func open(t *testing.T) *Book {
	t.Helper()
	d, err := db.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "meta.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	b, err := Open(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var noon = time.Date(2026, 11, 25, 12, 0, 30, 0, time.UTC)

func (b *Book) add(t *testing.T, at time.Time, e ...Entry) {
	t.Helper()
	if err := b.Add(t.Context(), at, e); err != nil {
		t.Fatal(err)
	}
}

func (b *Book) read(t *testing.T, tenant string, from, to time.Time, step time.Duration) []Bucket {
	t.Helper()
	list, err := b.Read(t.Context(), tenant, from, to, step)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestUsageAddsUpByStepAndTenant(t *testing.T) {
	b := open(t)
	one := Sum{Requests: 1, Blocks: 2, In: 3, Out: 4, CPU: 5}
	b.add(t, noon, Entry{"acme", "shop", one}, Entry{"acme", "blog", one}, Entry{"beta", "shop", Sum{Requests: 100}})
	b.add(t, noon.Add(10*time.Second), Entry{"acme", "shop", one})
	b.add(t, noon.Add(time.Minute), Entry{"acme", "shop", one})
	got := b.read(t, "acme", noon.Add(-time.Minute), noon.Add(time.Hour), time.Minute)
	if len(got) != 3 || got[0].Site != "blog" || got[1].Site != "shop" || got[1].Sum != (Sum{2, 4, 6, 8, 10}) || !got[1].Start.Equal(noon.Truncate(time.Minute)) || got[2].Requests != 1 {
		t.Errorf("%+v", got)
	}
	for _, step := range []time.Duration{time.Hour, 24 * time.Hour, 2 * time.Hour, 90 * time.Minute} {
		got := b.read(t, "acme", noon.Add(-24*time.Hour), noon.Add(time.Hour), step)
		if len(got) != 2 || got[1].Requests != 3 || got[0].Requests != 1 {
			t.Errorf("%s: %+v", step, got)
		}
	}
	if got := b.read(t, "gamma", noon.Add(-time.Hour), noon.Add(time.Hour), time.Hour); got == nil || len(got) != 0 {
		t.Errorf("%+v", got)
	}
}

func TestUsageIsForgotten(t *testing.T) {
	b := open(t)
	e := Entry{"acme", "shop", Sum{Requests: 1}}
	for i := range 26 * 60 {
		b.add(t, noon.Add(time.Duration(i)*time.Minute), e)
	}
	var n int
	if err := b.db.Reader.QueryRow(`SELECT COUNT(*) FROM usage WHERE width = 60`).Scan(&n); err != nil || n > 24*60+1 {
		t.Errorf("%d minutes, %v", n, err)
	}
	b.add(t, noon.Add(731*24*time.Hour), e)
	if err := b.db.Reader.QueryRow(`SELECT COUNT(*) FROM usage`).Scan(&n); err != nil || n > 5 {
		t.Errorf("%d rows after two years, %v", n, err)
	}
}

func TestUsageThatIsNotAsked(t *testing.T) {
	b := open(t)
	for _, tt := range []struct {
		from, to time.Time
		step     time.Duration
	}{
		{noon, noon, time.Hour}, {noon, noon.Add(time.Hour), time.Second}, {noon, noon.Add(time.Hour), 90 * time.Second},
		{noon, noon.Add(time.Hour), 32 * 24 * time.Hour}, {noon, noon.AddDate(3, 0, 0), time.Hour},
	} {
		if _, err := b.Read(t.Context(), "acme", tt.from, tt.to, tt.step); !fault.Is(err, fault.Invalid) {
			t.Errorf("%+v: %v", tt, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Add(ctx, noon, nil); !fault.Is(err, fault.Unavailable) {
		t.Error(err)
	}
}
