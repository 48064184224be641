package resource

import (
	"context"
	"strconv"
	"strings"

	"github.com/dun-sec/dun/internal/core/fault"
)

// Position is a place in the cell's one order of changes, "<epoch>.<revision>"
// (formats.md, Revision). A position of another epoch means nothing.
type Position struct {
	Epoch    string
	Revision uint64
}

// String is the form that cursors and replies carry.
func (p Position) String() string { return p.Epoch + "." + strconv.FormatUint(p.Revision, 10) }

// ParsePosition reads what String wrote.
func ParsePosition(s string) (Position, error) {
	epoch, rev, ok := strings.Cut(s, ".")
	n, err := strconv.ParseUint(rev, 10, 53)
	if !ok || err != nil || epoch == "" || len(epoch) > 32 || strconv.FormatUint(n, 10) != rev {
		return Position{}, fault.New(fault.Invalid, "%q is not a position; give back what a list or watch returned", "%q 不是有效位置;请使用列表或监视返回的值", clip(s))
	}
	return Position{Epoch: epoch, Revision: n}, nil
}

// Change is one record put or deleted.
type Change struct {
	Ref      Ref
	Object   *Object // nil = deleted; shared, never changed by readers
	Revision uint64
}

// Batch is what a feed delivers at once.
type Batch struct {
	Reset   bool // forget everything that was delivered before: the whole state follows
	Changes []Change
	At      Position
	Synced  bool // everything up to At has been delivered
}

// Feed delivers the changes of some kinds to one reader. The first batches
// carry the state as puts up to a Synced one; later ones carry what moved, and
// come without changes too, so that the reader knows how far it has come.
type Feed interface {
	// Next waits for the next batch. An error ends the feed, but for that of
	// ctx, with which comes how far the reader has got (Batch.At).
	Next(ctx context.Context) (Batch, error)
}
