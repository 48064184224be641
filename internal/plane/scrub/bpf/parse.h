/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Reads a frame: Ethernet, up to two VLAN tags, IPv4 or IPv6, fragments, the
 * transport header. Nothing in it is believed before its bytes are known to be
 * there. */
#pragma once

struct packet {
	__u64 src[2], dst[2]; /* network order, IPv4 mapped */
	__u64 hash;           /* of destination and vector; 0 = not yet taken */
	__u32 length;         /* of the frame */
	__u16 l3, l4, payload;/* offsets in the frame */
	__u16 ip_length;
	__u16 sport, dport;   /* network order */
	__u16 window;         /* host order */
	__u8 proto, vector, tcp_flags, ttl;
	__u8 v6;
	__u8 fragment;        /* 1 the first, 2 a later one */
	__u8 bad;             /* enum reason, or 0 */
	__u8 kind;            /* type of ICMP */
	__u8 tcp_words;       /* length of the TCP header / 4 */
	__u8 dns;             /* a query: what it has is a DNS header with QR 0 */
};

#define MOST_OFFSET 0x3ff
#define MAPPED bpf_htonl(0x0000ffff)

struct vlan {
	__be16 tci, type;
};

#define TCP_FIN 1
#define TCP_SYN 2
#define TCP_RST 4
#define TCP_PSH 8
#define TCP_ACK 16
#define TCP_URG 32

/* at is a pointer to size bytes at an offset of the frame, or 0. */
#define at(data, end, offset, size)                                              \
	({                                                                       \
		__u8 *p_ = (__u8 *)(data) + ((offset) & MOST_OFFSET);            \
		(offset) > MOST_OFFSET || p_ + (size) > (__u8 *)(end) ? 0 : p_;  \
	})

/* read_network finds who sends to whom: 0 if that is not IP or does not even
 * hold the addresses. */
static __always_inline int read_network(void *data, void *end, struct packet *p)
{
	struct ethhdr *eth = data;
	__u16 offset = sizeof(*eth);

	if ((void *)(eth + 1) > end)
		return 0;
	__be16 type = eth->h_proto;
#pragma unroll
	for (int i = 0; i < 2; i++) {
		if (type != bpf_htons(ETH_P_8021Q) && type != bpf_htons(ETH_P_8021AD))
			break;
		struct vlan *v = (void *)at(data, end, offset, sizeof(*v));
		if (!v)
			return 0;
		type = v->type;
		offset += sizeof(*v);
	}
	p->l3 = offset;
	if (type == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = (void *)at(data, end, offset, sizeof(*ip));
		if (!ip)
			return 0;
		p->src[1] = (__u64)ip->saddr << 32 | MAPPED;
		p->dst[1] = (__u64)ip->daddr << 32 | MAPPED;
		p->v6 = 0;
		p->ttl = ip->ttl;
		p->proto = ip->protocol;
		p->ip_length = bpf_ntohs(ip->tot_len);
		__u16 head = ip->ihl * 4;
		__u16 frag = bpf_ntohs(ip->frag_off);
		if (ip->version != 4 || head < sizeof(*ip) || p->ip_length < head || offset + p->ip_length > p->length)
			p->bad = R_MALFORMED;
		if (frag & 0x3fff)
			p->fragment = frag & 0x1fff ? 2 : 1;
		/* RFC 791: the last byte of a fragment lies below 64 KiB. */
		if ((frag & 0x1fff) * 8 + p->ip_length - head > 65535 || (frag & 0x2000 && (p->ip_length - head) & 7))
			p->bad = R_MALFORMED;
		p->l4 = offset + head;
		return 1;
	}
	if (type == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = (void *)at(data, end, offset, sizeof(*ip));
		if (!ip)
			return 0;
		__builtin_memcpy(p->src, &ip->saddr, 16);
		__builtin_memcpy(p->dst, &ip->daddr, 16);
		p->v6 = 1;
		p->ttl = ip->hop_limit;
		p->proto = ip->nexthdr;
		__u32 whole = bpf_ntohs(ip->payload_len) + sizeof(*ip);
		p->ip_length = whole > 65535 ? 65535 : whole;
		if (ip->version != 6 || offset + whole > p->length)
			p->bad = R_MALFORMED;
		p->l4 = offset + sizeof(*ip);
		return 1;
	}
	return 0;
}

struct extension {
	__u8 next, length;
	__be16 rest;
};

/* skip_extensions walks the headers of IPv6 before the transport's (RFC 8200,
 * section 4): at most six, then the packet is bad. */
static __always_inline void skip_extensions(void *data, void *end, struct packet *p)
{
#pragma unroll
	for (int i = 0; i < 7; i++) {
		__u8 kind = p->proto;
		if (kind != IPPROTO_HOPOPTS && kind != IPPROTO_ROUTING && kind != IPPROTO_DSTOPTS && kind != IPPROTO_FRAGMENT && kind != IPPROTO_AH)
			return;
		struct extension *x = (void *)at(data, end, p->l4, 8);
		if (!x || i == 6) {
			p->bad = R_MALFORMED;
			return;
		}
		p->proto = x->next;
		if (kind == IPPROTO_FRAGMENT) {
			__u16 frag = bpf_ntohs(x->rest);
			if (frag & 0xfff9) /* an offset, or more to come; alone it is atomic (RFC 6946) */
				p->fragment = frag & 0xfff8 ? 2 : 1;
			p->l4 += 8;
			if (p->fragment == 2)
				return;
		} else if (kind == IPPROTO_AH) {
			p->l4 += (x->length + 2) * 4;
		} else {
			p->l4 += (x->length + 1) * 8;
		}
		if (p->l4 > MOST_OFFSET) {
			p->bad = R_MALFORMED;
			return;
		}
	}
}

