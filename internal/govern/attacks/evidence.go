package attacks

import (
	stdbytes "bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/dun-sec/dun/internal/core/audit"
	"github.com/dun-sec/dun/internal/core/bytes"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/traffic"
	"github.com/dun-sec/dun/internal/kinds/shield"
)

// Bounds of evidence. An attack has one capture at a time.
const (
	maxCapture   = 128 << 10 // bytes of one
	maxKept      = 10_000    // captures of all tenants
	maxOfTenant  = 1_000
	maxHeld      = maxOfTenant / 2      // what comes on top gives way when it must
	evidenceHold = 30 * 24 * time.Hour  // nobody erases it before, not by deleting the record either
	evidenceLife = 400 * 24 * time.Hour // then it goes, and earlier with its record
	maxWaiting   = 64                   // captures that wait for the disk, or for their record
	waitsFor     = 30 * time.Second     // for the record
	sweepEvery   = time.Minute          // for what is to go
	evidenceRead = "evidence.read"      // Cedar action, of the tenant
)

// Store is what evidence asks of core/bytes.
type Store interface {
	Put(ctx context.Context, a identity.Actor, owner resource.Ref, retain time.Time, r io.Reader, most int64) (bytes.Info, error)
	Open(ctx context.Context, a identity.Actor, r bytes.Ref) (*bytes.Reader, error)
	Stat(ctx context.Context, r bytes.Ref) (bytes.Info, error)
	Retain(ctx context.Context, r bytes.Ref, until time.Time) error
	Erase(ctx context.Context, a identity.Actor, r bytes.Ref) error
	List(ctx context.Context, kind string, after bytes.Ref, n int) ([]bytes.Info, error)
}

// EvidenceGate is what evidence asks of core/gate.
type EvidenceGate interface {
	Gate
	May(a identity.Actor, action, tenant string) error
	Record(context.Context, identity.Actor, gate.Fact) error
}

// EvidenceOptions of a Keeper. Gate and Store are needed.
type EvidenceOptions struct {
	Gate  EvidenceGate
	Store Store
	Skip  string // a tenant of which nothing is kept: that of the checks
	Now   func() time.Time
	Log   *slog.Logger
}

// Keeper keeps packets of attacks and gives them to who may read them. It does
// so beside the controller of the records: a disk that fails or hangs loses
// evidence, never an attack.
type Keeper struct {
	in chan traffic.Evidence

	mu      sync.Mutex
	opt     *EvidenceOptions        // nil = not running yet
	records map[string]resource.Ref // by the detection centre's id
	order   []string                // of them, the oldest first
}

// NewKeeper makes one that takes evidence at once and keeps it when Run runs.
func NewKeeper() *Keeper {
	return &Keeper{in: make(chan traffic.Evidence, maxWaiting), records: map[string]resource.Ref{}}
}

// Recorded says under which record an attack of a detection centre is.
func (k *Keeper) Recorded(id string, record resource.Ref) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, ok := k.records[id]; !ok {
		if len(k.order) >= maxFloods {
			delete(k.records, k.order[0])
			k.order = k.order[1:]
		}
		k.order = append(k.order, id)
	}
	k.records[id] = record
}

// record is that of the attack that evidence is of.
func (k *Keeper) record(e *traffic.Evidence) resource.Ref {
	k.mu.Lock()
	defer k.mu.Unlock()
	if ref, ok := k.records[e.Attack]; ok {
		return ref
	}
	return floodRef(e.Of.Tenant, e.Of.Name, e.Start)
}

// Keep takes evidence; it never waits. What there is no room for is lost.
func (k *Keeper) Keep(e traffic.Evidence) {
	select {
	case k.in <- e:
	default:
	}
}

// Run keeps what it is given, and erases what is to go, until ctx ends.
func (k *Keeper) Run(ctx context.Context, opt EvidenceOptions) {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	k.mu.Lock()
	k.opt = &opt
	k.mu.Unlock()
	s := &shelf{opt: opt, record: k.record, actor: identity.Service(shield.AttackOwner), kept: map[bytes.Ref]bytes.Info{}}
	s.takeUp(ctx)
	s.sweep(ctx)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-k.in:
			s.take(ctx, e)
		case <-tick.C:
			s.retry(ctx)
			if s.opt.Now().Sub(s.swept) >= sweepEvery {
				s.sweep(ctx)
			}
		}
	}
}

