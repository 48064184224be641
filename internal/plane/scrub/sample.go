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
		of := c.slotRefs()
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
			if s, ok := decodeSample(rec.RawSample, of); ok && c.opt.Samples != nil {
				c.opt.Samples(s)
			}
		}
	}
}

func (c *Centre) slotRefs() map[uint32]resource.Ref {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make(map[uint32]resource.Ref, len(c.slots))
	for ref, s := range c.slots {
		out[s] = ref
	}
	return out
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
		At: time.Duration(binary.NativeEndian.Uint64(b)), Of: ref, Vector: Vector(b[16]), Dropped: reason.Drop(), Proven: reason == Proven || reason == CookieGood || reason == Allowed,
		Length: int(binary.NativeEndian.Uint16(b[12:])), Network: int(b[18]), Data: append([]byte{}, b[sampleHead:sampleHead+kept]...),
	}, true
}
