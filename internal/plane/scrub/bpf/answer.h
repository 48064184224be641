/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Answers that cost no state: a SYN gets a cookie (RFC 4987), a DNS query gets
 * "truncated, ask again by TCP" (RFC 1035, 4.1.1; RFC 7766). Neither is longer
 * than what it answers by more than a header's options. */
#pragma once

#define TCP_MOST 60
#define WINDOW_SCALE 7
#define MSS4 1460
#define MSS6 1440

static __always_inline __u16 fold(__u64 sum)
{
	sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32 & 0xffff) + (sum >> 48);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

static __always_inline void swap_ethernet(struct ethhdr *eth)
{
	__u8 mac[ETH_ALEN];
	__builtin_memcpy(mac, eth->h_source, ETH_ALEN);
	__builtin_memcpy(eth->h_source, eth->h_dest, ETH_ALEN);
	__builtin_memcpy(eth->h_dest, mac, ETH_ALEN);
}

/* options of a SYN that the answer depends on. */
struct offer {
	__u32 tsval; /* network order */
	__u16 mss;
	__u8 scale, has_ts, has_scale, sack;
};

/* read_option reads the option at an offset of the frame, of which so many
 * bytes are left, and returns its length; 0 = no more. It is verified by itself,
 * once: in a loop the verifier would follow every way through all options. */
__noinline int read_option(struct xdp_md *ctx, __u32 offset, __u32 left, struct offer *o)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	if (!o || offset > MOST_OFFSET)
		return 0;
	__u8 *b = at(data, end, offset, 2);
	if (!b || left < 1 || b[0] == 0)
		return 0;
	__u8 kind = b[0], size = b[1];
	if (kind == 1)
		return 1;
	if (left < 2 || size < 2 || size > left)
		return 0;
	if (kind == 2 && size == 4) {
		b = at(data, end, offset, 4);
		if (!b)
			return 0;
		o->mss = b[2] << 8 | b[3];
	} else if (kind == 3 && size == 3) {
		b = at(data, end, offset, 3);
		if (!b)
			return 0;
		o->has_scale = 1;
		o->scale = b[2] > 14 ? 14 : b[2]; /* RFC 7323, section 2.3 */
	} else if (kind == 4 && size == 2) {
		o->sack = 1;
	} else if (kind == 8 && size == 10) {
		b = at(data, end, offset, 6);
		if (!b)
			return 0;
		o->has_ts = 1;
		__builtin_memcpy(&o->tsval, b + 2, 4);
	}
	return size;
}

static __always_inline void read_options(struct xdp_md *ctx, __u32 l4, __u32 length, struct offer *o)
{
	__u32 i = 20;
	for (int n = 0; n < 20 && i < length; n++) {
		int size = read_option(ctx, l4 + i, length - i, o);
		if (size <= 0 || size > 40)
			return;
		i += size;
	}
}

/* write_options answers the offer. The timestamp holds what the options were,
 * as the kernel's SYN proxy reads it again from the ACK
 * (net/netfilter/nf_synproxy_core.c): 4 bits of scale, SACK, ECN. */
static __always_inline __u32 write_options(__u8 *o, const struct offer *offer, __u16 mss)
{
	__u32 *w = (__u32 *)o;
	__u32 n = 1;
	w[0] = bpf_htonl(2 << 24 | 4 << 16 | mss);
	if (offer->has_ts) {
		__u32 now = bpf_ktime_get_ns() / 1000000;
		__u32 ts = (now & ~0x3fU) | (offer->has_scale ? offer->scale : 0xf) | (offer->sack ? 1 << 4 : 0);
		w[1] = bpf_htonl((offer->sack ? 4 << 24 | 2 << 16 : 1 << 24 | 1 << 16) | 8 << 8 | 10);
		w[2] = bpf_htonl(ts);
		w[3] = offer->tsval;
		n = 4;
		/* Without a timestamp there is no place to remember the scale. */
		if (offer->has_scale) {
			w[4] = bpf_htonl(1 << 24 | 3 << 16 | 3 << 8 | WINDOW_SCALE);
			n = 5;
		}
	}
	return n * 4;
}

/* A cookie remembers one of four segment sizes, by its place in a list of the
 * kernel's (net/ipv4/syncookies.c, net/ipv6/syncookies.c), and a sequence number
 * that is one too low reads as the place behind. So that this can be told, only
 * places are used that have none of their neighbours: of IPv4 the second and
 * the fourth (the first where a client wants less), of IPv6 the first and the
 * third. */
static __always_inline __u16 remembered(const struct offer *o, int v6)
{
	if (v6)
		return o->mss >= 1440 ? 1440 : 1220;
	return o->mss >= 1460 ? 1460 : o->mss >= 1300 ? 1300 : 536;
}

static __always_inline int misplaced(int place, int v6) { return v6 ? place & 1 : place == 2; }

