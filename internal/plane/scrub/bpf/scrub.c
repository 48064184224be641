/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The scrubbing centre's data plane (controls 8.1-1 to 8.1-23). scrub_in judges
 * what comes to protected addresses; scrub_mark hands the kernel's SYN proxy
 * those handshakes that answered a cookie; scrub_out learns which flows our own
 * hosts keep up, and cuts floods that go out.
 *
 * No source costs memory before its address is proven: it answered a cookie, or
 * our host spoke with it in an established connection.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
#include "types.h"
#include "maps.h"
#include "parse.h"
#include "judge.h"
#include "answer.h"

#define TCX_NEXT -1
#define TCX_DROP 2

#define MARK_COOKIE 0x64756e01 /* "dun", 1: this ACK answered a cookie */
#define MARK_ANSWER 0x64756e03 /* it is our answer: back where it came from */
#define MARK_PROVEN 0x64756e02 /* it belongs to a flow where cookies are asked for */

/* look_up walks the tree of prefixes, byte by byte, from a root: a load a byte,
 * however many prefixes there are. What it finds is as in a node. */
static __always_inline __u32 look_up(__u64 key, __u32 *node, int bytes)
{
	for (int i = 0; i < bytes; i++) {
		struct node *n = bpf_map_lookup_elem(&nodes, node);
		if (!n)
			return 0;
		__u32 e = n->child[key >> 56];
		if (!(e & DEEPER))
			return e;
		*node = e & ~DEEPER;
		key <<= 8;
	}
	return DEEPER;
}

__noinline __u32 look_up6(__u64 high, __u64 low, __u32 node)
{
	__u32 e = look_up(high, &node, 8);
	return e == DEEPER ? look_up(low, &node, 8) : e;
}

static __always_inline __u32 slot_of(const struct settings *s, const __u64 *addr, int v6)
{
	__u32 root = (s->bank & 1) * NODES + (v6 ? 1 : 0);
	__u32 e = v6 ? look_up6(bpf_be64_to_cpu(addr[0]), bpf_be64_to_cpu(addr[1]), root)
		     : look_up((__u64)bpf_ntohl(addr[1] >> 32) << 32, &root, 4);
	if (e != ASK_TRIE)
		return e & ~DEEPER;
	__u32 *found;
	if (v6) {
		struct prefix6 k = {.bits = 128};
		__builtin_memcpy(k.addr, addr, 16);
		found = s->bank & 1 ? bpf_map_lookup_elem(&prefixes6b, &k) : bpf_map_lookup_elem(&prefixes6a, &k);
	} else {
		struct prefix4 k = {.bits = 32, .addr = addr[1] >> 32};
		found = s->bank & 1 ? bpf_map_lookup_elem(&prefixes4b, &k) : bpf_map_lookup_elem(&prefixes4a, &k);
	}
	return found ? *found + 1 : 0;
}

static __always_inline struct policy *policy_of(const struct settings *s, const __u64 *addr, int v6, __u32 *slot, __u32 *base)
{
	__u32 found = slot_of(s, addr, v6);
	if (!found)
		return 0;
	*slot = found - 1;
	*base = s->bank & 1 ? s->slots : 0;
	__u32 i = *base + *slot;
	return bpf_map_lookup_elem(&policies, &i);
}

static __always_inline void sketch_add(const struct settings *s, struct packet *p)
{
	__u32 cpu = bpf_get_smp_processor_id();
	struct cells *c = bpf_map_lookup_elem(&sketch, &cpu);
	if (!c)
		return;
	__u64 h = by_target(s, p);
#pragma unroll
	for (int i = 0; i < ROWS; i++) {
		c->row[i][h & (CELLS - 1)]++;
		h >>= 13;
	}
}

/* begin_sample makes room for one packet in so many. */
static __always_inline struct sample *begin_sample(const struct settings *s, struct totals *t, __u32 *countdown, struct packet *p, __u32 slot)
{
	if (!s->sample)
		return 0;
	if (*countdown > 1) {
		--*countdown;
		return 0;
	}
	*countdown = s->sample > 1 ? bpf_get_prandom_u32() % (2 * s->sample) + 1 : 1;
	struct sample *e = bpf_ringbuf_reserve(&samples, sizeof(*e), 0);
	if (!e) {
		t->unsampled++;
		return 0;
	}
	e->at = bpf_ktime_get_ns();
	e->slot = slot;
	e->length = p->length;
	e->kept = 0;
	e->vector = p->vector;
	e->offset = p->l3;
	t->sampled++;
	return e;
}

