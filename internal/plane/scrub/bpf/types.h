/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Shapes that the program and ../shape.go share. Change both, and LAYOUT. */
#pragma once

#define LAYOUT 5

#define SLOTS 1024         /* policies in force, unless the loader asks for more */
#define NODES 4096         /* of the tree of prefixes, each bank's */
#define SERVICES 8         /* of a policy */
#define RULES 4            /* of a policy */
#define ROWS 4             /* of the sketch */
#define CELLS 8192         /* of a row; a power of two */
#define BLOCKS 4096        /* of the bloom filter, 512 bits each; a power of two */
#define DST_BUCKETS 65536  /* a power of two */
#define ASKED 4096         /* ports that own hosts asked from, hashed; a power of two */
#define OFFERED 131072    /* handshakes that own hosts answered, hashed; a power of two */
#define ANSWERS 64         /* interfaces, by their index; a power of two */
#define SNAP 256           /* bytes of a sampled packet at most */

/* What a packet is. The order is that of the closed list of vectors. */
enum vector { V_SYN, V_ACK, V_RST, V_SYNACK, V_UDP, V_DNS, V_ICMP, V_FRAG, V_AMP, V_OTHER, V_CONTROL, VECTORS = 16 };

/* What was decided. Below R_DROP a packet passed, or was answered. */
enum reason {
	R_PASSED, R_PROVEN, R_ALLOWED, R_COOKIE_SENT, R_COOKIE_GOOD, R_TRUNCATED, R_LEARNING,
	R_ECHOED,
	R_DROP = 8,
	R_DENIED = R_DROP, R_MALFORMED, R_FLAGS, R_LAND, R_BOGON, R_SERVICE, R_POLICY, R_RATE, R_RATE_DST,
	R_STATE, R_RULE, R_UNANSWERED, R_SPOOFED, R_OUTBOUND,
	REASONS = 32
};
#define ANSWERED (1U << R_COOKIE_SENT | 1U << R_TRUNCATED | 1U << R_ECHOED)

enum action { A_PASS, A_DROP, A_RATE, A_CHALLENGE };

enum form { FORM_ANY, FORM_DNS, FORM_QUIC };

enum policy_flag { P_MONITOR = 1, P_SERVICES = 2, P_BOGONS = 4, P_HOST = 8 };

enum settings_flag { S_ALLOW = 1, S_PROXY = 2, S_OWN = 4 };

enum rule_field { F_LENGTH = 1, F_TTL = 2, F_SPORT = 4, F_DPORT = 8, F_WINDOW = 16, F_PAYLOAD = 32, F_SOURCE = 64, F_FLAGS = 128 };

struct service {
	__u16 lo, hi; /* ports, host order */
	__u8 proto;   /* 6 or 17 */
	__u8 form;
	__u16 pad;
};

struct policy {
	__u32 flags;
	__u32 scope;             /* tenant's number; 0 is the platform's */
	__u32 services, rules;   /* in use */
	__u64 strict_after;      /* ns of CLOCK_MONOTONIC: until then TCP without a proof passes at its rate */
	__u8 action[VECTORS];
	__u64 interval[VECTORS];     /* 1/16 ns a packet of the whole prefix; 0 = no rate */
	__u64 interval_dst[VECTORS]; /* of each address in it */
	__u64 interval_out[VECTORS]; /* of what its hosts send; 0 = only counted */
	struct service service[SERVICES];
};

struct rule {
	__u64 until;         /* ns of CLOCK_MONOTONIC */
	__u32 fields;        /* enum rule_field */
	__u8 vector;
	__u8 ttl_lo, ttl_hi;
	__u8 flags;          /* of TCP, exactly */
	__u16 length_lo, length_hi; /* of the IP packet */
	__u16 sport_lo, sport_hi, dport_lo, dport_hi;
	__u16 window;
	__u16 pad;
	__u8 payload[8];     /* the first bytes behind the transport header */
	__u8 payload_mask[8];
	__u64 source[2], source_mask[2]; /* network order, IPv4 mapped */
};

struct settings {
	__u32 layout;
	__u32 bank;          /* of prefixes, policies and rules */
	__u32 bloom;         /* bank of the bloom filter */
	__u32 flags;
	__u32 sample;        /* one packet in so many; 0 = none */
	__u32 slots;
	__u32 generation;    /* of what was published */
	__u32 pad;
	__u64 key[2];        /* of the hash, random at load */
};

struct counts {
	__u64 packets[VECTORS], bytes[VECTORS], passed[VECTORS], suspect[VECTORS], reason[REASONS];
};

struct cells {
	__u32 row[ROWS][CELLS];
};

/* The time, as a word of asked_when, at which somebody asked from a port. It is
 * small enough to stay in the first cache while ports are chosen at random. */
struct asked_ports {
	__u8 at[ASKED];
};

struct totals {
	__u64 seen, untouched, sampled, unsampled;
	__u64 dst[2];              /* of the last packet, and its policy: a flood has one */
	__u32 generation, slot;
	__u32 countdown, countdown_out;
};

struct flow {
	__u64 src[2], dst[2]; /* network order, IPv4 mapped */
	__u16 sport, dport;   /* network order */
	__u32 proto;
};

struct denied {
	__u32 scope;
	__u32 addr[4]; /* network order, IPv4 mapped */
};

struct verdict {
	__u64 until; /* ns of CLOCK_MONOTONIC */
	__u64 used;
};

/* A node of the tree of prefixes decides by one byte of the address: what it
 * holds is nothing (0), a slot + 1, the next node, or that the tries know. */
#define DEEPER 0x80000000U
#define ASK_TRIE 0x7fffffffU
struct node {
	__u32 child[256];
};

struct prefix4 {
	__u32 bits;
	__u32 addr;
};

struct prefix6 {
	__u32 bits;
	__u32 addr[4];
};

struct allowed {
	__u32 bits;
	__u32 scope;
	__u32 addr[4];
};

struct sample {
	__u64 at; /* ns of CLOCK_MONOTONIC */
	__u32 slot;
	__u16 length;  /* of the frame */
	__u16 kept;    /* bytes of it that follow */
	__u8 vector, reason, offset, out; /* offset: where the IP header is; out: a host of ours sent it */
	__u32 interface;
	__u8 data[SNAP];
};
