package verdicts

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
	"slices"
)

// The digests are a tree of two levels over places, which follow from kind and
// key alone.
const (
	buckets    = 256
	parts      = 64 // of a bucket
	digestSize = 16 // bytes

	digestLen   = len(headDigest) + buckets*digestSize
	requestPart = 1 + parts*digestSize // a bucket's number and what its parts hold

	// MaxMessage is the longest message in bytes that a set makes or reads in
	// a repair. What does not fit comes with the next round.
	MaxMessage = 1 << 20

	// mergeGroup is how many entries are taken under one lock, so that Has
	// need not wait for a whole message.
	mergeGroup = 64
)

// A repair brings to B what A has and B lacks; the other direction is another
// one:
//
//	A  d := a.Digest()                 always 4 KiB
//	B  r, err := b.Differ(d)           nil: nothing is missing; else 1 KiB for each bucket that differs
//	A  m, err := a.Entries(r)          the verdicts of the parts that differ
//	B  added, err := b.Merge(m)

// View is the part of a set that a peer may know and tell of. A repair through
// it neither shows nor takes anything else. The nil function sees everything.
type View struct {
	s    *Set
	sees func(kind, key string) bool
}

// View narrows the set for one peer.
func (s *Set) View(sees func(kind, key string) bool) View { return View{s, sees} }

func (v View) seen(e *entry) bool { return v.sees == nil || v.sees(e.kind, e.key) }

// Digest says what holds now, bucket by bucket.
func (s *Set) Digest() []byte { return View{s: s}.Digest() }

// Differ makes the request to a peer from its digest: the buckets that differ,
// and what each of their parts holds here. It is nil when none differs. A
// digest of another form is invalid.
func (s *Set) Differ(peerDigest []byte) ([]byte, error) { return View{s: s}.Differ(peerDigest) }

// Entries answers a request with the verdicts of the parts that differ, in at
// most MaxMessage bytes. When more differ, each call begins elsewhere, so that
// verdicts which the peer does not take never hold up the others. A request of
// another form is invalid.
func (s *Set) Entries(request []byte) ([]byte, error) { return View{s: s}.Entries(request) }

// Merge takes the verdicts of a peer's message, and says how many of them are
// new here. The later Until wins, then the smaller Node. Those that have ended
// or would live longer than MaxLife from now are left out, each for itself:
// shortened ones would differ from node to node and grow longer with each
// round. A message that is too long, damaged or of another version is invalid
// and changes nothing.
func (s *Set) Merge(message []byte) (added int, err error) { return View{s: s}.Merge(message) }

// Digest is Set.Digest of what the view sees.
func (v View) Digest() []byte {
	t := v.tree()
	out := make([]byte, 0, digestLen)
	out = append(out, headDigest...)
	for b := range buckets {
		d := t.bucket(b)
		out = append(out, d[:]...)
	}
	return out
}

// Differ is Set.Differ of what the view sees.
func (v View) Differ(peerDigest []byte) ([]byte, error) {
	theirs, err := body(peerDigest, headDigest, digestLen)
	if err != nil {
		return nil, err
	}
	if len(theirs) != buckets*digestSize {
		return nil, damaged()
	}
	t := v.tree()
	var out []byte
	for b := range buckets {
		if t.bucket(b) == [digestSize]byte(theirs[b*digestSize:]) {
			continue
		}
		if out == nil {
			out = []byte(headRequest)
		}
		out = append(out, byte(b))
		for _, d := range t[b*parts : (b+1)*parts] {
			out = append(out, d[:]...)
		}
	}
	return out, nil
}

// Entries is Set.Entries of what the view sees.
func (v View) Entries(request []byte) ([]byte, error) {
	data, err := body(request, headRequest, len(headRequest)+buckets*requestPart)
	if err != nil {
		return nil, err
	}
	if len(data)%requestPart != 0 {
		return nil, damaged()
	}
	t := v.tree()
	var wanted [buckets * parts]bool
	for last := -1; len(data) > 0; data = data[requestPart:] {
		b := int(data[0])
		if b <= last {
			return nil, damaged()
		}
		last = b
		for p := range parts {
			wanted[b*parts+p] = t[b*parts+p] != [digestSize]byte(data[1+p*digestSize:])
		}
	}
	found := v.s.living(func(e *entry) bool { return wanted[e.place] && v.seen(e) })
	out, sent := []byte(headEntries), 0
	start := v.s.turn.Load()
	for i := range found {
		e := found[(start+uint64(i))%uint64(len(found))]
		if len(out)+maxEntry > MaxMessage {
			v.s.turn.Add(uint64(sent))
			break
		}
		out = appendEntry(out, e)
		sent++
	}
	return out, nil
}

// Merge is Set.Merge of what the view sees; the rest of the message is left
// out.
func (v View) Merge(message []byte) (added int, err error) {
	data, err := body(message, headEntries, MaxMessage)
	if err != nil {
		return 0, err
	}
	entries, err := decodeEntries(data)
	if err != nil {
		return 0, err
	}
	entries = slices.DeleteFunc(entries, func(e *entry) bool { return !v.seen(e) })
	return v.s.takeAll(entries), nil
}

// takeAll takes what was made elsewhere, some at a time.
func (s *Set) takeAll(entries []*entry) (taken int) {
	for len(entries) > 0 {
		group := entries[:min(len(entries), mergeGroup)]
		entries = entries[len(group):]
		s.mu.Lock()
		at := s.moment()
		for _, e := range group {
			if e.until > at.wall+s.maxLife.Microseconds() {
				s.refused.Add(1)
			} else if s.take(e, at) {
				taken++
			}
		}
		s.mu.Unlock()
	}
	return taken
}

// tree holds a digest for each place; all zero where nothing lives.
type tree [buckets * parts][digestSize]byte

// tree digests what lives now. Sums are added modulo 2^256: the order does not
// matter, and unlike with xor nobody finds verdicts that cancel each other out
// by solving linear equations.
func (v View) tree() *tree {
	var sums [buckets * parts][4]uint64
	for _, e := range v.s.living(v.seen) {
		at, carry := &sums[e.place], uint64(0)
		for i := range at {
			at[i], carry = bits.Add64(at[i], binary.LittleEndian.Uint64(e.sum[i*8:]), carry)
		}
	}
	t := new(tree)
	for i, sum := range sums {
		if sum == ([4]uint64{}) {
			continue
		}
		var b [32]byte
		for j, w := range sum {
			binary.LittleEndian.PutUint64(b[j*8:], w)
		}
		full := sha256.Sum256(b[:])
		t[i] = [digestSize]byte(full[:])
	}
	return t
}

// bucket is the digest over the parts of bucket b.
func (t *tree) bucket(b int) [digestSize]byte {
	var all [parts * digestSize]byte
	for i, d := range t[b*parts : (b+1)*parts] {
		copy(all[i*digestSize:], d[:])
	}
	full := sha256.Sum256(all[:])
	return [digestSize]byte(full[:])
}