/* amplified says which ports answer small questions with much: what comes from
 * them was asked for by somebody else. They stand in a table that holds each at
 * the place its hash says (of 64, without a collision): a flood from random
 * ports, over which branches would stumble, costs one load. */
#define PLACE(port) ((__u16)((port) * 1609) >> 10)
#define PORT(port) [PLACE(port)] = port
static const volatile __u16 amplifiers[64] = {

	PORT(17), PORT(19), PORT(53), PORT(69), PORT(111), PORT(123), PORT(137), PORT(161), PORT(389), PORT(427),
	PORT(500), PORT(520), PORT(1434), PORT(1900), PORT(3283), PORT(3478), PORT(3702), PORT(5093), PORT(5353),
	PORT(5683), PORT(10001), PORT(10074), PORT(11211), PORT(27015), PORT(30718), PORT(32414), PORT(33848),
	PORT(37810), PORT(47808),
};

static __always_inline int amplified(__u16 port) { return amplifiers[PLACE(port)] == port; }

static __always_inline int odd_flags(__u8 f)
{
	f &= TCP_FIN | TCP_SYN | TCP_RST | TCP_ACK | TCP_PSH | TCP_URG;
	if (!(f & (TCP_SYN | TCP_RST | TCP_ACK)))
		return 1; /* none of the three that every segment has one of (RFC 9293, section 3.10.7) */
	if ((f & TCP_SYN) && (f & (TCP_FIN | TCP_RST)))
		return 1;
	if ((f & TCP_RST) && (f & TCP_FIN))
		return 1;
	return 0;
}

static __always_inline void read_tcp(void *data, void *end, struct packet *p)
{
	struct tcphdr *t = (void *)at(data, end, p->l4, sizeof(*t));
	if (!t) {
		p->bad = R_MALFORMED;
		return;
	}
	p->sport = t->source;
	p->dport = t->dest;
	p->window = bpf_ntohs(t->window);
	p->tcp_flags = ((__u8 *)t)[13];
	p->tcp_words = t->doff;
	p->payload = p->l4 + t->doff * 4;
	__u8 f = p->tcp_flags;
	if (f & TCP_RST)
		p->vector = V_RST;
	else if (f & TCP_SYN)
		p->vector = f & TCP_ACK ? V_SYNACK : V_SYN;
	else
		p->vector = V_ACK;
	if (t->doff < 5 || p->payload > p->l3 + p->ip_length)
		p->bad = R_MALFORMED;
	else if (odd_flags(f))
		p->bad = R_FLAGS;
}

static __always_inline void read_udp(void *data, void *end, struct packet *p)
{
	struct udphdr *u = (void *)at(data, end, p->l4, sizeof(*u));
	p->vector = V_UDP;
	if (!u) {
		p->bad = R_MALFORMED;
		return;
	}
	p->sport = u->source;
	p->dport = u->dest;
	p->payload = p->l4 + sizeof(*u);
	__u16 length = bpf_ntohs(u->len);
	if (length < sizeof(*u) || (!p->fragment && p->l4 + length > p->l3 + p->ip_length))
		p->bad = R_MALFORMED;
	if (u->dest == bpf_htons(53)) {
		p->vector = V_DNS;
		__u8 *d = at(data, end, p->payload, 12);
		if (d && length >= 20 && !(d[2] & 0x80))
			p->dns = 1;
	} else if (amplified(bpf_ntohs(u->source))) {
		p->vector = V_AMP;
	}
}

static __always_inline void read_icmp(void *data, void *end, struct packet *p)
{
	__u8 *h = at(data, end, p->l4, 8);
	p->vector = V_ICMP;
	if (!h) {
		p->bad = R_MALFORMED;
		return;
	}
	p->kind = h[0];
	if (p->v6 ? (h[0] == 128 || h[0] == 129) : (h[0] == 8 || h[0] == 0)) {
		__builtin_memcpy(&p->sport, h + 4, 2); /* the identifier of an echo stands for ports */
		p->dport = p->sport;
	}
	/* What a path needs to work: fragmentation needed (RFC 1191, 4821), packet
	 * too big (RFC 8201), neighbour discovery (RFC 4861). */
	if (p->v6 ? (h[0] == 2 || (h[0] >= 133 && h[0] <= 137)) : (h[0] == 3 && h[1] == 4))
		p->vector = V_CONTROL;
}

/* read_transport finishes what read_network began. */
static __always_inline void read_transport(void *data, void *end, struct packet *p)
{
	if (p->v6)
		skip_extensions(data, end, p);
	p->vector = V_OTHER;
	if (p->fragment == 2) {
		p->vector = V_FRAG;
		return;
	}
	if (p->proto == IPPROTO_TCP)
		read_tcp(data, end, p);
	else if (p->proto == IPPROTO_UDP)
		read_udp(data, end, p);
	else if (p->proto == (p->v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP))
		read_icmp(data, end, p);
	if (p->fragment)
		p->vector = V_FRAG;
}