// Open gives the evidence of an attack to who may read the record and the
// evidence of its tenant; the audit log is told before. Errors: not_found,
// forbidden, unavailable.
func (k *Keeper) Open(ctx context.Context, a identity.Actor, tenant, name string) (*bytes.Reader, error) {
	k.mu.Lock()
	opt := k.opt
	k.mu.Unlock()
	if opt == nil {
		return nil, fault.New(fault.Unavailable, "evidence cannot be read yet", "暂时无法读取证据")
	}
	o, err := opt.Gate.Get(ctx, a, resource.Ref{Kind: "Attack", Tenant: tenant, Name: name})
	if err != nil {
		return nil, err
	}
	if err := opt.Gate.May(a, evidenceRead, tenant); err != nil {
		return nil, err
	}
	none := fault.New(fault.NotFound, "no packets were kept of this attack, or they are erased", "未留存此攻击的数据包,或已清除")
	e := shield.EvidenceOf(o)
	if e == nil {
		return nil, none
	}
	i, err := opt.Store.Stat(ctx, bytes.Ref(e.Reference))
	if fault.Is(err, fault.NotFound) || err == nil && i.Owner != o.Ref() {
		return nil, none
	}
	if err != nil {
		return nil, err
	}
	if err := opt.Gate.Record(ctx, a, gate.Fact{Class: audit.Export, Kind: "Attack", Action: "evidence", Tenant: tenant, Name: name, Reason: e.Reference + " sha256 " + e.SHA256}); err != nil {
		return nil, err
	}
	return opt.Store.Open(ctx, a, i.Ref)
}

// waiting is evidence whose record is not there yet.
type waiting struct {
	traffic.Evidence
	since time.Time
}

// shelf is what Run keeps; its goroutine owns it.
type shelf struct {
	opt     EvidenceOptions
	record  func(*traffic.Evidence) resource.Ref
	actor   identity.Actor
	kept    map[bytes.Ref]bytes.Info
	waiting []waiting
	swept   time.Time
	wailed  time.Time
}

// wail tells of what is lost, at most once a minute: how often there is
// evidence is the attackers' choice.
func (s *shelf) wail(msg string, ref resource.Ref, err error) {
	if now := s.opt.Now(); now.Sub(s.wailed) >= time.Minute {
		s.wailed = now
		s.opt.Log.Error(msg, "tenant", ref.Tenant, "name", ref.Name, "err", err)
	}
}

// takeUp learns what earlier processes kept.
func (s *shelf) takeUp(ctx context.Context) {
	for after := bytes.Ref(""); ; {
		list, err := s.opt.Store.List(ctx, "Attack", after, 500)
		if err != nil {
			s.opt.Log.Error("evidence that was kept is not known", "err", err)
			return
		}
		for _, i := range list {
			s.kept[i.Ref], after = i, i.Ref
		}
		if len(list) < 500 {
			return
		}
	}
}

func (s *shelf) take(ctx context.Context, e traffic.Evidence) {
	if e.Of.Tenant == "" || e.Of.Tenant == s.opt.Skip || e.Packets == 0 || len(e.Capture) > maxCapture {
		return
	}
	if len(s.waiting) < maxWaiting {
		s.waiting = append(s.waiting, waiting{e, s.opt.Now()})
		s.retry(ctx)
	}
}

// retry keeps what has its record by now.
func (s *shelf) retry(ctx context.Context) {
	left := s.waiting[:0]
	for _, w := range s.waiting {
		ref := s.record(&w.Evidence)
		o, err := s.opt.Gate.Get(ctx, s.actor, ref)
		switch {
		case err == nil:
			if err := s.keep(ctx, o, w.Evidence); err != nil && ctx.Err() == nil {
				s.wail("the packets of an attack are not kept", ref, err)
			}
		case s.opt.Now().Sub(w.since) < waitsFor:
			left = append(left, w)
		}
	}
	clear(s.waiting[len(left):])
	s.waiting = left
}

