package sites

import (
	"context"
	"errors"
	"reflect"
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/text"
	"github.com/dun-sec/dun/internal/kinds/edge"
)

// report writes the statuses that are not what they should be.
func (w *watch) report(ctx context.Context) {
	for ref, s := range w.sites {
		next := w.status(ref, s)
		if was, ok := s.Status.(*edge.SiteStatus); ok && was != nil && reflect.DeepEqual(was, next) {
			continue
		}
		o, err := w.opt.Gate.SetStatus(ctx, w.actor, resource.Ref{Kind: "Site", Tenant: ref.Tenant, Name: ref.Name, UID: s.Metadata.UID}, next)
		switch {
		case err == nil && o.Metadata.Revision == s.Metadata.Revision:
			s.Object = o // the feed brings the same a moment later
		case err != nil && ctx.Err() == nil && !fault.Is(err, fault.NotFound):
			w.opt.Log.Error("the status of a site is not reported", "kind", "Site", "tenant", ref.Tenant, "name", ref.Name, "err", err)
		}
	}
}

func (w *watch) status(ref resource.Ref, s *site) *edge.SiteStatus {
	out := &edge.SiteStatus{}
	for _, name := range s.Spec.(*edge.SiteSpec).Hosts {
		out.Hosts = append(out.Hosts, w.host(ref, s, name))
	}
	if w.opt.Origins != nil {
		out.Origins = w.opt.Origins(ref.Tenant, ref.Name)
	}
	return out
}

func (w *watch) host(ref resource.Ref, s *site, name string) edge.HostStatus {
	out := edge.HostStatus{Host: name, State: edge.HostFree}
	h := s.hosts[name]
	if h == nil {
		return out
	}
	state, _ := s.State.(*edge.SiteState)
	if state != nil {
		out.Method = state.Method(name)
		if !state.Proofs {
			out.Method = edge.ProvenEarlier
		}
	}
	out.Checked = moment(h.last)
	if edge.Serves(s.Object, name) {
		out.State = edge.HostProven
		if !h.last.IsZero() && h.found.method == "" && out.Method != edge.ProvenOperator {
			out.Message, out.MessageZh = h.found.why.En, h.found.why.Zh // it stays served: a warning
			out.Record, out.Value, out.Address = h.record, h.value, h.address
		}
		return out
	}
	out.State, out.Since = edge.HostPending, moment(h.since)
	if h.found.failed {
		out.State = edge.HostFailed
	}
	why := h.found.why
	if h.last.IsZero() {
		why = text.T("It was not looked for yet.", "尚未检查。")
	}
	todo := text.T("Set the TXT record, or answer its value at the address; then: dun do check site "+ref.Name+" --tenant "+ref.Tenant,
		"请设置 TXT 记录,或在该地址以其值应答;然后运行:dun do check site "+ref.Name+" --tenant "+ref.Tenant)
	out.Message, out.MessageZh = why.En+" "+todo.En, why.Zh+todo.Zh
	out.Record, out.Value, out.Address = h.record, h.value, h.address
	return out
}

func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC().Truncate(time.Second)
	return &t
}

// refusal says why a proof that was found is not noted.
func refusal(err error) text.Text {
	var f *fault.Error
	if errors.As(err, &f) && f.Code == fault.Conflict {
		return text.T("The proof was found, but the host is another site's, or the record was changed just now.", "已找到证明,但该域名属于其他站点,或记录刚刚被更改。")
	}
	return text.T("The proof was found and could not be noted.", "已找到证明,但未能记录。")
}
