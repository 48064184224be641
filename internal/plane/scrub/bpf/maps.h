/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Every map is of fixed size; those that a source could fill are LRU and are
 * written only when its address is proven, or by what our own hosts do. */
#pragma once

#define ARRAY(name_, value_, n_, flags_)                   \
	struct {                                           \
		__uint(type, BPF_MAP_TYPE_ARRAY);          \
		__uint(max_entries, n_);                   \
		__uint(map_flags, flags_);                 \
		__type(key, __u32);                        \
		__type(value, value_);                     \
	} name_ SEC(".maps")

#define PERCPU(name_, value_, n_)                          \
	struct {                                           \
		__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);   \
		__uint(max_entries, n_);                   \
		__type(key, __u32);                        \
		__type(value, value_);                     \
	} name_ SEC(".maps")

#define TABLE(name_, type_, key_, value_, n_, flags_)      \
	struct {                                           \
		__uint(type, type_);                       \
		__uint(max_entries, n_);                   \
		__uint(map_flags, flags_);                 \
		__type(key, key_);                         \
		__type(value, value_);                     \
	} name_ SEC(".maps")

struct bloom_block {
	__u64 word[8];
};

ARRAY(config, struct settings, 1, 0);
ARRAY(nodes, struct node, 2 * NODES, 0);
ARRAY(policies, struct policy, 2 * SLOTS, 0);
ARRAY(rules, struct rule, 2 * SLOTS * RULES, 0);
ARRAY(rulehits, __u64, SLOTS * RULES, 0);
ARRAY(buckets, __u64, SLOTS * VECTORS, 0);
ARRAY(bucketsout, __u64, SLOTS * VECTORS, 0);
ARRAY(bucketsdst, __u64, DST_BUCKETS, 0);
ARRAY(bloom, struct bloom_block, 2 * BLOCKS, 0);
ARRAY(sketch, struct cells, 1, 0); /* the loader makes it one a CPU */
ARRAY(askedports, struct asked_ports, 1, 0);
ARRAY(offered, __u64, OFFERED, 0);
ARRAY(longway, __u32, ANSWERS, 0); /* 1 = what is answered goes through the stack */
ARRAY(aside, struct counts, 2 * SLOTS, 0); /* of what nftables filters instead; in and out in turn */
PERCPU(counters, struct counts, SLOTS);
PERCPU(countersout, struct counts, SLOTS);
PERCPU(total, struct totals, 1);

TABLE(prefixes4a, BPF_MAP_TYPE_LPM_TRIE, struct prefix4, __u32, 16384, BPF_F_NO_PREALLOC);
TABLE(prefixes4b, BPF_MAP_TYPE_LPM_TRIE, struct prefix4, __u32, 16384, BPF_F_NO_PREALLOC);
TABLE(prefixes6a, BPF_MAP_TYPE_LPM_TRIE, struct prefix6, __u32, 16384, BPF_F_NO_PREALLOC);
TABLE(prefixes6b, BPF_MAP_TYPE_LPM_TRIE, struct prefix6, __u32, 16384, BPF_F_NO_PREALLOC);
TABLE(allow, BPF_MAP_TYPE_LPM_TRIE, struct allowed, __u32, 16384, BPF_F_NO_PREALLOC);
TABLE(deny, BPF_MAP_TYPE_HASH, struct denied, struct verdict, 131072, BPF_F_NO_PREALLOC);
TABLE(proven, BPF_MAP_TYPE_LRU_HASH, struct flow, __u64, 262144, 0);
TABLE(asked, BPF_MAP_TYPE_LRU_HASH, struct flow, __u64, 65536, 0);
TABLE(known, BPF_MAP_TYPE_LRU_HASH, struct denied, __u64, 131072, 0);

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} samples SEC(".maps");
