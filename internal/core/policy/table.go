package policy

import (
	"hash/maphash"
	"maps"
)

// tableShards is how many parts a table has: one change copies one of them.
const tableShards = 512

// table is a map that many snapshots share: an editor copies the shards that
// it writes to and no others. A table itself never changes.
type table[K comparable, V any] struct {
	seed   maphash.Seed
	shards []map[K]V
	n      int
}

func newTable[K comparable, V any]() table[K, V] {
	return table[K, V]{seed: maphash.MakeSeed(), shards: make([]map[K]V, tableShards)}
}

func (t *table[K, V]) shard(k K) uint64 { return maphash.Comparable(t.seed, k) % tableShards }

func (t *table[K, V]) get(k K) (V, bool) {
	v, ok := t.shards[t.shard(k)][k]
	return v, ok
}

// tableEditor makes the next table out of one. The table that it began with
// stays as it was.
type tableEditor[K comparable, V any] struct {
	table[K, V]
	own [tableShards]bool // shards that nobody else sees
	any bool
}

func (t table[K, V]) edit() *tableEditor[K, V] { return &tableEditor[K, V]{table: t} }

// open returns the shard of k for writing.
func (e *tableEditor[K, V]) open(k K) map[K]V {
	if !e.any {
		e.shards, e.any = append([]map[K]V(nil), e.shards...), true
	}
	i := e.shard(k)
	if !e.own[i] {
		e.own[i] = true
		if e.shards[i] = maps.Clone(e.shards[i]); e.shards[i] == nil {
			e.shards[i] = map[K]V{}
		}
	}
	return e.shards[i]
}

func (e *tableEditor[K, V]) set(k K, v V) {
	m := e.open(k)
	before := len(m)
	m[k] = v
	e.n += len(m) - before
}

func (e *tableEditor[K, V]) remove(k K) {
	if _, ok := e.get(k); ok {
		delete(e.open(k), k)
		e.n--
	}
}
