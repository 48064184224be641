package verdicts

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/clock"
	"github.com/dun-sec/dun/internal/core/fault"
)

// repair brings to b what a has, and says how many bytes went over the wire
// beside the digest, which has one length.
func repair(t testing.TB, a, b *Set) (sent, added int) {
	t.Helper()
	r, err := b.Differ(a.Digest())
	if err != nil {
		t.Fatal(err)
	}
	if r == nil {
		return 0, 0
	}
	m, err := a.Entries(r)
	if err != nil {
		t.Fatal(err)
	}
	if len(m) > MaxMessage {
		t.Fatalf("a message of %d bytes", len(m))
	}
	added, err = b.Merge(m)
	if err != nil {
		t.Fatal(err)
	}
	return len(r) + len(m), added
}

func TestRandomSetsBecomeEqual(t *testing.T) {
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 1))
		c := clock.NewFake(start)
		most := 50 + r.IntN(2000)
		a := New(Options{Clock: c, Max: most, MaxLife: time.Hour})
		b := New(Options{Clock: c, Max: most, MaxLife: time.Hour})
		for range r.IntN(3000) {
			v := Verdict{
				Kind: []string{"ban", "pass", "flow"}[r.IntN(3)], Key: fmt.Sprint(r.IntN(2000)),
				Until: start.Add(time.Duration(r.IntN(60)) * time.Minute),
				Rule:  fmt.Sprint("r", r.IntN(3)), Node: fmt.Sprint("n", r.IntN(3)),
			}
			if p := r.IntN(3); p != 0 {
				put(t, a, v)
			} else if p != 1 {
				put(t, b, v)
			}
			c.Advance(time.Duration(r.IntN(1000)) * time.Millisecond)
		}
		repair(t, a, b)
		repair(t, b, a)
		if !slices.Equal(a.All(), b.All()) {
			t.Fatalf("seed %d: %d and %d differ", seed, a.Len(), b.Len())
		}
		if !bytes.Equal(a.Digest(), b.Digest()) {
			t.Fatalf("seed %d: equal sets have different digests", seed)
		}
		if sent, _ := repair(t, a, b); sent != 0 {
			t.Fatalf("seed %d: equal sets send %d bytes", seed, sent)
		}
	}
}

func TestTrafficFollowsTheDifference(t *testing.T) {
	const held = 50_000
	a, c := newSet(2 * held)
	b := New(Options{Clock: c, Max: 2 * held, MaxLife: time.Hour})
	for i := range held {
		v := ban(fmt.Sprint("same", i), start.Add(time.Hour))
		put(t, a, v)
		put(t, b, v)
	}
	if n := len(a.Digest()); n != digestLen {
		t.Errorf("a digest of %d bytes", n)
	}
	for _, n := range []int{1, 10, 100} {
		for i := range n {
			put(t, a, ban(fmt.Sprint("new", n, ".", i), start.Add(time.Hour)))
		}
		// For each: a bucket's parts, and one part's verdicts (a handful).
		sent, added := repair(t, a, b)
		if most := len(headRequest) + len(headEntries) + n*(requestPart+20*maxEntry/4); added != n || sent > most {
			t.Errorf("%d differ: %d bytes (at most %d), %d added", n, sent, most, added)
		}
	}
}

func TestWhatDoesNotFitComesNextTime(t *testing.T) {
	const held = 30_000
	a, c := newSet(held)
	b := New(Options{Clock: c, Max: held, MaxLife: time.Hour})
	for i := range held {
		put(t, a, ban(fmt.Sprintf("%0100d", i), start.Add(time.Hour)))
	}
	for round := 0; b.Len() < held; round++ {
		if _, added := repair(t, a, b); added == 0 || round > 10 {
			t.Fatalf("round %d brings %d; %d are there", round, added, b.Len())
		}
	}
	// A peer that takes nothing is offered others each time.
	empty, _ := New(Options{Clock: c}).Differ(a.Digest())
	first, _ := a.Entries(empty)
	second, _ := a.Entries(empty)
	if bytes.Equal(first, second) {
		t.Error("the same verdicts are offered for ever")
	}
}

func TestAPeerCannotGrowTheSetNorItsLives(t *testing.T) {
	s, c := newSet(10)
	put(t, s, ban("own", start.Add(time.Hour)))
	message := []byte(headEntries)
	for i := range 1000 {
		message = appendEntry(message, newEntry(ban(fmt.Sprint(i), start), start.Add(time.Duration(1+i)*time.Second).UnixMicro()))
	}
	if _, err := s.Merge(message); err != nil || s.Len() != 10 || !s.Has("ban", "own") {
		t.Errorf("holds %d: %v", s.Len(), err)
	}
	far := []byte(headEntries)
	for _, until := range []int64{start.Add(time.Hour).UnixMicro() + 1, 1<<63 - 1, -1 << 63, 0, start.UnixMicro()} {
		far = appendEntry(far, newEntry(ban("own", start), until))
	}
	if n, err := s.Merge(far); n != 0 || err != nil || s.Refused() != 2 {
		t.Errorf("took %d, refused %d: %v", n, s.Refused(), err)
	}
	c.Advance(time.Hour)
	if s.Len() != 0 {
		t.Errorf("after MaxLife: %v", s.All())
	}
}