/* take_sample copies one packet in so many as it came, before an answer is
 * written over it; what becomes of it is filled in later. */
static __always_inline struct sample *take_sample(struct xdp_md *ctx, const struct settings *s, struct totals *t, struct packet *p, __u32 slot)
{
	struct sample *e = begin_sample(s, t, &t->countdown, p, slot);
	if (!e)
		return 0;
	__u32 keep = p->length;
	e->out = 0;
	e->interface = ctx->ingress_ifindex;
	if (keep > SNAP)
		keep = SNAP;
	asm volatile("" : "+r"(keep));
	if (keep >= 1 && keep <= SNAP && bpf_xdp_load_bytes(ctx, 0, e->data, keep) == 0)
		e->kept = keep;
	return e;
}

/* sample_out copies one packet in so many that a host of ours sends and that
 * belongs to no established connection. */
static __always_inline void sample_out(struct __sk_buff *skb, const struct settings *s, struct packet *p, __u32 slot, __u8 reason)
{
	__u32 zero = 0, keep = p->length;
	struct totals *t = bpf_map_lookup_elem(&total, &zero);
	struct sample *e = t ? begin_sample(s, t, &t->countdown_out, p, slot) : 0;
	if (!e)
		return;
	e->out = 1;
	e->reason = reason;
	e->interface = skb->ifindex;
	if (keep > SNAP)
		keep = SNAP;
	asm volatile("" : "+r"(keep));
	if (keep >= 1 && keep <= SNAP && bpf_skb_load_bytes(skb, 0, e->data, keep) == 0)
		e->kept = keep;
	bpf_ringbuf_submit(e, BPF_RB_NO_WAKEUP);
}

static __always_inline int rated(const struct settings *s, struct packet *p, const struct policy *pol, __u32 slot, __u64 now)
{
	__u8 v = p->vector & (VECTORS - 1);
	__u64 each = pol->interval_dst[v], whole = pol->interval[v];
	now <<= 4;
	if (each && pol->flags & P_HOST) {
		whole = whole > each ? whole : each; /* one address: its bucket is the policy's */
	} else if (each) {
		__u32 i = by_target(s, p) >> 48 & (DST_BUCKETS - 1);
		__u64 *b = bpf_map_lookup_elem(&bucketsdst, &i);
		if (b && over(b, each, now))
			return R_RATE_DST;
	}
	if (whole) {
		__u32 i = slot * VECTORS + v;
		__u64 *b = bpf_map_lookup_elem(&buckets, &i);
		if (b && over(b, whole, now))
			return R_RATE;
	}
	return R_PASSED;
}

/* judge_tcp is about segments without a proof, where SYNs are challenged. */
static __always_inline int judge_state(struct xdp_md *ctx, const struct settings *s, struct packet *p, const struct policy *pol, __u32 slot, __u64 now)
{
	struct flow f = {};
	if (p->vector == V_SYNACK)
		return was_asked(p, &f, now) ? R_PROVEN : 0;
	flow_of(p, &f);
	int v_ack = p->vector == V_ACK && p->tcp_flags & TCP_ACK;
	if (v_ack && !(p->tcp_flags & TCP_FIN) && cookie_good(ctx, p)) {
		__u64 at = now & ~REOPENS;
		bpf_map_update_elem(&proven, &f, &at, BPF_ANY);
		struct denied k = {};
		__builtin_memcpy(k.addr, p->src, 16);
		bpf_map_update_elem(&known, &k, &now, BPF_ANY);
		return R_COOKIE_GOOD;
	}
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct tcphdr *tcp = (void *)at(data, end, p->l4, sizeof(*tcp));
	if (tcp && v_ack && was_offered(s, p, bpf_ntohl(tcp->ack_seq), now))
		return R_LEARNING;
	if (now < pol->strict_after && rated(s, p, pol, slot, now) == R_PASSED)
		return R_LEARNING;
	return 0;
}

/* judge_icmp is about ICMP where it is challenged: the filter answers pings
 * itself, at the rate that is usual; what answers our own, and news of flows that
 * are known, passes. */
