package scrub

import (
	"context"
	"encoding/binary"
	"errors"
	"time"

	"github.com/cilium/ebpf/ringbuf"

	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/traffic"
)

// sampleHead is what stands before a sampled packet's bytes (bpf/types.h,
// struct sample).
const sampleHead = 24

const sampleEvery = 50 * time.Millisecond

// sampling reads the filter's samples and hands them on. Where nobody reads,
// the filter counts what it could not keep.
func (c *Centre) sampling(ctx context.Context) {
	r, err := ringbuf.NewReader(c.opt.Table.maps[filterMapSamples])
	if err != nil {
		c.opt.Log.Error("there are no samples of packets", "err", err)
		return
	}
	defer r.Close()
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	var rec ringbuf.Record
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		of, networks := c.slotRefs()
		if err := r.Flush(); err != nil {
			return
		}
		for {
			err := r.ReadInto(&rec)
			if errors.Is(err, ringbuf.ErrFlushed) {
				break
			}
			if err != nil {
				c.opt.Log.Error("samples of packets cannot be read", "err", err)
				return
			}
			s, ok := decodeSample(rec.RawSample, of)
			if !ok {
				continue
			}
			if dst, ok := destination(&s); ok && networks[s.Of] && !s.Proven && !s.Out {
				c.candidates.note(s.Of, dst, s.At)
			}
			if c.opt.Samples != nil {
				c.opt.Samples(s)
			}
		}
	}
}

// slotRefs are the records by their slots, and those that are whole networks.
func (c *Centre) slotRefs() (of map[uint32]resource.Ref, networks map[resource.Ref]bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	of, networks = make(map[uint32]resource.Ref, len(c.slots)), map[resource.Ref]bool{}
	for ref, s := range c.slots {
		of[s] = ref
	}
	for i, ref := range c.plan.of {
		if !c.plan.policies[i].Prefixes[0].IsSingleIP() {
			networks[ref] = true
		}
	}
	return of, networks
}

func decodeSample(b []byte, of map[uint32]resource.Ref) (traffic.Sample, bool) {
	if len(b) < sampleHead {
		return traffic.Sample{}, false
	}
	kept := int(binary.NativeEndian.Uint16(b[14:]))
	ref, ok := of[binary.NativeEndian.Uint32(b[8:])]
	if !ok || kept == 0 || sampleHead+kept > len(b) {
		return traffic.Sample{}, false
	}
	reason := Reason(b[17])
	return traffic.Sample{
		At: time.Duration(binary.NativeEndian.Uint64(b)), Of: ref, Out: b[19] != 0, Vector: Vector(b[16]), Dropped: reason.Drop(), Proven: reason == Proven || reason == CookieGood || reason == Allowed,
		Length: int(binary.NativeEndian.Uint16(b[12:])), Network: int(b[18]), Data: append([]byte{}, b[sampleHead:sampleHead+kept]...),
	}, true
}
