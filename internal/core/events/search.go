package events

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
)

// Search returns one page of events, in order of arrival, and the cursor of
// the next page; "" means that this was the last. The error carries
// fault.Invalid when the query is at fault. A search by request id reads the
// indexes only; any other one reads the blocks that its times and tenants leave.
func (l *Log) Search(ctx context.Context, q Query) (events []Event, next string, err error) {
	f, err := newFilter(q)
	if err != nil {
		return nil, "", err
	}
	views := l.views(f)
	if q.NewestFirst {
		slices.Reverse(views)
	}
	p := &page{log: l, filter: f}
	for _, v := range views {
		err := p.read(ctx, v)
		if err != nil && ctx.Err() != nil {
			return nil, "", fmt.Errorf("search events: %w", ctx.Err())
		}
		if err != nil && !gone(v.path) { // else retention was faster
			return nil, "", fmt.Errorf("search events in %s: %w", filepath.Base(v.path), err)
		}
		if p.full() {
			return p.events, p.last.String(), nil
		}
	}
	return p.events, "", nil
}

func gone(path string) bool {
	_, err := os.Stat(path)
	return os.IsNotExist(err)
}

// view is what one search knows of a segment; the writer does not change it.
type view struct {
	*segment        // only what never changes
	inMemory bool   // blocks and requests are the index
	y        layout // otherwise
	end      int64  // bytes to read
	blocks   []block
	requests []request
}

// views lists the segments that may hold a match.
func (l *Log) views(f *filter) []view {
	l.mu.RLock()
	defer l.mu.RUnlock()
	var list []view
	for _, s := range l.segments {
		if !s.times().meets(f.times) || !f.segmentBeyond(s.number) {
			continue
		}
		v := view{segment: s, inMemory: s.x != nil, y: s.y, end: s.y.end}
		if s.x != nil {
			// The last block still grows: copy. Requests are only appended.
			v.end, v.blocks, v.requests = s.x.end, slices.Clone(s.x.blocks), s.x.requests[:len(s.x.requests):len(s.x.requests)]
		}
		list = append(list, v)
	}
	return list
}

// segmentBeyond is beyond for a whole segment.
func (f *filter) segmentBeyond(number uint64) bool {
	if f.after == nil || number == f.after.number {
		return true
	}
	return number > f.after.number != f.q.NewestFirst
}

// page collects the matches.
type page struct {
	log    *Log
	filter *filter
	events []Event
	last   cursor
}

func (p *page) full() bool { return len(p.events) >= p.filter.limit }

// read adds the matches of one segment.
func (p *page) read(ctx context.Context, v view) error {
	f, err := os.Open(v.path)
	if err != nil {
		return err
	}
	defer f.Close()
	var x *os.File
	if !v.inMemory {
		if x, err = os.Open(indexPath(v.path)); err != nil {
			return err
		}
		defer x.Close()
		if here, err := p.hasTenant(x, v.y); err != nil || !here {
			return err
		}
	}
	if p.filter.q.Request != "" {
		return p.readRequest(ctx, v, f, x)
	}
	if !v.inMemory {
		if v.blocks, err = v.y.readBlocks(x); err != nil {
			return err
		}
	}
	return p.readBlocks(ctx, v, f)
}

// hasTenant reports whether the index may know one of the tenants asked for.
func (p *page) hasTenant(x io.ReaderAt, y layout) (bool, error) {
	if p.filter.tenants == nil || len(p.filter.tenants) > 64 { // many look-ups cost more than they save
		return true, nil
	}
	for t := range p.filter.tenants {
		found, err := find(x, y.tenantsAt(), y.tenants, hash(t))
		if err != nil || len(found) > 0 {
			return err == nil, err
		}
	}
	return false, nil
}

// readRequest reads the frames that the index names for the request id.
func (p *page) readRequest(ctx context.Context, v view, f io.ReaderAt, x io.ReaderAt) (err error) {
	want := hash(p.filter.q.Request)
	var places []uint32
	if v.inMemory {
		for _, r := range v.requests {
			if r.hash == want {
				places = append(places, r.at)
			}
		}
	} else if places, err = find(x, v.y.requestsAt(), v.y.requests, want); err != nil {
		return err
	}
	if p.filter.q.NewestFirst {
		slices.Reverse(places)
	}
	for _, at := range places {
		if err := ctx.Err(); err != nil {
			return err
		}
		raw, err := readFrame(f, int64(at))
		if _, bad := err.(errDamaged); bad {
			p.sayDamaged(v, err)
			continue
		}
		if err != nil {
			return err
		}
		if p.offer(v, int64(at), raw); p.full() {
			return nil
		}
	}
	return nil
}

// readBlocks reads the blocks that meet the times, newest or oldest first.
func (p *page) readBlocks(ctx context.Context, v view, f io.ReaderAt) error {
	for i := range v.blocks {
		if p.filter.q.NewestFirst {
			i = len(v.blocks) - 1 - i
		}
		b, end := v.blocks[i], v.end
		if i+1 < len(v.blocks) {
			end = int64(v.blocks[i+1].at)
		}
		if !p.blockBeyond(v.number, int64(b.at), end) || !(span{b.min, b.max}).meets(p.filter.times) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := p.readBlock(v, f, int64(b.at), end); err != nil || p.full() {
			return err
		}
	}
	return nil
}

// blockBeyond reports whether frames of the block from at to end may be beyond the cursor.
func (p *page) blockBeyond(number uint64, at, end int64) bool {
	c := p.filter.after
	if c == nil || number != c.number {
		return true
	}
	if p.filter.q.NewestFirst {
		return at < c.at
	}
	return end > c.at
}

func (p *page) readBlock(v view, f io.ReaderAt, at, end int64) error {
	if end <= at || end-at > blockBytes+frameHead+maxEvent {
		return errDamaged{at} // no index that passed its checksum says so
	}
	rest := make([]byte, end-at)
	if _, err := f.ReadAt(rest, at); err != nil && err != io.EOF {
		return err
	}
	type frame struct {
		at  int64
		raw []byte
	}
	var frames []frame
	for len(rest) > 0 {
		here := end - int64(len(rest))
		raw, next, ok := cutFrame(rest)
		if !ok { // the index still tells where the next block begins
			p.sayDamaged(v, errDamaged{here})
			break
		}
		frames = append(frames, frame{here, raw})
		rest = next
	}
	if p.filter.q.NewestFirst {
		slices.Reverse(frames)
	}
	for _, fr := range frames {
		if p.offer(v, fr.at, fr.raw); p.full() {
			break
		}
	}
	return nil
}

// offer takes an encoded event into the page when it matches.
func (p *page) offer(v view, at int64, raw []byte) {
	c := cursor{v.number, at}
	if !p.filter.beyond(c) || !p.filter.mayMatch(raw) {
		return
	}
	e, err := decode(raw)
	if err != nil {
		p.sayDamaged(v, err)
		return
	}
	if us := e.Time.UnixMicro(); us < p.filter.times.min || us > p.filter.times.max || !p.filter.match(&e) {
		return
	}
	p.events, p.last = append(p.events, e), c
}

// sayDamaged logs the damage of a segment once.
func (p *page) sayDamaged(v view, err error) {
	p.log.mu.Lock()
	said := v.said
	v.said = true
	p.log.mu.Unlock()
	if !said {
		p.log.opt.Log.Error("events: a segment is damaged, some of its events are lost", "name", filepath.Base(v.path), "err", err)
	}
}
