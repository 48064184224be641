package gate

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dun-sec/dun/internal/core/assurance"
	"github.com/dun-sec/dun/internal/core/audit"
	"github.com/dun-sec/dun/internal/core/id"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/text"
)

// Bars of the checks (controls 2.1-13 and 5.3-4).
const (
	entryWithin = 5 * time.Second // from the act to its searchable, signed entry
	queryWithin = 2 * time.Second
	canaryActs  = 20 // at once
)

// Posture is the service that tries the controls.
const Posture = "posture"

func postureActor() identity.Actor {
	a := identity.Service(Posture)
	a.Door = "posture"
	return a
}

// Checks are the checks of the log.
func (g *Gate) Checks() []assurance.Check {
	return []assurance.Check{g.realTime(entryWithin), g.onDemand(queryWithin)}
}

// realTime proves that what is done is in the signed log at once.
func (g *Gate) realTime(bar time.Duration) assurance.Check {
	return assurance.Check{
		Control: "2.1-13", Scope: assurance.Production, Period: time.Hour,
		Title: text.T("What anybody does is searchable and signed in the audit log within five seconds", "任何操作在五秒内即可在审计日志中检索并已签名"),
		Cost:  text.F("%d leaves", "%d 个叶子", canaryActs),
		Positive: func(ctx context.Context) error {
			// An act that was not recorded must not be found.
			short, cancel := context.WithTimeout(ctx, bar/10)
			defer cancel()
			if _, err := g.entry(short, id.Random(16)); err == nil {
				return fmt.Errorf("the search finds what was never recorded")
			}
			return nil
		},
		Probe: func(ctx context.Context, e *assurance.Evidence) error { return g.probeRealTime(ctx, bar, e) },
	}
}

func (g *Gate) probeRealTime(ctx context.Context, bar time.Duration, e *assurance.Evidence) error {
	delays := make([]time.Duration, canaryActs)
	errs := make([]error, canaryActs)
	var all sync.WaitGroup
	for i := range canaryActs {
		all.Go(func() {
			name := id.Random(16)
			start := time.Now()
			if errs[i] = g.Record(ctx, postureActor(), Fact{Class: audit.Check, Kind: "Control", Action: "canary", Tenant: resource.Platform, Name: name}); errs[i] != nil {
				return
			}
			within, cancel := context.WithTimeout(ctx, bar)
			defer cancel()
			_, errs[i] = g.entry(within, name)
			delays[i] = time.Since(start)
		})
	}
	all.Wait()
	slices.Sort(delays)
	worst := delays[len(delays)-1] // of twenty, the 99th percentile is the worst
	e.Add("acts", "%d at once", canaryActs)
	e.Add("median delay", "%s", delays[len(delays)/2].Round(time.Millisecond))
	e.Add("worst delay", "%s", worst.Round(time.Millisecond))
	e.Add("log", "%s, %d leaves", g.Log().Origin, g.main.size())
	for _, err := range errs {
		if err != nil {
			e.Add("not found", "%s", err)
		}
	}
	if i := slices.IndexFunc(errs, func(err error) bool { return err != nil }); i >= 0 || worst > bar {
		return assurance.NotHeld("an act was not in the signed log within %s", "有操作未能在 %s 内进入已签名的日志", bar)
	}
	return nil
}

// entry waits until the newest leaves hold a canary of the name, and until a
// signature covers it.
func (g *Gate) entry(ctx context.Context, name string) (seq uint64, err error) {
	book, err := g.Book(postureActor(), MainLog)
	if err != nil {
		return 0, err
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for from := uint64(max(0, book.Size()-MaxPage)); ; {
		list, err := book.Leaves(ctx, from, MaxPage)
		if err != nil {
			return 0, err
		}
		for _, x := range list {
			from = x.Seq + 1
			if string(x.Values[audit.FieldName]) != name {
				continue
			}
			note, err := book.Checkpoint(ctx)
			if err != nil {
				return 0, fmt.Errorf("leaf %d is not signed: %w", x.Seq, err)
			}
			head, err := audit.OpenCheckpoint(note, book.Info().VKey)
			if err != nil {
				return 0, err
			}
			if uint64(head.Size) <= x.Seq {
				return 0, fmt.Errorf("leaf %d is not in the signed log of %d", x.Seq, head.Size)
			}
			return x.Seq, nil
		}
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("no leaf of that name: %w", ctx.Err())
		case <-tick.C:
		}
	}
}

