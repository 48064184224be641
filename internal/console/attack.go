package console

import (
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/dun-sec/dun/internal/console/part"
	"github.com/dun-sec/dun/internal/core/resource"
)

// attackView is an attack, ready to be shown. The kind is known by its fields,
// as everything is here.
type attackView struct {
	path                  string // of its page
	address, site, way    string
	vectors, prints       []string
	start, end            time.Time // end: zero = it lasts
	packets, bits         float64   // at the peak, a second
	refused, peak         string    // of a site
	lines                 []part.Line
	points, step          string
	stopped               []counter
	passed                float64
	through               string // the share of what passed
	counted               bool
	lease                 time.Time
	packetsKept           string // "" = nothing was kept
	size, sum, taken, ref string
	mayTake               bool
	href                  string // of the address; "" = unknown here
}

// counter is what one rule did.
type counter struct {
	reason  string
	packets float64
	share   string
}

// tree reads fields of a record that is known by their names alone.
type tree map[string]any

func (t tree) in(name string) tree { x, _ := t[name].(map[string]any); return x }

func (t tree) text(name string) string { return scalar(t[name]) }

func (t tree) number(name string) float64 {
	n, err := strconv.ParseFloat(scalar(t[name]), 64)
	if err != nil {
		return 0
	}
	return n
}

func (t tree) time(name string) time.Time {
	at, err := time.Parse(time.RFC3339Nano, t.text(name))
	if err != nil {
		return time.Time{}
	}
	return at
}

func (t tree) list(name string) (out []string) {
	all, _ := t[name].([]any)
	for _, x := range all {
		out = append(out, scalar(x))
	}
	return out
}

// attackOf is nil for other kinds.
func (v *visit) attackOf(k *resource.Kind, o *resource.Object) (*attackView, error) {
	a, err := v.attackSummary(k, o)
	if a != nil && a.address != "" && v.c.opt.Floods != nil {
		a.href = v.trafficOf(o.Metadata.Tenant, a.address)
	}
	return a, err
}

func (v *visit) attackSummary(k *resource.Kind, o *resource.Object) (*attackView, error) {
	if k.Name != attackKind {
		return nil, nil
	}
	all, err := resource.Tree(o)
	if err != nil {
		return nil, err
	}
	spec, state, status := tree(all).in("spec"), tree(all).in("state"), tree(all).in("status")
	a := &attackView{
		path: recordPath(k, o.Metadata.Tenant, o.Metadata.Name), address: spec.text("address"), site: spec.text("site"), way: status.text("direction"), start: spec.time("start"), end: state.time("end"),
		vectors: status.list("vectors"), prints: v.prints(status.text("fingerprint")), packets: status.number("peakPackets"), bits: status.number("peakBits"),
		refused: status.text("count"), peak: status.text("peak"), passed: status.number("passed"), lease: status.time("lease"),
	}
	if len(a.vectors) == 0 {
		a.vectors = spec.list("vectors")
	}
	if e := state.in("evidence"); e != nil {
		a.packetsKept, a.size, a.sum, a.taken, a.ref = e.text("packets"), sized(uint64(e.number("bytes"))), e.text("sha256"), e.text("taken"), e.text("reference")
		a.mayTake = v.c.opt.Evidence != nil && v.c.opt.Gate.MayAny(v.actor, "evidence.read", o.Metadata.Tenant)
	}
	v.course(a, status.in("course"))
	v.rules(a, status)
	return a, nil
}

// says reports whether the cards above show a field already.
func (a *attackView) says(path string) bool {
	for _, p := range []string{"status.course", "status.stopped", "status.lease", "status.passed", "state.evidence"} {
		if strings.HasPrefix(path, p) {
			return true
		}
	}
	return a.address != "" && (path == "status.peak" || path == "status.count") // of sites
}

// course makes the graph of what was kept of the attack's way.
func (v *visit) course(a *attackView, c tree) {
	step, err := resource.ParseDuration(c.text("step"))
	offered, stopped, passed := c.list("offered"), c.list("stopped"), c.list("passed")
	if err != nil || len(offered) < 2 || len(stopped) != len(offered) || len(passed) != len(offered) {
		return
	}
	most := func(list []string) string {
		top := 0.0
		for _, s := range list {
			n, err := strconv.ParseFloat(s, 64)
			if err == nil {
				top = max(top, n)
			}
		}
		return v.t("at most ", "最高 ") + short(top)
	}
	a.lines = []part.Line{{Name: v.t("offered", "到达"), Tint: "soft", Now: most(offered)}, {Name: v.t("stopped", "拦下"), Tint: "bad", Now: most(stopped)}, {Name: v.t("passed", "放行"), Tint: "good", Now: most(passed)}}
	a.points = strings.Join(offered, ",") + ";" + strings.Join(stopped, ",") + ";" + strings.Join(passed, ",")
	a.step = strconv.FormatFloat(time.Duration(step).Seconds(), 'f', -1, 64)
}

func (v *visit) rules(a *attackView, status tree) {
	list, _ := status["stopped"].([]any)
	a.counted = len(list) > 0 || a.passed > 0
	all := a.passed
	for _, x := range list {
		row, _ := x.(map[string]any)
		n := tree(row).number("packets")
		all += n
		a.stopped = append(a.stopped, counter{reason: v.reason(tree(row).text("reason")), packets: n})
	}
	share := func(n float64) string { return strconv.FormatFloat(100*n/max(all, 1), 'f', 1, 64) + " %" }
	for i := range a.stopped {
		a.stopped[i].share = share(a.stopped[i].packets)
	}
	a.through = share(a.passed)
}

// lasted is how long the attack was, or is by now.
func (a *attackView) lasted(now time.Time) time.Duration {
	if !a.end.IsZero() {
		now = a.end
	}
	return max(0, now.Sub(a.start))
}

// evidence sends the packets that were kept of an attack. Who may have them is
// asked where they are opened, which tells the audit log, too.
func (c *Console) evidence(v *visit) error {
	k, o, err := v.found()
	if err != nil {
		return err
	}
	if k.Name != attackKind || c.opt.Evidence == nil {
		return nothingHere()
	}
	r, err := c.opt.Evidence(v.r.Context(), v.actor, o.Metadata.Tenant, o.Metadata.Name)
	if err != nil {
		return err
	}
	defer r.Close()
	h := v.w.Header()
	h.Set("Content-Type", "application/vnd.tcpdump.pcap")
	h.Set("Content-Disposition", `attachment; filename="`+o.Metadata.Name+`.pcap"`)
	h.Set("Content-Length", strconv.FormatInt(r.Size, 10))
	if _, err := io.Copy(v.w, r); err != nil {
		return v.broken(err)
	}
	return nil
}
