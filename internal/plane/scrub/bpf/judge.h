/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What decides: deny list, rates, rules, proofs. */
#pragma once

static __always_inline __u64 rotate(__u64 x, int b) { return x << b | x >> (64 - b); }

#define ROUND                                                              \
	v0 += v1; v1 = rotate(v1, 13); v1 ^= v0; v0 = rotate(v0, 32);      \
	v2 += v3; v3 = rotate(v3, 16); v3 ^= v2;                           \
	v0 += v3; v3 = rotate(v3, 21); v3 ^= v0;                           \
	v2 += v1; v1 = rotate(v1, 17); v1 ^= v2; v2 = rotate(v2, 32);

/* keyed is SipHash-1-3 of three words: whoever does not know the key, which is
 * random at load, cannot choose what collides. */
static __always_inline __u64 keyed(const struct settings *s, __u64 a, __u64 b, __u64 c)
{
	__u64 v0 = s->key[0] ^ 0x736f6d6570736575ULL, v1 = s->key[1] ^ 0x646f72616e646f6dULL;
	__u64 v2 = s->key[0] ^ 0x6c7967656e657261ULL, v3 = s->key[1] ^ 0x7465646279746573ULL;

	v3 ^= a; ROUND v0 ^= a;
	v3 ^= b; ROUND v0 ^= b;
	v3 ^= c; ROUND v0 ^= c;
	v3 ^= 24ULL << 56; ROUND v0 ^= 24ULL << 56;
	v2 ^= 0xff; ROUND ROUND ROUND
	return v0 ^ v1 ^ v2 ^ v3;
}

/* by_target is of a packet's destination and vector, taken once. */
static __always_inline __u64 by_target(const struct settings *s, struct packet *p)
{
	if (!p->hash)
		p->hash = keyed(s, p->dst[0], p->dst[1], p->vector);
	return p->hash;
}

/* mixed is for the bloom filter, where what collides costs a lookup and decides
 * nothing: two multiplications under the key, a third of SipHash's time. */
static __always_inline __u64 mixed(const struct settings *s, __u64 a, __u64 b)
{
	__u64 h = (a ^ s->key[0]) * 0x9e3779b97f4a7c15ULL;
	h = (h ^ h >> 32 ^ b ^ s->key[1]) * 0xd6e8feb86659fd93ULL;
	return h ^ h >> 29;
}

/* over takes one packet from a bucket: 1 = there was none. It is the generic
 * cell rate algorithm; interval and now are in 1/16 ns. What is over writes
 * nothing. */
static __always_inline int over(__u64 *bucket, __u64 interval, __u64 now)
{
	/* a tenth of a second, or eight packets */
	__u64 tolerance = interval * 8 > 1600000000ULL ? interval * 8 : 1600000000ULL;
#pragma unroll
	for (int i = 0; i < 4; i++) {
		__u64 old = *(volatile __u64 *)bucket;
		__u64 due = old > now ? old : now;
		if (due - now > tolerance) {
			if (due - now < (tolerance << 4))
				return 1;
			due = now; /* of a clock or an interval that is no more */
		}
		if (__sync_val_compare_and_swap(bucket, old, due + interval) == old)
			return 0;
	}
	return 0; /* four others were quicker: the bucket has moved by theirs */
}

static __always_inline int bloom_has(const struct settings *s, __u64 h)
{
	__u32 i = (h & (BLOCKS - 1)) + (s->bloom & 1) * BLOCKS;
	struct bloom_block *b = bpf_map_lookup_elem(&bloom, &i);
	if (!b)
		return 0;
	/* four bits, each of a word of its own or not, as the hash wants; no branch
	 * between them, since nothing foretells it */
	__u64 all = b->word[h >> 12 & 7] >> (h >> 15 & 63);
	all &= b->word[h >> 21 & 7] >> (h >> 24 & 63);
	all &= b->word[h >> 30 & 7] >> (h >> 33 & 63);
	all &= b->word[h >> 39 & 7] >> (h >> 42 & 63);
	return all & 1;
}