static __always_inline int judge_icmp(struct xdp_md *ctx, const struct settings *s, struct packet *p, const struct policy *pol, __u32 slot, __u64 now)
{
	if (p->kind == (p->v6 ? 128 : 8)) {
		int r = rated(s, p, pol, slot, now);
		return r != R_PASSED ? r : send_echo(ctx, p) ? R_ECHOED : R_UNANSWERED;
	}
	if (p->kind == (p->v6 ? 129 : 0)) {
		struct flow f = {};
		return was_asked(p, &f, now) ? R_PROVEN : R_STATE;
	}
	return quotes_known(ctx, p) ? R_PROVEN : R_STATE;
}

/* judge says what becomes of a packet that was read. ctx->data may move only
 * where an answer is sent. */
static __always_inline int judge(struct xdp_md *ctx, const struct settings *s, struct packet *p, const struct policy *pol, __u32 slot, __u32 base)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u64 now = bpf_ktime_get_coarse_ns();

	if (s->flags & S_ALLOW) {
		struct allowed k = {.bits = 160, .scope = pol->scope};
		__builtin_memcpy(k.addr, p->src, 16);
		if (bpf_map_lookup_elem(&allow, &k))
			return R_ALLOWED;
	}
	if (p->bad)
		return p->bad;
	if (p->src[0] == p->dst[0] && p->src[1] == p->dst[1])
		return R_LAND;
	if (p->vector != V_CONTROL && (martian(p) || (pol->flags & P_BOGONS && reserved(p))))
		return R_BOGON;
	if (denied_by(s, p, pol->scope, now) || (pol->scope && denied_by(s, p, 0, now)))
		return R_DENIED;

	__u8 v = p->vector & (VECTORS - 1);
	__u8 action = pol->action[v];
	if (p->proto == IPPROTO_TCP && !p->fragment && (v != V_SYN || action == A_CHALLENGE)) {
		struct flow f = {};
		flow_of(p, &f);
		__u64 *last = bpf_map_lookup_elem(&proven, &f);
		if (last && v == V_SYN) {
			*last |= REOPENS; /* the port is used again, or somebody says so */
		} else if (last) {
			if (*last & REOPENS && action == A_CHALLENGE && cookie_good(ctx, p)) {
				*last = now & ~REOPENS;
				return R_COOKIE_GOOD;
			}
			if (now - *last > FRESH)
				*last = (now & ~REOPENS) | (*last & REOPENS);
			return R_PROVEN;
		}
	}
	if (p->proto == IPPROTO_UDP && !p->fragment) {
		struct flow f = {};
		if (was_asked(p, &f, now))
			return R_PROVEN;
	}
	if (pol->rules && by_rule(ctx, p, pol->rules, slot, base))
		return R_RULE;
	if (pol->flags & P_SERVICES && !p->fragment && (v == V_SYN || v == V_UDP || v == V_DNS || v == V_AMP)) {
		int form = form_of(pol, p->proto, bpf_ntohs(p->dport));
		if (form < 0 || (form == FORM_QUIC && !quic(data, end, p)))
			return R_SERVICE;
	}
	switch (action) {
	case A_DROP:
		return R_POLICY;
	case A_RATE:
		return rated(s, p, pol, slot, now);
	case A_CHALLENGE:
		if (pol->flags & P_MONITOR)
			return R_STATE;
		if (v == V_SYN)
			return s->flags & S_PROXY ? (send_cookie(ctx, p) ? R_COOKIE_SENT : R_UNANSWERED) : rated(s, p, pol, slot, now);
		if (v == V_ACK || v == V_RST || v == V_SYNACK) {
			int r = judge_state(ctx, s, p, pol, slot, now);
			return r ? r : R_STATE;
		}
		if (v == V_DNS) {
			if (!p->dns)
				return R_MALFORMED;
			if (is_known(p, now))
				return rated(s, p, pol, slot, now);
			return send_truncated(ctx, p) ? R_TRUNCATED : R_UNANSWERED;
		}
		if (v == V_ICMP)
			return judge_icmp(ctx, s, p, pol, slot, now);
		return rated(s, p, pol, slot, now);
	}
	return R_PASSED;
}