/* pseudo is the sum of what a checksum covers of the IP header. */
static __always_inline __u64 pseudo(struct packet *p, __u32 length)
{
	__u64 s = bpf_htonl(p->proto) + (__u64)bpf_htonl(length);
	s += (__u32)p->src[1] + (p->src[1] >> 32) + (__u32)p->dst[1] + (p->dst[1] >> 32);
	if (p->v6)
		s += (__u32)p->src[0] + (p->src[0] >> 32) + (__u32)p->dst[0] + (p->dst[0] >> 32);
	else
		s -= 2 * (__u64)(__u32)MAPPED; /* of the mapping */
	return s;
}

/* Functions that are not static are verified by themselves, once. */
__noinline int send_cookie(struct xdp_md *ctx, struct packet *p)
{
	if (!p)
		return 0;
	__u32 words = p->tcp_words;
	__u32 length = words * 4;
	if (length < 20 || length > TCP_MOST)
		return 0;
	/* The helper wants the whole header in memory, however long its options are. */
	int grow = (int)(p->l4 + TCP_MOST) - (int)p->length;
	if (grow && bpf_xdp_adjust_tail(ctx, grow))
		return 0;
	struct offer offer = {};
	read_options(ctx, p->l4, length, &offer);
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	if ((void *)(eth + 1) > end)
		return 0;
	__u8 *l3 = at(data, end, p->l3, 40);
	__u8 *l4 = at(data, end, p->l4, TCP_MOST);
	if (!l3 || !l4)
		return 0;
	struct tcphdr *tcp = (void *)l4;
	__s64 cookie;
	*(__u32 *)(l4 + 20) = bpf_htonl(2 << 24 | 4 << 16 | remembered(&offer, p->v6));
	l4[12] = 24 / 4 << 4;
	if (p->v6)
		cookie = bpf_tcp_raw_gen_syncookie_ipv6((void *)l3, tcp, 24);
	else
		cookie = bpf_tcp_raw_gen_syncookie_ipv4((void *)l3, tcp, 24);
	if (cookie < 0)
		return 0;
	__u32 options = write_options(l4 + 20, &offer, p->v6 ? MSS6 : MSS4);
	__u32 whole = 20 + options;

	__be16 port = tcp->source;
	tcp->source = tcp->dest;
	tcp->dest = port;
	tcp->ack_seq = bpf_htonl(bpf_ntohl(tcp->seq) + 1);
	tcp->seq = bpf_htonl((__u32)cookie);
	l4[12] = whole / 4 << 4;
	l4[13] = TCP_SYN | TCP_ACK;
	tcp->window = 0; /* no data before the server is there */
	tcp->urg_ptr = 0;
	tcp->check = 0;
	__u64 sum = pseudo(p, whole);
#pragma unroll
	for (int i = 0; i < 10; i++)
		if (i * 4 < whole)
			sum += ((__u32 *)l4)[i];
	tcp->check = fold(sum);

	if (p->v6) {
		struct ipv6hdr *ip = (void *)l3;
		ip->saddr = *(struct in6_addr *)p->dst;
		ip->daddr = *(struct in6_addr *)p->src;
		ip->payload_len = bpf_htons(p->l4 - p->l3 - sizeof(*ip) + whole);
		ip->hop_limit = 64;
	} else {
		struct iphdr *ip = (void *)l3;
		ip->saddr = p->dst[1] >> 32;
		ip->daddr = p->src[1] >> 32;
		ip->tot_len = bpf_htons(20 + whole);
		ip->tos = 0;
		ip->id = 0;
		ip->frag_off = bpf_htons(0x4000);
		ip->ttl = 64;
		ip->check = 0;
		__u64 s = 0;
#pragma unroll
		for (int i = 0; i < 5; i++)
			s += ((__u32 *)l3)[i];
		ip->check = fold(s);
	}
	swap_ethernet(eth);
	int cut = (int)(p->l4 + whole) - (int)(p->l4 + TCP_MOST);
	if (cut && bpf_xdp_adjust_tail(ctx, cut))
		return 0;
	return 1;
}

static __always_inline int answers(struct packet *p, void *l3, struct tcphdr *tcp)
{
	if (p->v6)
		return bpf_tcp_raw_check_syncookie_ipv6(l3, tcp) == 0;
	return bpf_tcp_raw_check_syncookie_ipv4(l3, tcp) == 0;
}

/* recent says whether the segment echoes a timestamp that we may have sent: it
 * keeps those of a flood from a second look. */
static __always_inline int recent(const __u8 *l4)
{
	const __u32 *w = (const void *)(l4 + 20);
	if (w[0] != bpf_htonl(1 << 24 | 1 << 16 | 8 << 8 | 10))
		return 0;
	__u32 now = bpf_ktime_get_ns() / 1000000;
	return now - (bpf_ntohl(w[2]) & ~0x3fU) < 180000;
}