static __always_inline int deny_has(struct denied *k, __u64 now)
{
	struct verdict *v = bpf_map_lookup_elem(&deny, k);
	if (!v || v->until <= now)
		return 0;
	__sync_fetch_and_add(&v->used, 1);
	return 1;
}

/* denied_by looks for a verdict of the scope about the source: an address, or
 * the /64 of an IPv6 one. */
static __always_inline int denied_by(const struct settings *s, struct packet *p, __u32 scope, __u64 now)
{
	__u64 half = p->v6 ? p->src[0] : p->src[1];
	if (!bloom_has(s, mixed(s, half, (__u64)scope << 1 | p->v6)))
		return 0;
	struct denied k = {.scope = scope};
	__builtin_memcpy(k.addr, p->src, 16);
	if (deny_has(&k, now))
		return 1;
	if (!p->v6)
		return 0;
	k.addr[2] = k.addr[3] = 0;
	return deny_has(&k, now);
}

static __always_inline void flow_of(struct packet *p, struct flow *f)
{
	f->src[0] = p->src[0];
	f->src[1] = p->src[1];
	f->dst[0] = p->dst[0];
	f->dst[1] = p->dst[1];
	f->sport = p->sport;
	f->dport = p->dport;
	f->proto = p->proto;
}

static __always_inline void flow_back(struct packet *p, struct flow *f)
{
	f->src[0] = p->dst[0];
	f->src[1] = p->dst[1];
	f->dst[0] = p->src[0];
	f->dst[1] = p->src[1];
	f->sport = p->dport;
	f->dport = p->sport;
	f->proto = p->proto;
}

/* REOPENS in the time of a proven flow: a SYN of it was answered by a cookie, so
 * that the ACK to that must go to the SYN proxy and not to a connection that is
 * no more. */
#define REOPENS 1ULL

/* Entries are refreshed once a second, not with every packet. */
#define FRESH 1000000000ULL

static __always_inline int touch(void *map, void *key, __u64 now, __u64 life)
{
	__u64 *last = bpf_map_lookup_elem(map, key);
	if (!last || (life && now - *last > life))
		return 0;
	if (now - *last > FRESH)
		*last = now;
	return 1;
}

/* A question is answered within a minute. */
#define ANSWER_WITHIN (60 * FRESH)

/* asked_slot stands before the table of questions: most of what a flood sends
 * goes to ports that nobody asked from, and is told by one byte. That byte comes
 * round after 73 minutes: then it costs a look into the table, which decides. */
static __always_inline __u32 asked_slot(__u64 host, __u16 port) { return (port ^ (host >> 32) ^ (host >> 48)) & (ASKED - 1); }
static __always_inline __u8 asked_when(__u64 now) { return now >> 34; }

static __always_inline int was_asked(struct packet *p, struct flow *f, __u64 now)
{
	__u32 zero = 0;
	struct asked_ports *a = bpf_map_lookup_elem(&askedports, &zero);
	if (!a || (__u8)(asked_when(now) - a->at[asked_slot(p->dst[1], p->dport)]) > asked_when(ANSWER_WITHIN) + 1)
		return 0;
	flow_of(p, f);
	return touch(&asked, f, now, ANSWER_WITHIN);
}

static __always_inline void ask(struct packet *p, struct flow *f, __u64 now)
{
	__u32 zero = 0, i = asked_slot(p->src[1], p->sport);
	struct asked_ports *a = bpf_map_lookup_elem(&askedports, &zero);
	if (a && a->at[i] != asked_when(now))
		a->at[i] = asked_when(now);
	if (!touch(&asked, f, now, ANSWER_WITHIN))
		bpf_map_update_elem(&asked, f, &now, BPF_ANY);
}