/* mark leaves a word before the packet that scrub_mark finds. */
static __always_inline int mark(struct xdp_md *ctx, __u32 word)
{
	if (bpf_xdp_adjust_meta(ctx, -4))
		return 0;
	__u32 *m = (void *)(long)ctx->data_meta;
	if ((void *)(m + 1) > (void *)(long)ctx->data)
		return 0;
	*m = word;
	return 1;
}

SEC("xdp")
int scrub_in(struct xdp_md *ctx)
{
	__u32 zero = 0;
	struct settings *s = bpf_map_lookup_elem(&config, &zero);
	struct totals *t = bpf_map_lookup_elem(&total, &zero);
	if (!s || !t || s->layout != LAYOUT)
		return XDP_PASS; /* nothing is protected before the daemon said so */
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct packet p = {.length = end - data};
	__u32 slot = 0, base = 0;

	t->seen++;
	if (!read_network(data, end, &p)) {
		t->untouched++;
		return XDP_PASS;
	}
	struct policy *pol;
	if (t->generation == s->generation && t->dst[0] == p.dst[0] && t->dst[1] == p.dst[1]) {
		slot = t->slot;
		base = s->bank & 1 ? s->slots : 0;
		__u32 i = base + slot;
		pol = bpf_map_lookup_elem(&policies, &i);
	} else {
		pol = policy_of(s, p.dst, p.v6, &slot, &base);
		if (pol) {
			t->dst[0] = p.dst[0];
			t->dst[1] = p.dst[1];
			t->slot = slot;
			t->generation = s->generation;
		}
	}
	if (!pol) {
		t->untouched++;
		return XDP_PASS;
	}
	__u32 length = p.length;
	read_transport(data, end, &p);
	struct sample *e = take_sample(ctx, s, t, &p, slot);
	__u8 reason = judge(ctx, s, &p, pol, slot, base);
	if (e) {
		e->reason = reason;
		bpf_ringbuf_submit(e, BPF_RB_NO_WAKEUP);
	}

	__u8 v = p.vector & (VECTORS - 1);
	int suspect = reason != R_PROVEN && reason != R_ALLOWED && reason != R_COOKIE_GOOD; /* by itself nothing explains it */
	if (suspect && !(pol->flags & P_HOST))
		sketch_add(s, &p);
	struct counts *c = bpf_map_lookup_elem(&counters, &slot);
	if (c) {
		c->packets[v]++;
		c->bytes[v] += length;
		c->reason[reason & (REASONS - 1)]++;
		if ((reason < R_DROP && !(ANSWERED >> reason & 1)) || pol->flags & P_MONITOR)
			c->passed[v]++;
		c->suspect[v] += suspect;
	}
	switch (reason) {
	case R_COOKIE_SENT:
	case R_TRUNCATED:
	case R_ECHOED: {
		__u32 i = ctx->ingress_ifindex & (ANSWERS - 1);
		__u32 *far = bpf_map_lookup_elem(&longway, &i);
		if (!far || !*far)
			return XDP_TX;
		return mark(ctx, MARK_ANSWER) ? XDP_PASS : XDP_DROP;
	}
	case R_COOKIE_GOOD:
		return mark(ctx, MARK_COOKIE) ? XDP_PASS : XDP_DROP;
	case R_PROVEN:
		if (p.proto == IPPROTO_TCP && pol->action[V_SYN] == A_CHALLENGE)
			mark(ctx, MARK_PROVEN);
		return XDP_PASS;
	}
	return reason < R_DROP || pol->flags & P_MONITOR ? XDP_PASS : XDP_DROP;
}

SEC("tcx/ingress")
int scrub_mark(struct __sk_buff *skb)
{
	__u32 *m = (void *)(long)skb->data_meta;
	if ((void *)(m + 1) > (void *)(long)skb->data)
		return TCX_NEXT;
	if (*m == MARK_ANSWER) {
		skb->mark = MARK_ANSWER;
		return bpf_redirect(skb->ifindex, 0);
	}
	if (*m == MARK_COOKIE || *m == MARK_PROVEN)
		skb->mark = *m;
	return TCX_NEXT;
}

/* learn keeps what our host says about a flow: a segment of an established
 * connection proves the other end, a question makes its answer welcome, an offer
 * lets a handshake be finished. It says whether a connection came to be. */
