package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/dun-sec/dun/internal/core/events"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/traffic"
	"github.com/dun-sec/dun/internal/kinds/shield"
	"github.com/dun-sec/dun/internal/plane/detect"
	"github.com/dun-sec/dun/internal/plane/scrub"
	"github.com/dun-sec/dun/internal/plane/scrub/flood"
)

const (
	alarmRuns = 20
	peerRuns  = 3
	threshold = 20_000 // packets a second
	rate      = 100_000
)

// told is one alarm.
type told struct {
	after   time.Duration
	vectors string
	packets float64 // a second, as it was told
	sent    float64 // a second, really
}

// listener is a detector's events.
type listener struct {
	mu sync.Mutex
	at map[string]time.Time
	e  map[string]events.Event
}

func (l *listener) Add(e events.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	phase := e.Attributes["phase"]
	if _, again := l.at[phase]; !again {
		l.at[phase] = time.Now()
	}
	l.e[phase] = e
}

// feed is the records of one protected address, then nothing.
type feed struct {
	each int // threshold; 0 = threshold
	sent bool
}

func (f *feed) Next(ctx context.Context) (resource.Batch, error) {
	if f.sent {
		<-ctx.Done()
		return resource.Batch{}, ctx.Err()
	}
	f.sent = true
	each := f.each
	if each == 0 {
		each = threshold
	}
	spec := &shield.ProtectedAddressSpec{Prefix: server, Mode: shield.ModeMonitor}
	for _, v := range traffic.All() {
		spec.Thresholds = append(spec.Thresholds, shield.Threshold{Vector: v.String(), Packets: each})
	}
	o := &resource.Object{Kind: "ProtectedAddress", Metadata: resource.Metadata{Tenant: "platform", Name: "shop", UID: "u"}, Spec: spec}
	return resource.Batch{Reset: true, Synced: true, Changes: []resource.Change{{Ref: o.Ref(), Object: o}}}, nil
}

func (l *link) alarms() error {
	fmt.Printf("%s, load %s; floods of %d packets a second, threshold %d\n\n", kernel(), load(), rate, threshold)
	// Not by a thread of its own: what the scheduler keeps waiting, the ring drops.
	if err := os.WriteFile("/sys/class/net/dv0/threaded", []byte("0"), 0); err != nil {
		return err
	}
	var all []told
	vectors := []string{"syn", "udp", "ack", "icmp", "amp", "dns", "frag", "rst", "synack"}
	i, err := scrub.Install(scrub.InstallOptions{Interfaces: []string{"dv0"}, Slots: 16})
	if err != nil {
		return err
	}
	defer i.Close()
	t, err := scrub.Take(i.Hand)
	if err != nil {
		return err
	}
	defer t.Close()
	wrong := 0
	for n := range alarmRuns {
		vector := vectors[n%len(vectors)]
		x, err := l.alarm(i, t, vector)
		if err != nil {
			return fmt.Errorf("%s: %w", vector, err)
		}
		if x.vectors != vector {
			wrong++
		}
		all = append(all, x)
	}
	slices.SortFunc(all, func(a, b told) int { return int(a.after - b.after) })
	worst := 0.0
	for _, x := range all {
		worst = max(worst, max(x.packets/x.sent, x.sent/max(x.packets, 1)))
	}
	fmt.Printf("dun: alarm after %s (median), %s (worst of %d); %d vectors named wrong; rate off by %.0f%% at most\n",
		all[len(all)/2].after.Round(time.Millisecond), all[len(all)-1].after.Round(time.Millisecond), len(all), wrong, 100*(worst-1))
	peer, err := l.peers()
	if err != nil {
		return err
	}
	fmt.Printf("FastNetMon: alarm after %s (median of %d), that is %.1f times as long\n", peer.Round(time.Millisecond), peerRuns, peer.Seconds()/all[len(all)/2].after.Seconds())
	return nil
}

// alarm lets one flood begin and waits for the word.
func (l *link) alarm(i *scrub.Installation, t *scrub.Table, vector string) (told, error) {
	heard := &listener{at: map[string]time.Time{}, e: map[string]events.Event{}}
	d := detect.New(detect.Options{Events: heard})
	c := scrub.NewCentre(scrub.CentreOptions{Name: "n1", Table: t, Readings: d.Count, Samples: d.Sample})
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var run sync.WaitGroup
	run.Go(func() { _ = c.Run(ctx, &feed{}) })
	run.Go(func() { _ = d.Run(ctx, &feed{}) })
	if err := attached(ctx, i); err != nil {
		return told{}, err
	}
	pause(ctx, time.Second)
	start, sent, err := l.sendAt(ctx, vector, 3*rate, rate)
	if err != nil {
		return told{}, err
	}
	stop()
	run.Wait()
	heard.mu.Lock()
	defer heard.mu.Unlock()
	at, ok := heard.at[detect.PhaseStart]
	if !ok {
		return told{}, errors.New("nobody told of it")
	}
	x := told{after: at.Sub(start), sent: sent, vectors: heard.e[detect.PhaseStart].Attributes["vectors"]}
	for _, phase := range []string{detect.PhaseStart, detect.PhasePeak} {
		if e, ok := heard.e[phase]; ok {
			x.packets, _ = strconv.ParseFloat(e.Attributes["peak"], 64)
		}
	}
	return x, nil
}