static __always_inline int is_known(struct packet *p, __u64 now)
{
	struct denied k = {};
	__builtin_memcpy(k.addr, p->src, 16);
	return touch(&known, &k, now, 3600 * FRESH);
}

/* offer_of is what our host's answer to a SYN comes to: of the other end, the
 * ports and our sequence number, which nobody else knows. It stands in a table
 * of fixed size, in which the newest takes the place of an older one: when SYNs
 * begin to be challenged, handshakes that are under way are told by it. */
static __always_inline __u64 offer_of(const struct settings *s, const __u64 *client, __u16 cport, __u16 port, __u32 seq)
{
	return keyed(s, client[0] ^ rotate(client[1], 23), client[1], (__u64)cport << 48 | (__u64)port << 32 | seq);
}

static __always_inline void offer(const struct settings *s, struct packet *p, __u32 seq, __u64 now)
{
	__u64 h = offer_of(s, p->dst, p->dport, p->sport, seq);
	__u32 i = h & (OFFERED - 1);
	__u64 *o = bpf_map_lookup_elem(&offered, &i);
	if (o)
		*o = h >> 32 << 32 | (__u32)(now / FRESH);
}

static __always_inline int was_offered(const struct settings *s, struct packet *p, __u32 ack, __u64 now)
{
	__u64 h = offer_of(s, p->src, p->sport, p->dport, ack - 1);
	__u32 i = h & (OFFERED - 1);
	__u64 *o = bpf_map_lookup_elem(&offered, &i);
	return o && *o >> 32 == h >> 32 && (__u32)(now / FRESH) - (__u32)*o <= 60;
}

/* quotes_known says whether an ICMP error quotes a packet of a flow that is
 * proven, or that our host asked: it is news of a real connection (RFC 792, RFC
 * 4443 section 2.4). */
__noinline int quotes_known(struct xdp_md *ctx, struct packet *p)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	if (!p)
		return 0;
	struct flow f = {};
	__u32 ports = p->l4 + 8 + (p->v6 ? 40 : 20);
	if (p->v6) {
		struct ipv6hdr *ip = (void *)at(data, end, p->l4 + 8, sizeof(*ip));
		if (!ip)
			return 0;
		__builtin_memcpy(f.dst, &ip->saddr, 16);
		__builtin_memcpy(f.src, &ip->daddr, 16);
		f.proto = ip->nexthdr;
	} else {
		struct iphdr *ip = (void *)at(data, end, p->l4 + 8, sizeof(*ip));
		if (!ip || ip->ihl != 5)
			return 0;
		f.dst[1] = (__u64)ip->saddr << 32 | MAPPED;
		f.src[1] = (__u64)ip->daddr << 32 | MAPPED;
		f.proto = ip->protocol;
	}
	if (f.dst[0] != p->dst[0] || f.dst[1] != p->dst[1])
		return 0;
	__be16 *port = (void *)at(data, end, ports, 4);
	if (!port)
		return 0;
	f.dport = port[0];
	f.sport = port[1];
	if (f.proto == IPPROTO_TCP)
		return bpf_map_lookup_elem(&proven, &f) != 0;
	return bpf_map_lookup_elem(&asked, &f) != 0;
}

/* martian sources are nobody's (RFC 6890): they cannot be answered. */
static __always_inline int martian(struct packet *p)
{
	if (p->v6) {
		__u8 *b = (__u8 *)p->src;
		return b[0] == 0xff || (p->src[0] == 0 && (p->src[1] == 0 || p->src[1] == (1ULL << 56)));
	}
	__u8 a = p->src[1] >> 32;
	return a == 0 || a == 127 || a >= 224;
}

/* reserved sources belong to private and test networks (RFC 6890): dropped
 * where a policy says that none of them is a neighbour. */