func TestSnapshotsBringBackWhatStillLives(t *testing.T) {
	s, c := newSet(10)
	put(t, s, ban("a", start.Add(time.Minute)), ban("b", start.Add(time.Hour)))
	data := s.Snapshot()
	c.Advance(time.Minute)
	again := New(Options{Clock: c, Max: 10, MaxLife: time.Hour})
	if err := again.Restore(data); err != nil || !slices.Equal(again.All(), s.All()) || again.Len() != 1 {
		t.Errorf("%v: %v", again.All(), err)
	}
	short := New(Options{Clock: c, Max: 10, MaxLife: time.Minute})
	if err := short.Restore(data); err != nil || short.Len() != 0 || short.Refused() != 1 {
		t.Errorf("%v: %v", short.All(), err)
	}
	small := New(Options{Clock: c, Max: 1, MaxLife: time.Hour})
	put(t, s, ban(string(bytes.Repeat([]byte("x"), MaxKey)), start.Add(time.Hour)), ban(string(bytes.Repeat([]byte("y"), MaxKey)), start.Add(time.Hour)))
	if err := small.Restore(s.Snapshot()); !fault.Is(err, fault.Invalid) || small.Len() != 0 {
		t.Errorf("a snapshot above the bound: %v", err)
	}
}

func TestHostileMessagesChangeNothing(t *testing.T) {
	s, _ := newSet(100)
	put(t, s, ban("a", start.Add(time.Minute)))
	other, _ := newSet(100)
	request, err := other.Differ(s.Digest())
	if err != nil {
		t.Fatal(err)
	}
	message, err := s.Entries(request)
	if err != nil {
		t.Fatal(err)
	}
	read := map[string]func([]byte) error{
		headDigest:   func(b []byte) error { _, err := other.Differ(b); return err },
		headRequest:  func(b []byte) error { _, err := other.Entries(b); return err },
		headEntries:  func(b []byte) error { _, err := other.Merge(b); return err },
		headSnapshot: func(b []byte) error { return other.Restore(b) },
	}
	good := map[string][]byte{headDigest: s.Digest(), headRequest: request, headEntries: message, headSnapshot: s.Snapshot()}
	refused := func(what, head string, data []byte) {
		t.Helper()
		if err := read[head](data); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s of %q: %v", what, head, err)
		}
	}
	for head, data := range good {
		for other := range good {
			if other != head {
				refused("a message of another form", head, good[other])
			}
		}
		refused("nothing", head, nil)
		refused("a cut one", head, data[:len(data)-1])
		refused("a longer one", head, append(slices.Clone(data), 1))
		refused("far too long a one", head, append([]byte(head), make([]byte, 2*MaxMessage)...))
	}
	twice := append(slices.Clone(request), request[len(headRequest):]...)
	refused("a bucket asked for twice", headRequest, twice)
	long := appendEntry([]byte(headEntries), newEntry(ban(string(bytes.Repeat([]byte("x"), MaxKey+1)), start), start.Add(time.Minute).UnixMicro()))
	refused("too long a key", headEntries, append(slices.Clone(message), long[len(headEntries):]...))
	if other.Len() != 0 {
		t.Errorf("took %v", other.All())
	}
}

func fuzzSeeds(f *testing.F) (*Set, func() *Set) {
	s, _ := newSet(20)
	for i := range 20 {
		put(f, s, ban(fmt.Sprint(i), start.Add(time.Minute)))
	}
	fresh := func() *Set { n, _ := newSet(8); return n }
	r, _ := fresh().Differ(s.Digest())
	m, _ := s.Entries(r)
	for _, seed := range [][]byte{nil, s.Digest(), r, m, s.Snapshot()} {
		f.Add(seed)
	}
	return s, fresh
}

func bounded(t *testing.T, s *Set) {
	t.Helper()
	if s.Len() > s.max || len(s.held) != len(s.queue) || len(s.queue) > s.max {
		t.Fatalf("holds %d", len(s.held))
	}
	for _, v := range s.All() {
		if !v.valid() || v.Until.After(start.Add(s.maxLife)) {
			t.Fatalf("holds %+v", v)
		}
	}
}

func FuzzMerge(f *testing.F) {
	_, fresh := fuzzSeeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		s := fresh()
		n, err := s.Merge(data)
		if err != nil && (n != 0 || len(s.held) != 0) {
			t.Fatal("a refused message changed the set")
		}
		if entries, err := decodeEntries(bytes.TrimPrefix(data, []byte(headEntries))); err == nil {
			var again []byte
			for _, e := range entries {
				again = appendEntry(again, e)
			}
			if !bytes.Equal(again, bytes.TrimPrefix(data, []byte(headEntries))) {
				t.Fatal("there are two forms of one entry")
			}
		}
		bounded(t, s)
	})
}

func FuzzRestore(f *testing.F) {
	_, fresh := fuzzSeeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		s := fresh()
		if err := s.Restore(data); err != nil && len(s.held) != 0 {
			t.Fatal("a refused snapshot changed the set")
		}
		bounded(t, s)
	})
}

func FuzzRequests(f *testing.F) {
	s, _ := fuzzSeeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		if r, err := s.Differ(data); err == nil && len(r) > len(headRequest)+buckets*requestPart {
			t.Fatalf("a request of %d bytes", len(r))
		}
		if m, err := s.Entries(data); err == nil && len(m) > MaxMessage {
			t.Fatalf("an answer of %d bytes", len(m))
		}
	})
}
