package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dun-sec/dun/internal/agent/supervisor"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/telemetry"
	"github.com/dun-sec/dun/internal/core/traffic"
	"github.com/dun-sec/dun/internal/core/verdicts"
	"github.com/dun-sec/dun/internal/plane/scrub"
)

const (
	scrubService = "scrub"
	// scrubState is what netd hands of the filter beside its maps.
	scrubState  = "scrubState"
	scrubTrials = "scrubTrials"
	scrubEndure = "scrubEndure"
	attachEach  = 250 * time.Millisecond
)

// filterNames are what of a filter outlives the process: one set for each data
// directory, whatever else runs on the machine.
func filterNames(dir string) (pins, table string) {
	sum := sha256.Sum256([]byte(dir))
	id := hex.EncodeToString(sum[:6])
	return filepath.Join("/sys/fs/bpf", "dun-"+id), "dun_scrub_" + id
}

// Filter makes the privileged half of the scrubbing centre, where the
// configuration names interfaces. Where it names none, what an earlier process
// left is taken away.
func (c *Config) Filter(log *slog.Logger) func(dir string) *supervisor.Part {
	return func(dir string) *supervisor.Part {
		pins, table := filterNames(dir)
		if len(c.Scrub.Interfaces) == 0 {
			if _, err := os.Stat(pins); err == nil {
				if err := errors.Join(scrub.Remove(pins), scrub.RemoveProxy(table)); err != nil {
					log.Error("the filter of an earlier start is not gone", "err", err)
				}
			}
			return nil
		}
		f := newFilter(c.Scrub.Interfaces, pins, table)
		if f.err != nil {
			log.Error("packets are not scrubbed", "err", f.err)
		}
		return &supervisor.Part{Caps: []uint{unix.CAP_NET_ADMIN, unix.CAP_BPF}, Hand: f.hand, Keep: f.keep}
	}
}

// filter is the privileged half.
type filter struct {
	interfaces []string
	err        error // why there is none

	mu     sync.Mutex
	i      *scrub.Installation
	trying sync.Mutex  // held for seconds; apart from mu, which status waits for
	twin   *scrub.Twin // that checks attack
	noTwin error       // why there is none
}

func newFilter(interfaces []string, pins, table string) *filter {
	f := &filter{interfaces: interfaces}
	if f.i, f.err = scrub.Install(scrub.InstallOptions{Interfaces: interfaces, Pins: pins, Table: table}); f.err == nil {
		f.i.InstallProxy()
		f.twin, f.noTwin = scrub.NewTwin()
	}
	return f
}

func (f *filter) hand(name string) (*os.File, error) {
	if name == scrubState {
		return supervisor.Memo(f.state())
	}
	if f.err != nil {
		return nil, unix.ENODEV
	}
	switch name {
	case scrubTrials:
		return tried(f, func(t *scrub.Twin) ([]scrub.Trial, error) { return t.Try(nil) })
	case scrubEndure:
		return tried(f, func(t *scrub.Twin) (scrub.Endurance, error) { return t.Endure(nil) })
	}
	return f.i.Hand(name)
}

// tried hands on what was tried with the twin.
func tried[T any](f *filter, try func(*scrub.Twin) (T, error)) (*os.File, error) {
	if f.noTwin != nil {
		return nil, f.noTwin
	}
	f.trying.Lock()
	defer f.trying.Unlock()
	x, err := try(f.twin)
	if err != nil {
		return nil, err
	}
	return supervisor.Memo(x)
}

// handed reads what the same process hands.
func handed[T any](f *filter, name string) (x T, err error) {
	m, err := f.hand(name)
	if err != nil {
		return x, err
	}
	defer m.Close()
	return x, json.NewDecoder(m).Decode(&x)
}

