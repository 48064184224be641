package gate

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/dun-sec/dun/internal/core/audit"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate/internal/store"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
)

const (
	eraseAction  = "audit.erase"
	eraseBatch   = 500 // versions in one transaction
	eraseAtOnce  = 20_000
	actionErase  = "erase"
	actionExpire = "expire"
)

// erasureFact is the reason of a leaf of class erasure: what went, by number,
// and nothing of what it said. A check holds the log to it in both directions.
type erasureFact struct {
	Reason    string   `json:"reason"`
	UIDs      []string `json:"uids,omitempty"`   // of the records whose versions went
	Leaves    spans    `json:"leaves,omitempty"` // whose payload and salts went
	Revisions spans    `json:"revisions"`        // whose rows of history went
}

// ErasureReport is what Erase did.
type ErasureReport struct {
	Versions int `json:"versions"` // of history, with the payload of their leaves
}

// Erase takes away everything that history and log say about a record that was
// deleted: its versions, and salts and payload of their leaves, in the
// transaction that logs the erasure (class 6). Every proof of the log still
// verifies: what a leaf committed to can neither be read nor guessed any more.
// Who did it stays with the erasure. With a UID in ref only that record is
// meant, otherwise each that had the name.
func (g *Gate) Erase(ctx context.Context, a identity.Actor, ref resource.Ref, reason string) (ErasureReport, error) {
	var rep ErasureReport
	k, err := g.opt.Registry.Kind(ref.Kind)
	if err != nil {
		return rep, err
	}
	if err := g.May(a, eraseAction, ref.Tenant); err != nil {
		return rep, err
	}
	if strings.TrimSpace(reason) == "" || len(reason) > maxReason {
		return rep, fault.New(fault.Invalid, "an erasure needs a reason of at most %d bytes", "抹除需要理由,至多 %d 字节", maxReason)
	}
	rows, were, err := g.versionsToErase(ctx, k, ref)
	if err != nil {
		return rep, err
	}
	for part := range slices.Chunk(rows, eraseBatch) {
		m := &member{ctx: ctx, done: make(chan struct{})}
		m.run = func(b *build) error {
			if b.state.get(k.Name, ref.Tenant, ref.Name) != nil && ref.UID == "" {
				return stillThere(ref)
			}
			for _, o := range were {
				if err := b.state.held(o); err != nil {
					return err
				}
			}
			return b.erase(a, k, ref.Tenant, part, reason)
		}
		if err := g.submit(ctx, m); err != nil {
			return rep, err
		}
		rep.Versions += len(part)
	}
	return rep, nil
}

func stillThere(ref resource.Ref) error {
	return fault.New(fault.Conflict, "%s is still there; delete it first, or name the uid of the one that is gone", "%s 仍存在;请先删除,或指明已删除记录的 uid", key(ref))
}

// versionsToErase lists the rows of the records that are gone, oldest first,
// and what they were, one for each set of labels.
func (g *Gate) versionsToErase(ctx context.Context, k *resource.Kind, ref resource.Ref) ([]store.Change, []*resource.Object, error) {
	live := g.state.Load().get(k.Name, ref.Tenant, ref.Name)
	if live != nil && (ref.UID == "" || ref.UID == live.Metadata.UID) {
		return nil, nil, stillThere(ref)
	}
	var out []store.Change
	var were []*resource.Object
	for before := uint64(0); ; {
		rows, err := g.store.History(ctx, k.Name, ref.Tenant, ref.Name, before, leafPage)
		if err != nil {
			return nil, nil, err
		}
		for _, c := range rows {
			if c.Data != nil {
				o, err := g.opt.Registry.Load(c.Data)
				if err != nil {
					return nil, nil, err
				}
				if !slices.ContainsFunc(were, func(w *resource.Object) bool { return maps.Equal(w.Metadata.Labels, o.Metadata.Labels) }) {
					were = append(were, o)
				}
			}
			if (ref.UID == "" || c.UID == ref.UID) && (live == nil || c.UID != live.Metadata.UID) {
				c.Data = nil
				out = append(out, c)
			}
		}
		if len(out) > eraseAtOnce {
			return nil, nil, fault.New(fault.Exhausted, "more than %d versions; erase by uid", "版本超过 %d 个;请按 uid 抹除", eraseAtOnce)
		}
		if len(rows) < leafPage {
			break
		}
		before = rows[len(rows)-1].Revision
	}
	if len(out) == 0 {
		return nil, nil, notFound(ref)
	}
	slices.Reverse(out)
	return out, were, nil
}