// keep puts a capture, names it in the record and erases the one before. Of what
// several detection centres kept of one attack, the most packets stay.
func (s *shelf) keep(ctx context.Context, o *resource.Object, e traffic.Evidence) error {
	if was := shield.EvidenceOf(o); was != nil && was.Packets > e.Packets {
		return nil // it is held by the next sweep, once the attack is over
	}
	if err := s.room(ctx, o.Metadata.Tenant); err != nil {
		return err
	}
	i, err := s.opt.Store.Put(ctx, s.actor, o.Ref(), time.Time{}, stdbytes.NewReader(e.Capture), maxCapture)
	if err != nil {
		return err
	}
	before := shield.EvidenceOf(o)
	sum := sha256.Sum256(e.Capture)
	in := &shield.Evidence{Reference: string(i.Ref), Packets: e.Packets, Bytes: len(e.Capture), SHA256: hex.EncodeToString(sum[:]), Taken: i.Created.Truncate(time.Second)}
	for range 3 { // the record may end meanwhile
		_, err = s.opt.Gate.Apply(ctx, gate.Request{Actor: s.actor, Reason: "packets of the attack", Changes: []gate.Change{{Op: gate.Act, Ref: o.Ref(), Verb: "attach", Input: in, Revision: o.Metadata.Revision}}})
		if !fault.Is(err, fault.Conflict) {
			break
		}
		if o, err = s.opt.Gate.Get(ctx, s.actor, o.Ref()); err != nil {
			break
		}
	}
	if err != nil {
		s.erase(ctx, i)
		return err
	}
	s.kept[i.Ref] = i
	if before != nil {
		if old, ok := s.kept[bytes.Ref(before.Reference)]; ok {
			s.erase(ctx, old)
		}
	}
	if e.Final {
		s.hold(ctx, i)
	}
	return nil
}

func (s *shelf) erase(ctx context.Context, i bytes.Info) {
	err := s.opt.Store.Erase(ctx, s.actor, i.Ref)
	if err != nil && !fault.Is(err, fault.NotFound) {
		if !fault.Is(err, fault.Conflict) && ctx.Err() == nil { // held: it goes later
			s.wail("evidence is not erased", i.Owner, err)
		}
		return
	}
	delete(s.kept, i.Ref)
}

// hold keeps a capture from everybody for a while, unless the tenant has many
// that are held already.
func (s *shelf) hold(ctx context.Context, i bytes.Info) {
	held, now := 0, s.opt.Now()
	for _, x := range s.kept {
		if x.Owner.Tenant == i.Owner.Tenant && x.Retain.After(now) {
			held++
		}
	}
	until := i.Created.Add(evidenceHold)
	if held >= maxHeld || !until.After(now) {
		return
	}
	if err := s.opt.Store.Retain(ctx, i.Ref, until); err != nil {
		s.wail("evidence is not held", i.Owner, err)
		return
	}
	i.Retain = until
	s.kept[i.Ref] = i
}

// room makes place for one more of a tenant: his oldest that is not held gives
// way; where all is full, the oldest of who has most.
func (s *shelf) room(ctx context.Context, tenant string) error {
	of := map[string]int{}
	for _, x := range s.kept {
		of[x.Owner.Tenant]++
	}
	switch {
	case of[tenant] >= maxOfTenant:
	case len(s.kept) >= maxKept:
		for t, n := range of {
			if n > of[tenant] {
				tenant = t
			}
		}
	default:
		return nil
	}
	var oldest *bytes.Info
	for _, x := range s.kept {
		if x.Owner.Tenant == tenant && !x.Retain.After(s.opt.Now()) && (oldest == nil || x.Created.Before(oldest.Created)) {
			oldest = &x
		}
	}
	full := fault.New(fault.Exhausted, "there is no room for more evidence", "证据空间已满")
	if oldest == nil {
		return full
	}
	if s.erase(ctx, *oldest); len(s.kept) > 0 {
		if _, still := s.kept[oldest.Ref]; still {
			return full
		}
	}
	return nil
}

// sweep erases what no record names any more, and what is too old; what is held
// goes when it is held no longer. What belongs to an attack that is over is held.
func (s *shelf) sweep(ctx context.Context) {
	now := s.opt.Now()
	s.swept = now
	for _, i := range s.kept {
		o, err := s.opt.Gate.Get(ctx, s.actor, resource.Ref{Kind: i.Owner.Kind, Tenant: i.Owner.Tenant, Name: i.Owner.Name})
		if err != nil && !fault.Is(err, fault.NotFound) {
			return // what is there cannot be told
		}
		e := (*shield.Evidence)(nil)
		if err == nil && o.Ref() == i.Owner {
			e = shield.EvidenceOf(o)
		}
		named := e != nil && e.Reference == string(i.Ref)
		switch {
		case i.Retain.After(now):
		case !named || now.Sub(i.Created) >= evidenceLife:
			s.erase(ctx, i)
		case i.Retain.IsZero():
			if st, ok := o.State.(*shield.AttackState); ok && st.End != nil {
				s.hold(ctx, i)
			}
		}
	}
}