static __always_inline int reserved(struct packet *p)
{
	if (p->v6) {
		__u8 *b = (__u8 *)p->src;
		return (b[0] & 0xfe) == 0xfc || (b[0] == 0x20 && b[1] == 1 && b[2] == 0x0d && b[3] == 0xb8);
	}
	__u32 ip = bpf_ntohl(p->src[1] >> 32);
	return ip >> 24 == 10 || ip >> 20 == 0xac1 || ip >> 16 == 0xc0a8 || ip >> 16 == 0xa9fe || ip >> 22 == 0x191 ||
	       ip >> 8 == 0xc00000 || ip >> 8 == 0xc00002 || ip >> 8 == 0xc63364 || ip >> 8 == 0xcb0071 || ip >> 17 == 0x6309;
}

static __always_inline int within(__u16 x, __u16 lo, __u16 hi) { return x >= lo && x <= hi; }

static __always_inline int rule_meets(void *data, void *end, struct packet *p, const struct rule *r)
{
	__u32 f = r->fields;
	if (f & F_LENGTH && !within(p->ip_length, r->length_lo, r->length_hi))
		return 0;
	if (f & F_TTL && !within(p->ttl, r->ttl_lo, r->ttl_hi))
		return 0;
	if (f & F_SPORT && !within(bpf_ntohs(p->sport), r->sport_lo, r->sport_hi))
		return 0;
	if (f & F_DPORT && !within(bpf_ntohs(p->dport), r->dport_lo, r->dport_hi))
		return 0;
	if (f & F_WINDOW && p->window != r->window)
		return 0;
	if (f & F_FLAGS && p->tcp_flags != r->flags)
		return 0;
	if (f & F_SOURCE && ((p->src[0] & r->source_mask[0]) != r->source[0] || (p->src[1] & r->source_mask[1]) != r->source[1]))
		return 0;
	if (f & F_PAYLOAD) {
		__u64 *b = (void *)at(data, end, p->payload, 8);
		__u64 want, mask;
		__builtin_memcpy(&want, r->payload, 8);
		__builtin_memcpy(&mask, r->payload_mask, 8);
		if (!b || (*b & mask) != want)
			return 0;
	}
	return 1;
}

/* Functions that are not static are verified by themselves, once. */
__noinline int by_rule(struct xdp_md *ctx, struct packet *p, __u32 count, __u32 slot, __u32 base)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u64 now = bpf_ktime_get_coarse_ns();
	if (!p)
		return 0;
	for (int i = 0; i < RULES; i++) {
		if (i >= count)
			return 0;
		__u32 n = (base + slot) * RULES + i;
		struct rule *r = bpf_map_lookup_elem(&rules, &n);
		if (!r || r->vector != p->vector || r->until <= now || !rule_meets(data, end, p, r))
			continue;
		n = slot * RULES + i;
		__u64 *hits = bpf_map_lookup_elem(&rulehits, &n);
		if (hits)
			__sync_fetch_and_add(hits, 1);
		return 1;
	}
	return 0;
}

/* form_of is what the service at that port speaks, or -1 where none is. */
static __always_inline int form_of(const struct policy *pol, __u8 proto, __u16 port)
{
	for (int i = 0; i < SERVICES; i++) {
		if (i >= pol->services)
			return -1;
		if (pol->service[i].proto == proto && within(port, pol->service[i].lo, pol->service[i].hi))
			return pol->service[i].form;
	}
	return -1;
}

/* quic says whether a first datagram could be one of QUIC: a long header is an
 * Initial of at least 1200 bytes (RFC 9000, section 14.1), a short one has the
 * fixed bit. */
static __always_inline int quic(void *data, void *end, struct packet *p)
{
	__u8 *b = at(data, end, p->payload, 7);
	if (!b || !(b[0] & 0x40))
		return 0;
	if (!(b[0] & 0x80))
		return p->ip_length >= 48;
	return b[5] <= 20 && ((b[0] & 0x30) != 0 || p->ip_length >= 1200);
}
