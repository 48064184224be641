package detect

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/dun-sec/dun/internal/core/assurance"
	"github.com/dun-sec/dun/internal/core/text"
)

// How much a check replays; the bench replays a hundred times as much.
const (
	checkAttacks = 300
	checkWindows = 300
)

// Checks try the detector on attacks and on honest days, by new seeds each time.
func Checks(here func() bool) []assurance.Check {
	cost := text.T("some seconds of simulated counters", "数秒的模拟计数")
	return []assurance.Check{
		{
			Control: "8.1-13", Here: here, Scope: assurance.Twin, Period: time.Hour, Cost: cost,
			Title:    text.T("There is a detection centre: it tells of floods of every kind, and works alone", "设有检测中心:可发现各类洪水,并可独立运行"),
			Positive: silence,
			Probe: func(_ context.Context, e *assurance.Evidence) error {
				for range 20 {
					r := NewReplay(rand.Uint64())
					v, strength, right, after := r.Attack()
					e.Add(v.String(), "%.1f times the threshold: told after %s", strength, after)
					if !right {
						return assurance.NotHeld("an attack of %s is not told of", "未发现 %s 攻击", v.String())
					}
				}
				return nil
			},
		},
		{
			Control: "8.1-21", Here: here, Scope: assurance.Model, Period: 24 * time.Hour, Cost: cost,
			Title:    text.T("Attacks are found, from 1.2 times the threshold on", "可发现达到阈值 1.2 倍及以上的攻击"),
			Positive: silence, Probe: func(_ context.Context, e *assurance.Evidence) error { return probeAttacks(checkAttacks, e) },
		},
		{
			Control: "8.1-50", Here: here, Scope: assurance.Model, Period: 24 * time.Hour, Cost: cost,
			Title:    text.T("Honest traffic raises no alarm: crowds, crawlers, backups", "正常流量不触发告警:突发访问、爬虫、备份"),
			Positive: loud, Probe: func(_ context.Context, e *assurance.Evidence) error { return probeBenign(checkWindows, e) },
		},
	}
}

// silence shows that an attack that nobody tells of is seen: one that never
// comes to its threshold is not told.
func silence(context.Context) error {
	r := NewReplay(1)
	m := r.usual()
	for range 200 {
		r.step(m)
	}
	if len(r.told) > 0 {
		return fmt.Errorf("a quiet day is told of as an attack")
	}
	return nil
}

// loud shows that an alarm would be heard.
func loud(context.Context) error {
	if _, _, right, _ := NewReplay(2).Attack(); !right {
		return fmt.Errorf("an attack is not heard")
	}
	return nil
}

// bound is the share of misses that is below the truth with 95 % certainty when
// none of n was missed: 3/n.
func bound(n int) float64 { return 300 / float64(n) }

func probeAttacks(n int, e *assurance.Evidence) error {
	slowest := time.Duration(0)
	for range n {
		seed := rand.Uint64()
		v, strength, right, after := NewReplay(seed).Attack()
		if !right {
			e.Add("missed", "%s at %.1f times the threshold, seed %d", v, strength, seed)
			return assurance.NotHeld("an attack of %s at %.1f times the threshold was missed", "漏报 %s 攻击(阈值的 %.1f 倍)", v.String(), strength)
		}
		slowest = max(slowest, after)
	}
	e.Add("replayed", "%d attacks, 0 missed: below %.2f %% with 95 %% certainty", n, bound(n))
	e.Add("slowest", "%s, ramps included", slowest)
	e.Add("not here", "the 30 000 of the control's own bar are replayed by the bench")
	return nil
}

func probeBenign(n int, e *assurance.Evidence) error {
	alarms := NewReplay(rand.Uint64()).Benign(n)
	e.Add("replayed", "%d windows of 10 s, %d alarms", n, alarms)
	if alarms > 0 {
		return assurance.NotHeld("%d of %d windows of honest traffic raised an alarm", "%[2]d 个正常流量窗口中有 %[1]d 个触发告警", alarms, n)
	}
	return nil
}