// onDemand proves that an auditor finds who did what when, and takes away
// proofs that hold without this program.
func (g *Gate) onDemand(bar time.Duration) assurance.Check {
	return assurance.Check{
		Control: "5.3-4", Scope: assurance.Production, Period: 24 * time.Hour,
		Title: text.T("An auditor finds who did what and when, and takes away proofs that verify offline", "审计员可按人、事、时查询,并导出可离线校验的证明"),
		Cost:  text.T("2 leaves, one pass over the log", "2 个叶子,遍历一次日志"),
		Positive: func(ctx context.Context) error {
			b, seq, err := g.exportCanary(ctx)
			if err != nil {
				return err
			}
			if _, err := verify(b, g.Log().VKey); err != nil {
				return nil // an export that does not verify at all: the probe will say so
			}
			for _, part := range []string{fmt.Sprintf("payload/%d.json", seq), fmt.Sprintf("proof/%d.json", seq), "checkpoint"} {
				if _, err := verify(forged(b, part), g.Log().VKey); err == nil {
					return fmt.Errorf("a bundle with a forged %s verifies", part)
				}
			}
			return nil
		},
		Probe: func(ctx context.Context, e *assurance.Evidence) error { return g.probeOnDemand(ctx, bar, e) },
	}
}

func (g *Gate) probeOnDemand(ctx context.Context, bar time.Duration, e *assurance.Evidence) error {
	name := id.Random(16)
	from := g.opt.Now().Add(-time.Second)
	if err := g.Record(ctx, postureActor(), Fact{Class: audit.Check, Kind: "Control", Action: "canary", Tenant: resource.Platform, Name: name}); err != nil {
		return err
	}
	book, err := g.Book(postureActor(), MainLog)
	if err != nil {
		return err
	}
	start := time.Now()
	found, read := 0, 0
	var first time.Time
	err = book.search(ctx, func(l *audit.Leaf, v *audit.Values) {
		if read++; read == 1 {
			first = l.Time
		}
		if string(v[audit.FieldActor]) == postureActor().String() && l.Kind == "Control" && l.Action == "canary" && !l.Time.Before(from) && string(v[audit.FieldName]) == name {
			found++
		}
	})
	took := time.Since(start)
	e.Add("query", "by actor, kind, action, time and name over %d leaves since %s: %s", read, first.Format(time.RFC3339), took.Round(time.Millisecond))
	if err != nil {
		e.Add("log", "%s", err)
		return assurance.NotHeld("the log cannot be read to its end", "日志无法完整读取")
	}
	if found != 1 {
		return assurance.NotHeld("the query found %d entries of one act", "对一次操作的查询得到 %d 条结果", found)
	}
	// A year of leaves is read at this pace; the bar is for what one page of the
	// answer costs, since the log streams.
	if pages := read/MaxPage + 1; took > bar*time.Duration(pages) {
		return assurance.NotHeld("the query took %s for %d leaves", "查询 %[2]d 个叶子用时 %[1]s", took.Round(time.Millisecond), read)
	}
	b, _, err := g.exportCanary(ctx)
	if err != nil {
		return err
	}
	rep, err := verify(b, g.Log().VKey)
	if err != nil {
		e.Add("bundle", "%s", err)
		return assurance.NotHeld("an exported bundle does not verify", "导出的证明包未通过校验")
	}
	e.Add("bundle", "%d leaf of a log of %d, %d bytes, signed by the pinned key: %v", rep.Leaves, rep.Size, len(b), rep.Pinned)
	return nil
}

// search reads the whole log.
func (b *Book) search(ctx context.Context, yield func(*audit.Leaf, *audit.Values)) error {
	for from := uint64(0); ; {
		list, err := b.Leaves(ctx, from, MaxPage)
		if err != nil || len(list) == 0 {
			return err
		}
		for i := range list {
			l, err := audit.ParseLeaf(list[i].Leaf)
			if err != nil {
				return err
			}
			if err := l.Check(list[i].Salts, list[i].Values); err != nil {
				return err
			}
			yield(&l, &list[i].Values)
			from = list[i].Seq + 1
		}
	}
}

// exportCanary exports the newest canary, or else the newest leaf.
func (g *Gate) exportCanary(ctx context.Context) (bundle []byte, seq uint64, err error) {
	book, err := g.Book(postureActor(), MainLog)
	if err != nil {
		return nil, 0, err
	}
	size := book.Size()
	list, err := book.Leaves(ctx, uint64(max(0, size-MaxPage)), MaxPage)
	if err != nil || len(list) == 0 {
		return nil, 0, fmt.Errorf("nothing to export: %w", err)
	}
	seq = list[len(list)-1].Seq
	for _, x := range list {
		if string(x.Values[audit.FieldActor]) == postureActor().String() {
			seq = x.Seq
		}
	}
	var b bytes.Buffer
	err = book.Export(ctx, &b, func(x audit.Entry) bool { return x.Seq == seq })
	return b.Bytes(), seq, err
}

func verify(b []byte, vkey string) (audit.Report, error) {
	return audit.VerifyBundle(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }, vkey)
}

// forged changes one letter of a file in a bundle.
func forged(b []byte, name string) []byte {
	out := bytes.Clone(b)
	at := bytes.Index(out, []byte(name))
	if at < 0 {
		return out
	}
	body := out[at+512:] // behind the header of the archive (ustar)
	if i := strings.IndexAny(string(body[:min(len(body), 400)]), "ABCDEFGHIJKLMNOPQRSTUVWXYZ"); i >= 0 {
		body[i] ^= 0x20 // its case: still base64, another value
	}
	return out
}
