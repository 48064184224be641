/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Sends copies of one frame, with fields of it random, out of the interface
 * that it is run on (BPF_PROG_TEST_RUN with live frames). */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#define FRAME 1536
#define FIELDS 8

struct field {
	__u16 offset; /* even */
	__u8 words;   /* 1 or 2, of 16 bits */
	__u8 sums;    /* 1: the IP header's checksum covers it, 2: the transport's */
	__u32 mask;   /* network order; what is random */
};

struct plan {
	__u32 length, fields;
	__u32 ip_sum, l4_sum; /* offsets of the checksums; 0 = none */
	struct field field[FIELDS];
	__u8 frame[FRAME];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct plan);
} plans SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} sent SEC(".maps");

static __always_inline __u16 *word(struct xdp_md *ctx, __u32 offset)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u64 at = offset & 0x7fe;
	asm volatile("" : "+r"(at));
	__u16 *p = data + at;
	if ((void *)(p + 2) > end)
		return 0;
	return p;
}

/* fix moves a checksum by what changed (RFC 1624). */
static __always_inline void fix(struct xdp_md *ctx, __u32 at, __u32 delta)
{
	if (!at)
		return;
	__u16 *p = word(ctx, at);
	if (!p)
		return;
	__u32 s = (__u16)~*p + delta;
	s = (s & 0xffff) + (s >> 16);
	s = (s & 0xffff) + (s >> 16);
	*p = ~s;
}

SEC("xdp")
int flood(struct xdp_md *ctx)
{
	__u32 zero = 0;
	struct plan *p = bpf_map_lookup_elem(&plans, &zero);
	__u64 *n = bpf_map_lookup_elem(&sent, &zero);
	if (!p || !n)
		return XDP_DROP;
	/* The page was somebody else's frame a moment ago. */
	__u64 length = p->length;
	length &= 0x7ff;
	if (length < 14 || length > FRAME)
		return XDP_DROP;
	if (bpf_xdp_store_bytes(ctx, 0, p->frame, length))
		return XDP_DROP;
	__u32 ip = 0, l4 = 0;
	for (int i = 0; i < FIELDS; i++) {
		if (i >= p->fields)
			break;
		struct field f = p->field[i];
		__u32 r = bpf_get_prandom_u32() & f.mask;
		__u16 *w = word(ctx, f.offset);
		if (!w)
			return XDP_DROP;
		__u32 delta = 0;
		__u16 old = w[0], now = (old & ~(__u16)f.mask) | (__u16)r;
		w[0] = now;
		delta += (__u16)~old + now;
		if (f.words == 2) {
			old = w[1];
			now = (old & ~(__u16)(f.mask >> 16)) | (__u16)(r >> 16);
			w[1] = now;
			delta += (__u16)~old + now;
		}
		if (f.sums & 1)
			ip += delta;
		if (f.sums & 2)
			l4 += delta;
	}
	ip = (ip & 0xffff) + (ip >> 16);
	l4 = (l4 & 0xffff) + (l4 >> 16);
	fix(ctx, p->ip_sum, ip);
	fix(ctx, p->l4_sum, l4);
	*n += 1;
	return XDP_TX;
}

/* Frames that come back over a veth are taken only where a program is. */
SEC("xdp")
int pass(struct xdp_md *ctx)
{
	return XDP_PASS;
}

SEC("xdp")
int drop(struct xdp_md *ctx)
{
	return XDP_DROP;
}

char _license[] SEC("license") = "Dual BSD/GPL";