func (b *build) erase(a identity.Actor, k *resource.Kind, tenant string, rows []store.Change, reason string) error {
	f := erasureFact{Reason: reason}
	for _, c := range rows {
		f.Leaves, f.Revisions = f.Leaves.add(c.Seq), f.Revisions.add(c.Revision)
		if !slices.Contains(f.UIDs, c.UID) {
			f.UIDs = append(f.UIDs, c.UID)
		}
		b.group.Erase = append(b.group.Erase, c.Seq)
		b.group.Drop = append(b.group.Drop, c.Revision)
	}
	return b.erased(a, k.Name, actionErase, tenant, f)
}

func (b *build) erased(a identity.Actor, kind, action, tenant string, f erasureFact) error {
	text, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("encode an erasure: %w", err)
	}
	return b.leaf(fact{class: audit.Erasure, kind: kind, action: action, time: b.now(), actor: a, tenant: tenant, reason: string(text)})
}

// spans is a set of numbers as ascending ranges; as JSON "3-5,9".
type spans [][2]uint64

// add adds a number that is above all others.
func (s spans) add(n uint64) spans {
	if last := len(s) - 1; last >= 0 && s[last][1]+1 == n {
		s[last][1] = n
		return s
	}
	return append(s, [2]uint64{n, n})
}

// spansOf is the set of the numbers, which it sorts.
func spansOf(list []uint64) (out spans) {
	slices.Sort(list)
	for _, n := range slices.Compact(list) {
		out = out.add(n)
	}
	return out
}

func (s spans) has(n uint64) bool {
	_, found := slices.BinarySearchFunc(s, n, func(r [2]uint64, n uint64) int {
		switch {
		case r[1] < n:
			return -1
		case r[0] > n:
			return 1
		}
		return 0
	})
	return found
}

// MarshalText implements encoding.TextMarshaler.
func (s spans) MarshalText() ([]byte, error) {
	var out []string
	for _, r := range s {
		t := strconv.FormatUint(r[0], 10)
		if r[1] != r[0] {
			t += "-" + strconv.FormatUint(r[1], 10)
		}
		out = append(out, t)
	}
	return []byte(strings.Join(out, ",")), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *spans) UnmarshalText(b []byte) error {
	*s = nil
	if len(b) == 0 {
		return nil
	}
	for part := range strings.SplitSeq(string(b), ",") {
		lo, hi, ranged := strings.Cut(part, "-")
		if !ranged {
			hi = lo
		}
		x, err := strconv.ParseUint(lo, 10, 53)
		if err != nil {
			return fmt.Errorf("a range of numbers: %q", part)
		}
		y, err := strconv.ParseUint(hi, 10, 53)
		if err != nil || y < x || len(*s) > 0 && (*s)[len(*s)-1][1] >= x {
			return fmt.Errorf("a range of numbers: %q", part)
		}
		*s = append(*s, [2]uint64{x, y})
	}
	return nil
}

// union is the set of all numbers of the sets.
func union(sets ...spans) spans {
	all := slices.Concat(sets...)
	slices.SortFunc(all, func(a, b [2]uint64) int { return cmp.Compare(a[0], b[0]) })
	var out spans
	for _, r := range all {
		if last := len(out) - 1; last >= 0 && r[0] <= out[last][1]+1 {
			out[last][1] = max(out[last][1], r[1])
		} else {
			out = append(out, r)
		}
	}
	return out
}
