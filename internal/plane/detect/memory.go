package detect

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"slices"
	"time"

	"github.com/dun-sec/dun/internal/core/resource"
)

// What was learned, as bytes, so that it outlives the process: a line with the
// version; when it was written (seconds of Unix, 8 bytes) and how many targets
// follow (4); each target: tenant, name and address with their lengths (1 each),
// when it was last seen (8), flags (1), hours (1), seconds of the hour under way
// (2), a mask of vectors (2) and of each of those the 95th percentile, the hour
// under way, what is odd of it and believed, and the hours, the oldest first (2
// each, as pack makes them); at last a CRC-32C of all that. Numbers are big-endian.
const (
	memoryVersion = "dun learned 1\n"
	memoryHead    = len(memoryVersion) + 8 + 4
	memoryTarget  = 3 + 8 + 1 + 1 + 2 + 2 // without its names and vectors

	// MaxMemory is how large it gets at most, in bytes.
	MaxMemory = 96 << 20

	forgotten = 30 * 24 * time.Hour // what was learned of a target that is seen no more
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// remembered is what was learned of a target that is not seen now.
type remembered struct {
	usual
	seen time.Time
}

// Memory is what was learned of the addresses that are protected now; nil while
// it is not known which those are.
func (d *Detector) Memory() []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.synced {
		return nil
	}
	now := d.opt.Now()
	all := map[key]*remembered{}
	for k, r := range d.restored {
		if d.rules[k.of] != nil && now.Sub(r.seen) < forgotten {
			all[k] = r
		}
	}
	for k, t := range d.targets {
		if d.rules[k.of] != nil && (t.usual.hours > 0 || t.usual.watched > 0) {
			all[k] = &remembered{t.usual, now}
		}
	}
	keys := make([]key, 0, len(all))
	for k := range all {
		keys = append(keys, k)
	}
	// The newest first: should there be too many, the oldest are left out.
	slices.SortFunc(keys, func(a, b key) int {
		return cmp.Or(all[b].seen.Compare(all[a].seen), cmp.Compare(a.of.Tenant, b.of.Tenant), cmp.Compare(a.of.Name, b.of.Name), cmp.Compare(a.addr, b.addr))
	})
	b := append([]byte(memoryVersion), make([]byte, 12)...)
	binary.BigEndian.PutUint64(b[len(memoryVersion):], uint64(now.Unix()))
	n := 0
	for _, k := range keys[:min(len(keys), maxTargets)] {
		b = all[k].append(b, k)
		n++
	}
	binary.BigEndian.PutUint32(b[len(memoryVersion)+8:], uint32(n))
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func (r *remembered) append(b []byte, k key) []byte {
	for _, s := range []string{k.of.Tenant, k.of.Name, k.addr} {
		b = append(append(b, byte(len(s))), s...)
	}
	b = binary.BigEndian.AppendUint64(b, uint64(r.seen.Unix()))
	flags := byte(0)
	if k.out {
		flags = 1
	}
	b = append(b, flags, byte(r.hours))
	b = binary.BigEndian.AppendUint16(b, uint16(r.watched/time.Second))
	mask := uint16(0)
	for v := range r.of {
		if r.of[v].ring != nil || r.of[v].most > 0 || r.of[v].sane > 0 {
			mask |= 1 << v
		}
	}
	b = binary.BigEndian.AppendUint16(b, mask)
	for v := range r.of {
		if mask>>v&1 == 0 {
			continue
		}
		x := &r.of[v]
		for _, rate := range []float64{x.p95, x.most, x.odd, x.sane} {
			b = binary.BigEndian.AppendUint16(b, pack(rate))
		}
		for i := range r.hours {
			value := uint16(0)
			if x.ring != nil {
				value = x.ring[(r.next-r.hours+i+kept)%kept]
			}
			b = binary.BigEndian.AppendUint16(b, value)
		}
	}
	return b
}

var errMemory = errors.New("what was learned of thresholds is damaged")

// Remember takes up what an earlier process learned. Only a whole and unharmed
// memory is taken; with an error nothing is.
func (d *Detector) Remember(b []byte) error {
	all, err := readMemory(b, d.opt.Now())
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.restored = all
	return nil
}

// recall hands out what is remembered of a target.
func (d *Detector) recall(k key) usual {
	r := d.restored[k]
	if r == nil {
		return usual{}
	}
	delete(d.restored, k)
	return r.usual
}

func readMemory(b []byte, now time.Time) (map[key]*remembered, error) {
	if len(b) > MaxMemory || len(b) < memoryHead+4 {
		return nil, fmt.Errorf("%w: %d bytes", errMemory, len(b))
	}
	if string(b[:len(memoryVersion)]) != memoryVersion {
		return nil, errors.New("what was learned of thresholds is of another version")
	}
	body, sum := b[:len(b)-4], binary.BigEndian.Uint32(b[len(b)-4:])
	if crc32.Checksum(body, castagnoli) != sum {
		return nil, fmt.Errorf("%w: its checksum is wrong", errMemory)
	}
	n := binary.BigEndian.Uint32(body[memoryHead-4:])
	body = body[memoryHead:]
	if n > maxTargets || uint64(n)*uint64(memoryTarget) > uint64(len(body)) {
		return nil, fmt.Errorf("%w: %d targets", errMemory, n)
	}
	all := make(map[key]*remembered, n)
	for range n {
		k, r, rest := readRemembered(body)
		if r == nil {
			return nil, fmt.Errorf("%w: a target is cut short", errMemory)
		}
		body = rest
		// A clock that was wrong in the future would keep it for ever.
		if r.seen.After(now) {
			r.seen = now
		}
		if now.Sub(r.seen) < forgotten {
			all[k] = r
		}
	}
	if len(body) > 0 {
		return nil, fmt.Errorf("%w: %d bytes too many", errMemory, len(body))
	}
	return all, nil
}

// readRemembered reads one target; nil = it is not whole.
func readRemembered(b []byte) (k key, r *remembered, rest []byte) {
	var names [3]string
	for i := range names {
		if len(b) < 1 || len(b) < 1+int(b[0]) {
			return k, nil, nil
		}
		names[i], b = string(b[1:1+int(b[0])]), b[1+int(b[0]):]
	}
	if len(b) < memoryTarget-3 {
		return k, nil, nil
	}
	seen := binary.BigEndian.Uint64(b)
	flags, hours, watched, mask := b[8], int(b[9]), binary.BigEndian.Uint16(b[10:]), binary.BigEndian.Uint16(b[12:])
	b = b[14:]
	if flags > 1 || hours > kept || watched >= 3600 || seen > math.MaxInt64/2 {
		return k, nil, nil
	}
	k = key{resource.Ref{Kind: protectedKind, Tenant: names[0], Name: names[1]}, names[2], flags == 1}
	r = &remembered{usual{watched: time.Duration(watched) * time.Second, hours: hours, next: hours % kept}, time.Unix(int64(seen), 0)}
	for v := range r.of {
		if mask>>v&1 == 0 {
			continue
		}
		if len(b) < 8+2*hours {
			return k, nil, nil
		}
		x := &r.of[v]
		for i, rate := range []*float64{&x.p95, &x.most, &x.odd, &x.sane} {
			*rate = unpack(binary.BigEndian.Uint16(b[2*i:]))
		}
		b = b[8:]
		x.ring = new([kept]uint16)
		for i := range hours {
			x.ring[i] = binary.BigEndian.Uint16(b[2*i:])
		}
		b = b[2*hours:]
	}
	return k, r, b
}
