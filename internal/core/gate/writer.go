package gate

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate/internal/store"
)

// write is the one goroutine that changes anything. It takes whoever waits
// into one transaction, so that many callers share one fsync.
func (g *Gate) write() {
	defer g.done.Done()
	defer close(g.stopped)
	for {
		select {
		case <-g.stop:
			g.refuseWaiting()
			return
		case m := <-g.queue:
			g.commit(m)
		}
	}
}

func (g *Gate) refuseWaiting() {
	for {
		select {
		case m := <-g.queue:
			m.err = stopping()
			close(m.done)
		default:
			return
		}
	}
}

// commit builds a group from first and those who wait behind it. A member that
// moves policy ends its group: whoever comes after is judged by the new one.
func (g *Gate) commit(first *member) {
	ctx := context.Background() // a caller who leaves does not undo his neighbours
	b := g.begin(ctx)
	var members []*member
	gather := gathering{want: g.crowd, patience: min(g.took/4, gatherMost)}
	for m := first; m != nil; m = g.waiting(len(members), &gather) {
		if m.ctx.Err() != nil {
			m.err = fault.New(fault.Unavailable, "the request was withdrawn before it was carried out", "请求在执行前被撤回").Because(m.ctx.Err())
			close(m.done)
			continue
		}
		m.err = runMember(m, b)
		members = append(members, m)
		if b.access || len(b.group.Changes) >= maxWrites {
			break
		}
	}
	if gather.timer != nil {
		gather.timer.Stop()
	}
	begun := time.Now()
	err := g.flush(b)
	// Whoever waits now is none of the members: so many come together.
	g.crowd, g.took = len(members)+len(g.queue), time.Since(begun)
	for _, m := range members {
		if m.err == nil {
			m.err = err
		}
		if m.err == nil && m.after != nil {
			m.after()
		}
		close(m.done)
	}
}

// gatherMost bounds how long a group waits for the callers of the group before.
const gatherMost = 2 * time.Millisecond

// gathering is the patience of one group. Without it callers fall into two
// halves that take turns, each with a transaction of its own: those of the last
// group are on their way back when the next one begins. A lone caller is never
// waited for.
type gathering struct {
	want     int
	patience time.Duration
	timer    *time.Timer
}

// runMember turns a panic in one member into its own error: the writer goes on.
func runMember(m *member, b *build) (err error) {
	mark := b.mark()
	defer func() {
		if err != nil {
			b.reset(mark)
		}
	}()
	defer func() {
		if r := recover(); r != nil {
			b.reset(mark)
			err = fmt.Errorf("panic in the writer: %v", r)
		}
	}()
	return m.run(b)
}

func (g *Gate) waiting(members int, w *gathering) *member {
	if members >= g.opt.Group {
		return nil
	}
	select {
	case m := <-g.queue:
		return m
	default:
	}
	if members >= w.want || w.patience <= 0 {
		return nil
	}
	if w.timer == nil {
		w.timer = time.NewTimer(w.patience)
	}
	select {
	case m := <-g.queue:
		return m
	case <-w.timer.C:
	case <-g.stop:
	}
	w.patience = 0
	return nil
}

// flush makes the group durable and then visible, in this order.
func (g *Gate) flush(b *build) error {
	gr := &b.group
	gr.Statuses = b.coalesce()
	if len(gr.Leaves) == 0 && len(gr.Statuses) == 0 && len(gr.Replies) == 0 && len(gr.Open) == 0 && len(gr.Revoke) == 0 && !b.moved() {
		return nil
	}
	now := g.opt.Now()
	if now.Sub(g.lastPurge) > replyPurge {
		gr.PurgeReply, g.lastPurge = now.Add(-replyLife).UnixMicro(), now
	}
	gr.Head.Cell, gr.Head.Epoch = g.opt.Cell, g.epoch
	gr.Head.Revision, gr.Head.Time = b.state.at.Revision, b.state.time
	gr.Head.Size, gr.Head.Root = b.tree.Size(), b.tree.Root()
	if err := g.store.Commit(b.ctx, gr); err != nil && !g.onDisk(b.ctx, gr) {
		g.opt.Log.Error("commit refused by the record store", "err", err)
		return fault.New(fault.Unavailable, "the record store cannot write now; nothing was changed", "记录库暂时无法写入;未作任何更改").Because(err)
	}
	g.tree = b.tree
	g.groups.Add(1)
	g.changes.Add(uint64(len(b.changes)))
	// Before anybody sees the records: whoever does may ask for their proof.
	g.main.signed.advance(gr.Head.Size, gr.Head.Root)
	g.sessions.apply(gr.Open, gr.Revoke)
	g.ring.publish(b.changes, b.state.at.Revision, func() { g.state.Store(b.state) })
	if b.access {
		g.founders(b.state)
	}
	return nil
}

// onDisk asks the store what became of a commit that reported an error: memory
// must follow the disk, whichever way it went.
func (g *Gate) onDisk(ctx context.Context, gr *store.Group) bool {
	head, err := g.store.Head(ctx)
	return err == nil && head == gr.Head && head.Revision+uint64(head.Size) > g.At().Revision+uint64(g.tree.Size())
}

// sign keeps a log's checkpoint fresh beside the write path.
func (g *Gate) sign(c *checkpoints) {
	for {
		select {
		case <-g.stop:
			return
		case <-c.wake:
		}
		if err := c.sign(); err != nil {
			g.opt.Log.Error("checkpoint not signed", "err", err)
			c.again()
		}
		t := time.NewTimer(cmp.Or(g.opt.tuning.signEvery, checkpointAt))
		select {
		case <-g.stop:
			t.Stop()
			return
		case <-t.C:
		}
	}
}
