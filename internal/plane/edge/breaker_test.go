package edge

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/dun-sec/dun/internal/kinds/edge"
)

func TestABreakerOpensByFailuresInARowOrByTheirShare(t *testing.T) {
	at := time.Unix(1_000_000, 0)
	for name, tt := range map[string]struct {
		results string // o good, x bad; a space lets 10 s pass
		open    bool
	}{
		"four in a row":              {"xxxx", false},
		"five in a row":              {"xxxxx", true},
		"a success between":          {"xxxxoxxxx", false},
		"half of twenty":             {"oxoxoxoxoxoxoxoxoxox", true},
		"half of eighteen":           {"oxoxoxoxoxoxoxoxox", false},
		"a third of thirty":          {"oxooxooxooxooxooxooxooxooxooxo", false},
		"half of twenty in 20 s":     {"oxoxoxoxox oxoxoxoxox", false},
		"five in a row in half an h": {"x x x x x", true},
	} {
		var b breaker
		r, now := compileBreaker(nil), at
		for _, c := range tt.results {
			if c == ' ' {
				now = now.Add(10 * time.Second)
				continue
			}
			if p, ok, _ := b.enter(r, now); ok {
				how := succeeded
				if c == 'x' {
					how = failed
				}
				p.end(how, now)
			}
		}
		if state, _ := b.stands(); (state == breakerOpen) != tt.open {
			t.Errorf("%s: %s", name, state)
		}
	}
}

func TestAHalfOpenBreakerLetsABoundedNumberThrough(t *testing.T) {
	r, now := compileBreaker(&edge.Breaker{Failures: 1, Trials: 2}), time.Unix(1, 0)
	var b breaker
	old, _, _ := b.enter(r, now)
	p, _, _ := b.enter(r, now)
	if p.end(failed, now) != breakerOpen {
		t.Fatal("one failure was to open it")
	}
	if _, ok, _ := b.enter(r, now.Add(r.rest-1)); ok || b.ready(r, now.Add(r.rest-1)) {
		t.Error("open, it lets somebody through before the rest is over")
	}
	now = now.Add(r.rest)
	first, ok1, moved := b.enter(r, now)
	second, ok2, _ := b.enter(r, now)
	if _, ok3, _ := b.enter(r, now); !ok1 || !moved || !ok2 || ok3 || b.ready(r, now) {
		t.Error("half open, two and no more may try")
	}
	if old.end(succeeded, now) != "" {
		t.Error("what began before it opened closes it")
	}
	second.end(unknown, now) // its client left
	third, ok, _ := b.enter(r, now)
	if !ok {
		t.Error("a trial that told nothing gives its place back")
	}
	if third.end(failed, now) != breakerOpen || first.end(succeeded, now) != "" {
		t.Error("the first result decides")
	}
	now = now.Add(r.rest)
	last, _, _ := b.enter(r, now)
	if last.end(succeeded, now) != breakerClosed {
		t.Error("a success closes it")
	}
	if _, ok, _ := b.enter(r, now); !ok {
		t.Error("closed, it lets all through")
	}
	p, _, _ = b.enter(r, now)
	p.end(failed, now)
	if !b.ready(r, now.Add(-time.Hour)) {
		t.Error("a clock that goes back keeps it open")
	}
}

func TestABreakerNeverHoldsMoreTrialsThanAllowed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := compileBreaker(&edge.Breaker{Failures: 2, Trials: rapid.IntRange(1, 3).Draw(t, "trials")})
		var b breaker
		now := time.Unix(1_000_000, 0)
		var open []permit
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0, 1:
				if p, ok, _ := b.enter(r, now); ok {
					open = append(open, p)
				}
			case 2:
				if len(open) > 0 {
					i := rapid.IntRange(0, len(open)-1).Draw(t, "which")
					open[i].end(ending(rapid.IntRange(0, 2).Draw(t, "how")), now)
					open = append(open[:i], open[i+1:]...)
				}
			case 3:
				now = now.Add(time.Duration(rapid.IntRange(0, 6000).Draw(t, "ms")) * time.Millisecond)
			}
			trials := 0
			for _, p := range open {
				if p.trial && p.round == b.round {
					trials++
				}
			}
			if b.state == breakerHalfOpen && (trials > r.trials || trials != b.trying) {
				t.Fatalf("%d trials, %d counted, %d allowed", trials, b.trying, r.trials)
			}
		}
		for _, p := range open {
			p.end(unknown, now)
		}
		if !b.ready(r, now.Add(r.rest)) {
			t.Fatal("nothing gets through any more")
		}
	})
}
