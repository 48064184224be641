package scrub

import "math/bits"

// keyed is SipHash-1-3 of three words, as in bpf/judge.h.
func keyed(key [2]uint64, a, b, c uint64) uint64 {
	v0, v1 := key[0]^0x736f6d6570736575, key[1]^0x646f72616e646f6d
	v2, v3 := key[0]^0x6c7967656e657261, key[1]^0x7465646279746573
	round := func() {
		v0 += v1
		v1 = bits.RotateLeft64(v1, 13) ^ v0
		v0 = bits.RotateLeft64(v0, 32)
		v2 += v3
		v3 = bits.RotateLeft64(v3, 16) ^ v2
		v0 += v3
		v3 = bits.RotateLeft64(v3, 21) ^ v0
		v2 += v1
		v1 = bits.RotateLeft64(v1, 17) ^ v2
		v2 = bits.RotateLeft64(v2, 32)
	}
	for _, w := range [4]uint64{a, b, c, 24 << 56} {
		v3 ^= w
		round()
		v0 ^= w
	}
	v2 ^= 0xff
	round()
	round()
	round()
	return v0 ^ v1 ^ v2 ^ v3
}

// mixed is the bloom filter's hash, as in bpf/judge.h.
func mixed(key [2]uint64, a, b uint64) uint64 {
	h := (a ^ key[0]) * 0x9e3779b97f4a7c15
	h = (h ^ h>>32 ^ b ^ key[1]) * 0xd6e8feb86659fd93
	return h ^ h>>29
}
