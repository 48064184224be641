package events

import (
	"encoding/binary"
	"hash/fnv"
	"math"
	"slices"
	"time"
)

// blockBytes is how much of a segment one entry of the time index covers.
const blockBytes = 64 << 10

// block is a stretch of a segment. Events are in order of arrival, which is
// only almost that of time, so a block has both ends of its times.
type block struct {
	at       uint32 // offset of the first frame
	min, max int64  // µs since 1970
}

// request maps the hash of a request id to the frame of an event.
type request struct {
	hash uint64
	at   uint32
}

// span is a range of times in µs; the zero value is not empty: use newSpan.
type span struct{ min, max int64 }

func newSpan() span { return span{math.MaxInt64, math.MinInt64} }

func (s *span) add(us int64) { s.min, s.max = min(s.min, us), max(s.max, us) }

// meets reports whether the two ranges, ends included, share a moment.
func (s span) meets(o span) bool { return s.min <= o.max && o.min <= s.max }

// index is the index of one segment while it is in memory: of the active one,
// and of a sealed one whose index could not be written.
type index struct {
	times    span
	count    uint64
	end      int64 // bytes of the segment that are indexed
	blocks   []block
	tenants  map[uint64]uint32 // hash of the tenant to its number of events
	requests []request         // in order of arrival
}

func newIndex() *index { return &index{times: newSpan(), tenants: make(map[uint64]uint32)} }

// add takes in the event of the next frame, which has length bytes in all.
func (x *index) add(e *Event, length int) {
	us := e.Time.UnixMicro()
	last := len(x.blocks) - 1
	if last < 0 || x.end-int64(x.blocks[last].at) >= blockBytes {
		x.blocks = append(x.blocks, block{at: uint32(x.end), min: us, max: us})
	} else {
		b := &x.blocks[last]
		b.min, b.max = min(b.min, us), max(b.max, us)
	}
	if e.Request != "" {
		x.requests = append(x.requests, request{hash(e.Request), uint32(x.end)})
	}
	x.tenants[hash(e.Tenant)]++
	x.times.add(us)
	x.count++
	x.end += int64(length)
}

// hash is the FNV-1a of s. Two strings may share it: compare what is found.
func hash(s string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(s))
	return h.Sum64()
}

// Layout of an index file, big endian. The sum at the end is of all before it.
//
//	magic | u64 file size | u64 indexed bytes | u32 sum of the segment's tail |
//	u64 events | i64 min | i64 max | u32 blocks | u32 tenants | u32 requests |
//	blocks (u32 at, i64 min, i64 max) | tenants (u64 hash, u32 count), sorted |
//	requests (u64 hash, u32 at), sorted | u32 CRC-32C
const (
	indexMagic = "dun/events/1"
	indexHead  = len(indexMagic) + 8 + 8 + 4 + 8 + 8 + 8 + 4 + 4 + 4
	blockSize  = 20
	pairSize   = 12
	// tailBytes of the segment are summed, to tell that the index is of it.
	tailBytes = 4 << 10
)

// layout says where the tables of an index file lie.
type layout struct {
	fileSize, end             int64
	tail                      uint32
	count                     uint64
	times                     span
	blocks, tenants, requests int
}

func (y layout) tenantsAt() int64  { return int64(indexHead + y.blocks*blockSize) }
func (y layout) requestsAt() int64 { return y.tenantsAt() + int64(y.tenants*pairSize) }
func (y layout) size() int64       { return y.requestsAt() + int64(y.requests*pairSize) + 4 }

// encode writes the index of a segment file of fileSize bytes.
func (x *index) encode(fileSize int64, tail uint32) ([]byte, layout) {
	y := layout{fileSize, x.end, tail, x.count, x.times, len(x.blocks), len(x.tenants), len(x.requests)}
	b := make([]byte, 0, y.size())
	b = append(b, indexMagic...)
	b = binary.BigEndian.AppendUint64(b, uint64(y.fileSize))
	b = binary.BigEndian.AppendUint64(b, uint64(y.end))
	b = binary.BigEndian.AppendUint32(b, y.tail)
	b = binary.BigEndian.AppendUint64(b, y.count)
	b = binary.BigEndian.AppendUint64(b, uint64(y.times.min))
	b = binary.BigEndian.AppendUint64(b, uint64(y.times.max))
	for _, n := range []int{y.blocks, y.tenants, y.requests} {
		b = binary.BigEndian.AppendUint32(b, uint32(n))
	}
	for _, k := range x.blocks {
		b = binary.BigEndian.AppendUint32(b, k.at)
		b = binary.BigEndian.AppendUint64(b, uint64(k.min))
		b = binary.BigEndian.AppendUint64(b, uint64(k.max))
	}
	for _, r := range sortedTenants(x.tenants) {
		b = appendPair(b, r)
	}
	sorted := slices.Clone(x.requests)
	slices.SortFunc(sorted, compareRequests)
	for _, r := range sorted {
		b = appendPair(b, r)
	}
	return binary.BigEndian.AppendUint32(b, checksum(b)), y
}

func sortedTenants(m map[uint64]uint32) []request {
	list := make([]request, 0, len(m))
	for h, n := range m {
		list = append(list, request{h, n})
	}
	slices.SortFunc(list, compareRequests)
	return list
}

func appendPair(b []byte, r request) []byte {
	b = binary.BigEndian.AppendUint64(b, r.hash)
	return binary.BigEndian.AppendUint32(b, r.at)
}

func compareRequests(a, b request) int {
	switch {
	case a.hash != b.hash && a.hash < b.hash, a.hash == b.hash && a.at < b.at:
		return -1
	case a == b:
		return 0
	}
	return 1
}

// micro is the time in µs, or open when there is none.
func micro(t time.Time, open int64) int64 {
	if t.IsZero() {
		return open
	}
	return t.UnixMicro()
}