/* cookie_good says whether an ACK answers a cookie of ours. Our window is 0: a
 * client whose answer was lost sends nothing but probes for a window, and those
 * of Linux have the sequence number of the SYN. Such a probe is made the answer
 * that was lost; the kernel's proxy would take it for another connection's, or
 * not at all. */
__noinline int cookie_good(struct xdp_md *ctx, struct packet *p)
{
	if (!p)
		return 0;
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u8 *l3 = at(data, end, p->l3, 40);
	__u8 *l4 = at(data, end, p->l4, 20);
	if (!l3 || !l4)
		return 0;
	struct tcphdr *tcp = (void *)l4, later;
	__builtin_memcpy(&later, l4, sizeof(later));
	__u32 was = bpf_ntohl(tcp->seq), now = was + 1;
	int bare = p->tcp_flags == TCP_ACK && p->l4 - p->l3 + p->tcp_words * 4 == p->ip_length;
	if (answers(p, l3, tcp)) {
		int place = 0;
#pragma unroll
		for (int i = 1; i < 4; i++) {
			later.seq = bpf_htonl(was + i);
			if (place == i - 1 && answers(p, l3, &later))
				place = i;
		}
		if (!misplaced(place, p->v6))
			return 1;
		if (!bare)
			return 0;
	} else {
		l4 = at(data, end, p->l4, 32);
		later.seq = bpf_htonl(now);
		if (p->v6 || !bare || !l4 || !recent(l4) || !answers(p, l3, &later))
			return 0;
	}
	__u32 sum = (__u16)~bpf_ntohs(tcp->check); /* RFC 1624 */
	sum += (__u16)~(was >> 16) + (__u16)~was + (now >> 16) + (now & 0xffff);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	tcp->check = bpf_htons((__u16)~sum);
	tcp->seq = bpf_htonl(now);
	return 1;
}

/* turn sends the frame back where it came from, with a hop limit of its own: 0 =
 * it is not whole. Nothing is written then. */
static __always_inline int turn(void *data, void *end, struct packet *p)
{
	struct ethhdr *eth = data;
	if ((void *)(eth + 1) > end)
		return 0;
	if (p->v6) {
		struct ipv6hdr *ip = (void *)at(data, end, p->l3, sizeof(*ip));
		if (!ip)
			return 0;
		ip->saddr = *(struct in6_addr *)p->dst;
		ip->daddr = *(struct in6_addr *)p->src;
		ip->hop_limit = 64;
	} else {
		struct iphdr *ip = (void *)at(data, end, p->l3, sizeof(*ip));
		if (!ip)
			return 0;
		ip->saddr = p->dst[1] >> 32;
		ip->daddr = p->src[1] >> 32;
		__u32 s = (__u16)~bpf_ntohs(ip->check) + (__u32)(__u16)~((__u16)ip->ttl << 8) + (64 << 8); /* RFC 1624 */
		s = (s & 0xffff) + (s >> 16);
		s = (s & 0xffff) + (s >> 16);
		ip->ttl = 64;
		ip->check = bpf_htons((__u16)~s);
	}
	swap_ethernet(eth);
	return 1;
}

/* send_truncated turns a query into an answer that says: by TCP. */
__noinline int send_truncated(struct xdp_md *ctx, struct packet *p)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	if (!p)
		return 0;
	__u8 *l4 = at(data, end, p->l4, 20);
	if (!l4 || !turn(data, end, p))
		return 0;
	struct udphdr *udp = (void *)l4;
	__be16 *flags = (__be16 *)(l4 + 10);
	__be16 was = *flags, now = (was & bpf_htons(0x7910)) | bpf_htons(0x8200); /* opcode, RD and CD stay; QR, TC */
	*flags = now;
	__be16 port = udp->source;
	udp->source = udp->dest;
	udp->dest = port;
	if (udp->check) { /* RFC 1624 */
		__u32 s = (__u16)~udp->check + (__u16)~was + now;
		s = (s & 0xffff) + (s >> 16);
		s = (s & 0xffff) + (s >> 16);
		udp->check = (__u16)~s ?: 0xffff;
	}
	return 1;
}

/* send_echo turns the question of a ping into its answer (RFC 792, RFC 4443
 * section 4.2): during a flood the host need not see it. */
__noinline int send_echo(struct xdp_md *ctx, struct packet *p)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	if (!p)
		return 0;
	__u8 *l4 = at(data, end, p->l4, 8);
	if (!l4 || !turn(data, end, p))
		return 0;
	__be16 *sum = (__be16 *)(l4 + 2);
	__u16 was = (__u16)l4[0] << 8 | l4[1];
	l4[0] = p->v6 ? 129 : 0;
	__u16 now = (__u16)l4[0] << 8 | l4[1];
	__u32 s = (__u16)~bpf_ntohs(*sum) + (__u32)(__u16)~was + now; /* RFC 1624 */
	s = (s & 0xffff) + (s >> 16);
	s = (s & 0xffff) + (s >> 16);
	*sum = bpf_htons((__u16)~s);
	return 1;
}