// attached waits until the filter is in the driver.
func attached(ctx context.Context, i *scrub.Installation) error {
	for deadline := time.Now().Add(5 * time.Second); ; i.Attach() {
		if s := i.State(); s.Interfaces[0].Mode == scrub.ModeNative {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not attached: %+v", i.State())
		}
		pause(ctx, 50*time.Millisecond)
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// sendAt sends n packets and says when the first one went out, and how many a
// second there really were.
func (l *link) sendAt(ctx context.Context, vector string, n int, rate float64) (start time.Time, perSecond float64, err error) {
	err = l.out(func() error {
		g, err := flood.New("dv1")
		if err != nil {
			return err
		}
		defer g.Close()
		p, err := flood.For(vector, flood.Target{Addr: netip.MustParseAddr(server), From: net.HardwareAddr{2, 0, 0, 0, 0, 1}, To: net.HardwareAddr{2, 0, 0, 0, 0, 7}})
		if err != nil {
			return err
		}
		start = time.Now()
		sent, err := g.Send(ctx, p, n, rate)
		perSecond = float64(sent) / time.Since(start).Seconds()
		return err
	})
	return start, perSecond, err
}

// peers is FastNetMon's median, by the time at which it calls its script.
func (l *link) peers() (time.Duration, error) {
	if _, err := exec.LookPath("fastnetmon"); err != nil {
		return 0, errors.New("fastnetmon is not installed: its row is left out")
	}
	dir, err := os.MkdirTemp("", "dun-bench-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	b, err := os.ReadFile("/etc/fastnetmon.conf")
	if err != nil {
		return 0, err
	}
	said := filepath.Join(dir, "said")
	set := map[string]string{
		"disable_usage_report": "on", "networks_list_path": dir + "/networks", "white_list_path": dir + "/white", "mirror_afpacket": "on", "interfaces": "dv0",
		"threshold_pps": strconv.Itoa(threshold), "ban_for_bandwidth": "off", "notify_script_path": dir + "/notify", "ban_time": "5", "pid_path": dir + "/pid",
		"cli_stats_file_path": dir + "/stats", "enable_api": "off", "exabgp": "off",
	}
	var lines []string
	for _, line := range strings.Split(string(b), "\n") {
		key, _, _ := strings.Cut(line, "=")
		if v, ok := set[strings.TrimSpace(key)]; ok {
			line = strings.TrimSpace(key) + " = " + v
		}
		lines = append(lines, line)
	}
	for name, text := range map[string]string{
		"conf": strings.Join(lines, "\n"), "networks": server + "/32\n", "white": "", "notify": "#!/bin/sh\ndate +%s.%N >> " + said + "\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			return 0, err
		}
	}
	var all []time.Duration
	for range peerRuns {
		after, err := l.peer(dir, said)
		if err != nil {
			return 0, err
		}
		all = append(all, after)
	}
	slices.Sort(all)
	return all[len(all)/2], nil
}

func (l *link) peer(dir, said string) (time.Duration, error) {
	_ = os.Remove(said)
	ctx, stop := context.WithTimeout(context.Background(), 40*time.Second)
	defer stop()
	cmd := exec.CommandContext(ctx, "fastnetmon", "--configuration_file", dir+"/conf", "--log_file", dir+"/log", "--disable_pid_logic")
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	defer func() { stop(); _ = cmd.Wait() }()
	pause(ctx, 6*time.Second) // it learns what is usual
	begun := make(chan time.Time, 1)
	done := make(chan error, 1)
	go func() {
		begun <- time.Now()
		_, _, err := l.sendAt(ctx, "udp", 20*rate, rate)
		done <- err
	}()
	start := <-begun
	for ctx.Err() == nil {
		if b, err := os.ReadFile(said); err == nil && len(b) > 0 {
			first, _, _ := strings.Cut(string(b), "\n")
			at, err := strconv.ParseFloat(first, 64)
			if err != nil {
				return 0, err
			}
			stop()
			<-done
			return time.Duration(at*1e9) - time.Duration(start.UnixNano()), nil
		}
		pause(ctx, 20*time.Millisecond)
	}
	log, _ := os.ReadFile(dir + "/log")
	return 0, fmt.Errorf("fastnetmon says nothing: %.400s", log)
}