func (f *filter) state() scrub.State {
	if f.err != nil {
		s := scrub.State{Failed: f.err.Error()}
		for _, name := range f.interfaces {
			s.Interfaces = append(s.Interfaces, scrub.Interface{Name: name, Mode: scrub.ModeOff})
		}
		return s
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.i.State()
}

// keep attaches, and again when an interface comes back.
func (f *filter) keep(ctx context.Context) {
	if f.err != nil {
		return
	}
	t := time.NewTicker(attachEach)
	defer t.Stop()
	for {
		f.mu.Lock()
		f.i.Attach()
		f.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// scrubber is the worker's half.
type scrubber struct {
	interfaces []string
	state      func() (scrub.State, error)
	trials     func() ([]scrub.Trial, error)
	endure     func() (scrub.Endurance, error)
	table      *scrub.Table
	centre     *scrub.Centre
	err        error // why there is no centre

	mu   sync.Mutex
	last scrub.State
	at   time.Time
}

// scrubHome is what a machine gives its scrubbing centre.
type scrubHome struct {
	opt       *Options
	dir, node string
	verdicts  *verdicts.Set
	readings  func(traffic.Reading)
	samples   func(traffic.Sample)
}

// openScrub takes the filter over; nil where the configuration names no
// interface. It never fails the start: what is wrong is said in the status.
func openScrub(ctx context.Context, stop *closers, home scrubHome) *scrubber {
	interfaces, netd := home.opt.Config.Scrub.Interfaces, home.opt.Netd
	if len(interfaces) == 0 {
		return nil
	}
	s := &scrubber{interfaces: interfaces}
	hand := func(name string) (*os.File, error) { return nil, unix.EPERM }
	switch {
	case netd != nil:
		hand = netd.Hand
		s.state = func() (st scrub.State, err error) { return st, netd.Read(scrubState, &st) }
		s.trials = func() (list []scrub.Trial, err error) { return list, netd.Read(scrubTrials, &list) }
		s.endure = func() (x scrub.Endurance, err error) { return x, netd.Read(scrubEndure, &x) }
	case os.Geteuid() == 0:
		pins, table := filterNames(home.dir)
		f := newFilter(interfaces, pins, table)
		hand = f.hand
		s.state = func() (scrub.State, error) { return f.state(), nil }
		s.trials = func() ([]scrub.Trial, error) { return handed[[]scrub.Trial](f, scrubTrials) }
		s.endure = func() (scrub.Endurance, error) { return handed[scrub.Endurance](f, scrubEndure) }
		go f.keep(ctx)
	default:
		s.err = errors.New("only root can filter packets; Dun was started by an ordinary user")
		return s
	}
	if s.table, s.err = scrub.Take(hand); s.err != nil {
		return s
	}
	stop.add(s.table.Close)
	s.centre = scrub.NewCentre(scrub.CentreOptions{
		Name: home.node, Table: s.table, Proxied: func() bool { return s.now().Proxy == "" }, Verdicts: home.verdicts,
		Readings: home.readings, Samples: home.samples, Log: home.opt.Log.With("part", "scrub"),
	})
	return s
}

// works reports whether packets are filtered here.
func (s *scrubber) works() bool { return s != nil && s.centre != nil }

// now is what the privileged half says, at most a second old.
func (s *scrubber) now() scrub.State {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.at) < time.Second {
		return s.last
	}
	st, err := s.state()
	if err != nil {
		st = scrub.State{Failed: err.Error(), Proxy: err.Error()}
	}
	s.last, s.at = st, time.Now()
	return st
}

// scrubKinds are those that a centre follows.
var scrubKinds = []string{"ProtectedAddress", "ScrubPolicy", "Tenant"}

// scrubs runs the centre once the records are there. Until then, and when it
// ends, the filter goes on as it was.
func (c *cell) scrubs(ctx context.Context) {
	if !c.scrub.works() {
		return
	}
	g := c.opened(ctx)
	if g == nil {
		return
	}
	feed, err := g.Watch(identity.Service(scrubService), scrubKinds, nil)
	if err == nil {
		err = c.scrub.centre.Run(ctx, feed)
	}
	if err != nil && ctx.Err() == nil {
		c.opt.Log.Error("the filter is not kept up to date", "err", err)
	}
}

// role is the state of the scrubbing centre.
func (s *scrubber) role() telemetry.Role {
	r := telemetry.Role{Name: scrubService, State: telemetry.Off, Mode: scrub.ModeOff, Interfaces: []string{}, Missing: []telemetry.Missing{}}
	if s == nil {
		r.Missing = append(r.Missing, telemetry.Missing{Need: "scrub.interfaces", Why: "the configuration names no interface", Instead: "packets are neither filtered nor counted"})
		return r
	}
	if s.err != nil {
		r.State, r.Interfaces = telemetry.Failed, s.interfaces
		why := s.err.Error()
		if s.state != nil {
			if st := s.now(); st.Failed != "" {
				why = st.Failed
			}
		}
		r.Missing = append(r.Missing, telemetry.Missing{Need: "the filter", Why: why, Instead: "packets are neither filtered nor counted"})
		return r
	}
	rev, synced := s.centre.Enforced()
	r.Revision, r.State = rev, telemetry.Starting
	if synced {
		r.State = telemetry.Enforcing
	}
	st := s.now()
	worst := map[string]int{scrub.ModeNative: 0, scrub.ModeGeneric: 1, scrub.ModeNFT: 2, scrub.ModeOff: 3}
	r.Mode = scrub.ModeNative
	for _, i := range st.Interfaces {
		r.Interfaces = append(r.Interfaces, i.Name)
		if worst[i.Mode] > worst[r.Mode] {
			r.Mode = i.Mode
		}
		if i.Why != "" {
			instead := "generic XDP, at about three times the cost"
			switch i.Mode {
			case scrub.ModeNFT:
				instead = "nftables, at about ten times the cost; no packet is sampled"
			case scrub.ModeOff:
				instead = "what comes in there is not filtered"
			}
			r.Missing = append(r.Missing, telemetry.Missing{Need: i.Name, Why: i.Why, Instead: instead})
		}
	}
	s.lacks(&r, st)
	return r
}

func (s *scrubber) lacks(r *telemetry.Role, st scrub.State) {
	lack := func(need, why, instead string) {
		if why != "" {
			r.Missing = append(r.Missing, telemetry.Missing{Need: need, Why: why, Instead: instead})
		}
	}
	lack("pinning", st.Pinned, "a restart of Dun takes the filter away for its time")
	lack("SYN proxy", st.Proxy, "SYN floods are limited, not answered by cookies")
	lack("netd", st.Failed, "the filter goes on as it was")
	if err := s.centre.Failed(); err != nil {
		lack("the newest records", err.Error(), "those before them")
	}
	var refused []string
	for ref, why := range s.centre.Refused() {
		refused = append(refused, fmt.Sprintf("%s/%s: %s", ref.Tenant, ref.Name, why))
	}
	lack("protected addresses", strings.Join(refused, "; "), "they are not protected")
	if len(r.Missing) > 0 && r.State == telemetry.Enforcing {
		r.State = telemetry.Degraded
	}
}