static __always_inline int learn(void *data, void *end, const struct settings *s, struct packet *p, const struct policy *pol, __u64 now)
{
	struct flow f = {};
	flow_back(p, &f);
	if (p->proto == IPPROTO_UDP) {
		__u16 port = bpf_ntohs(p->sport);
		if (port < 1024 || form_of(pol, IPPROTO_UDP, port) >= 0)
			return 0; /* an answer of a service proves nothing */
		ask(p, &f, now);
		return 0;
	}
	if (p->proto == (p->v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP) && p->kind == (p->v6 ? 128 : 8))
		ask(p, &f, now);
	if (p->proto != IPPROTO_TCP)
		return 0;
	if (p->tcp_flags & TCP_RST) {
		bpf_map_delete_elem(&proven, &f);
		return 0;
	}
	if ((p->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN) {
		ask(p, &f, now);
		return 0;
	}
	if (p->vector == V_SYNACK) {
		struct tcphdr *tcp = (void *)at(data, end, p->l4, sizeof(*tcp));
		if (tcp)
			offer(s, p, bpf_ntohl(tcp->seq), now);
		return 0;
	}
	if ((p->tcp_flags & (TCP_SYN | TCP_ACK)) != TCP_ACK || touch(&proven, &f, now & ~REOPENS, 0))
		return 0;
	now &= ~REOPENS;
	bpf_map_update_elem(&proven, &f, &now, BPF_ANY);
	struct denied k = {};
	__builtin_memcpy(k.addr, p->dst, 16);
	if (!touch(&known, &k, now, 0))
		bpf_map_update_elem(&known, &k, &now, BPF_ANY);
	return 1;
}

/* neighbourly sources never leave a link: they are nobody's to own. */
static __always_inline int neighbourly(struct packet *p)
{
	__u8 *b = (__u8 *)p->src;
	if (p->v6)
		return (b[0] == 0xfe && (b[1] & 0xc0) == 0x80) || (!p->src[0] && !p->src[1]);
	return (p->src[1] >> 32) == 0;
}

SEC("tcx/egress")
int scrub_out(struct __sk_buff *skb)
{
	__u32 zero = 0;
	struct settings *s = bpf_map_lookup_elem(&config, &zero);
	if (!s || s->layout != LAYOUT)
		return TCX_NEXT;
	if (skb->mark == MARK_ANSWER) /* no host said it */
		return TCX_NEXT;
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct packet p = {.length = skb->len};
	__u32 slot = 0, base = 0;
	if (!read_network(data, end, &p))
		return TCX_NEXT;
	struct policy *pol = policy_of(s, p.src, p.v6, &slot, &base);
	if (!pol)
		return s->flags & S_OWN && !neighbourly(&p) ? TCX_DROP : TCX_NEXT; /* BCP 38 */
	p.bad = 0; /* lengths of what is cut into packets later are not those of one */
	read_transport(data, end, &p);
	__u64 now = bpf_ktime_get_coarse_ns();
	__u8 v = p.vector & (VECTORS - 1);
	__u8 reason = R_PASSED;
	__u32 segments = skb->gso_segs > 1 ? skb->gso_segs : 1;
	int proven_now = p.fragment ? 0 : learn(data, end, s, &p, pol, now);
	/* What belongs to an established connection is no flood of ours. */
	int connected = p.proto == IPPROTO_TCP && v == V_ACK;
	if (pol->interval_out[v] && !connected) {
		__u32 i = slot * VECTORS + v;
		__u64 *b = bpf_map_lookup_elem(&bucketsout, &i);
		if (b && over(b, pol->interval_out[v] * segments, bpf_ktime_get_ns() << 4))
			reason = R_OUTBOUND;
	}
	if (!connected)
		sample_out(skb, s, &p, slot, reason);
	struct counts *c = bpf_map_lookup_elem(&countersout, &slot);
	if (c) {
		c->packets[v] += segments;
		c->bytes[v] += skb->len;
		c->reason[reason & (REASONS - 1)] += segments;
		if (proven_now)
			c->reason[R_PROVEN]++;
		if (reason < R_DROP)
			c->passed[v] += segments;
	}
	return reason < R_DROP || pol->flags & P_MONITOR ? TCX_NEXT : TCX_DROP;
}

char _license[] SEC("license") = "Dual BSD/GPL";
