package nodes

import (
	"bufio"
	"crypto/ecdsa"
	"encoding/json"
	"io"
	"net/http"
	"slices"

	"github.com/dun-sec/dun/internal/core/events"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/nodelink"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/rpc"
	"github.com/dun-sec/dun/internal/core/secret"
	"github.com/dun-sec/dun/internal/core/verdicts"
	"github.com/dun-sec/dun/internal/kinds/edge"
	"github.com/dun-sec/dun/internal/kinds/system"
)

// read decodes a message; fields that this release does not know are left out,
// since a node may be of another one.
func read(r *http.Request, into any) error {
	if err := json.NewDecoder(r.Body).Decode(into); err != nil {
		return fault.New(fault.Invalid, "the message cannot be read", "无法读取消息").Because(err)
	}
	return nil
}

func reply(w http.ResponseWriter, v any) error {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	_ = json.NewEncoder(w).Encode(v) // who left does not hear it
	return nil
}

func off(what string) error {
	return fault.New(fault.Unavailable, "%s are not kept here", "此处不保存 %s", what)
}

// refused leaves a leaf for what a node must not ask.
func (h *Hub) refused(r *http.Request, p rpc.Peer, about resource.Ref, action, en, zh string, args ...any) error {
	h.opt.Gate.RefusedAt(actor(r, p), about, action)
	return fault.New(fault.Forbidden, en, zh, args...)
}

// key seals the private key of a Certificate to the node that serves it. What
// the node may not see is not found; what is not in force it does not need.
func (h *Hub) key(w http.ResponseWriter, r *http.Request, p rpc.Peer) error {
	var in nodelink.KeyRequest
	if err := read(r, &in); err != nil {
		return err
	}
	if h.opt.Secrets == nil {
		return off("secrets")
	}
	owner := in.Owner
	owner.Kind = "Certificate"
	o, err := h.opt.Gate.Get(r.Context(), actor(r, p), owner)
	if err != nil {
		return err
	}
	if _, ref, ok := edge.InForce(o); !ok || ref != in.Ref || in.Purpose != edge.KeyPurpose {
		return h.refused(r, p, o.Ref(), "secret.seal", "that is no key that is in force", "该密钥并非生效中的密钥")
	}
	sealed, err := h.opt.Secrets.SealTo(r.Context(), h.me, o.Ref(), secret.Ref(in.Ref), in.Purpose, nodelink.NodeRef(p.Principal.Name), in.Public)
	if err != nil {
		return err
	}
	return reply(w, nodelink.KeyReply{Sealed: sealed})
}

// nobody is the name in the certificate that answers unknown names.
const nobody = "dun.invalid"

// certificates signs for hosts of sites that are placed on the node.
func (h *Hub) certificates(w http.ResponseWriter, r *http.Request, p rpc.Peer) error {
	var in nodelink.CertificatesRequest
	if err := read(r, &in); err != nil {
		return err
	}
	key, err := publicKey(in.Public)
	if err != nil {
		return err
	}
	if len(in.Hosts) > nodelink.MaxHosts {
		return fault.New(fault.Invalid, "at most %d hosts at once", "一次最多 %d 个主机", nodelink.MaxHosts)
	}
	out := nodelink.CertificatesReply{Certificates: make([][]byte, len(in.Hosts))}
	for i, x := range in.Hosts {
		if out.Certificates[i], err = h.certificate(r, p, x, key); err != nil {
			return err
		}
	}
	return reply(w, out)
}

func (h *Hub) certificate(r *http.Request, p rpc.Peer, x nodelink.HostOf, key *ecdsa.PublicKey) ([]byte, error) {
	if x.Host == nobody {
		return h.opt.Authority.IssueFor(key, nobody)
	}
	site := x.Site
	site.Kind, site.UID = "Site", ""
	o, err := h.opt.Gate.Get(r.Context(), actor(r, p), site)
	if fault.Is(err, fault.NotFound) {
		return nil, nil // it went, or is not for this node: a leaf tells of it
	}
	if err != nil {
		return nil, err
	}
	if !slices.Contains(o.Spec.(*edge.SiteSpec).Hosts, x.Host) {
		h.opt.Gate.RefusedAt(actor(r, p), o.Ref(), "certificate.sign")
		return nil, nil
	}
	return h.opt.Authority.IssueFor(key, x.Host)
}

// events keeps what a node saw, under its name and for its tenants alone.
func (h *Hub) events(w http.ResponseWriter, r *http.Request, p rpc.Peer) error {
	if h.opt.Events == nil {
		return off("events")
	}
	o, err := h.record(r.Context(), p.Principal.Name)
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(r.Body)
	lines.Buffer(nil, 64<<10)
	var list []events.Event
	for lines.Scan() {
		var e events.Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil || len(list) == nodelink.MaxEvents {
			return fault.New(fault.Invalid, "the events cannot be read, or are more than %d", "无法读取事件,或超过 %d 个", nodelink.MaxEvents).Because(err)
		}
		if e.Node != p.Principal.Name || !tells(o, e.Tenant) || !sees(o, e.Part) {
			return h.refused(r, p, resource.Ref{Kind: "Event", Tenant: e.Tenant}, "event.ship", "the node %s tells of what it cannot have seen", "节点 %s 上报了其不可能看到的事件", p.Principal.Name)
		}
		list = append(list, e)
	}
	if err := lines.Err(); err != nil {
		return fault.New(fault.Invalid, "the events cannot be read", "无法读取事件").Because(err)
	}
	for _, e := range list {
		h.opt.Events.Add(e)
	}
	if err := h.opt.Events.Flush(r.Context()); err != nil {
		return fault.New(fault.Unavailable, "the events are not kept", "事件未保存").Because(err)
	}
	return reply(w, struct{}{})
}

// sees reports whether a node has the part that an event is of.
func sees(o *resource.Object, part string) bool {
	switch part {
	case "events":
		return true
	case "detect":
		part = "scrub"
	}
	return slices.Contains(o.Spec.(*system.NodeSpec).Roles, part)
}

// floods takes what the node's filter counted of tenants that are placed there,
// and gives back what is to be done about attacks on them.
func (h *Hub) floods(w http.ResponseWriter, r *http.Request, p rpc.Peer) error {
	var in nodelink.FloodReport
	if err := read(r, &in); err != nil {
		return err
	}
	if h.opt.Floods == nil {
		return off("floods")
	}
	if err := in.Check(); err != nil {
		return err
	}
	o, err := h.record(r.Context(), p.Principal.Name)
	if err != nil {
		return err
	}
	foreign := func(ref resource.Ref) bool { return !placed(o, ref.Tenant) }
	var about resource.Ref
	for i := range in.Counts {
		if ref := in.Counts[i].Object(); foreign(ref) {
			about = ref
		}
	}
	for i := range in.Samples {
		if ref := in.Samples[i].Object(); foreign(ref) {
			about = ref
		}
	}
	for i := range in.Live {
		if ref := in.Live[i].Object(); foreign(ref) {
			about = ref
		}
	}
	if !sees(o, "scrub") || about.Name != "" {
		return h.refused(r, p, about, "flood.report", "the node %s filters no such address", "节点 %s 不过滤该地址", p.Principal.Name)
	}
	all := h.opt.Floods.Take(p.Principal.Name, in)
	out := nodelink.FloodReply{Try: all.Try}
	for _, x := range all.Orders {
		if placed(o, x.Tenant) && len(out.Orders) < nodelink.MaxFloodOrders {
			out.Orders = append(out.Orders, x)
		}
	}
	return reply(w, out)
}

// usage keeps what the node's sites took.
func (h *Hub) usage(w http.ResponseWriter, r *http.Request, p rpc.Peer) error {
	var in nodelink.UsageReport
	if err := read(r, &in); err != nil {
		return err
	}
	if h.opt.Usage == nil {
		return off("usage")
	}
	o, err := h.record(r.Context(), p.Principal.Name)
	if err != nil {
		return err
	}
	for _, e := range in.Entries {
		if !tells(o, e.Tenant) || !resource.ValidName(e.Tenant) || e.Site != "" && !resource.ValidName(e.Site) {
			return h.refused(r, p, resource.Ref{Kind: "Tenant", Tenant: resource.Platform, Name: e.Tenant}, "usage.report", "the node %s serves no such tenant", "节点 %s 不服务该租户", p.Principal.Name)
		}
	}
	if err := h.opt.Usage.Add(r.Context(), h.opt.Now(), in.Entries); err != nil {
		return err
	}
	return reply(w, struct{}{})
}

func (h *Hub) digest(w http.ResponseWriter, r *http.Request, p rpc.Peer) error {
	return h.repair(w, r, p, func(s verdicts.View, b []byte) ([]byte, error) {
		want, err := s.Differ(b)
		if err != nil {
			return nil, err
		}
		return json.Marshal(nodelink.DigestReply{Digest: s.Digest(), Request: want})
	})
}

func (h *Hub) entries(w http.ResponseWriter, r *http.Request, p rpc.Peer) error {
	return h.repair(w, r, p, verdicts.View.Entries)
}

func (h *Hub) merge(w http.ResponseWriter, r *http.Request, p rpc.Peer) error {
	return h.repair(w, r, p, func(s verdicts.View, b []byte) ([]byte, error) {
		_, err := s.Merge(b)
		return []byte("{}"), err
	})
}

// repair is one half of an exchange of verdicts (core/verdicts): of the tenants
// that are placed on the node, and of the whole cell.
func (h *Hub) repair(w http.ResponseWriter, r *http.Request, p rpc.Peer, f func(verdicts.View, []byte) ([]byte, error)) error {
	if h.opt.Verdicts == nil {
		return off("verdicts")
	}
	o, err := h.record(r.Context(), p.Principal.Name)
	if err != nil {
		return err
	}
	in, err := io.ReadAll(r.Body)
	if err != nil {
		return fault.New(fault.Invalid, "the message cannot be read", "无法读取消息").Because(err)
	}
	out, err := f(h.opt.Verdicts.View(func(_, key string) bool {
		tenant := verdicts.TenantOf(key)
		return tenant == "" || placed(o, tenant)
	}), in)
	if err != nil {
		return err
	}
	_, _ = w.Write(out) // who left does not hear it
	return nil
}

// challenge answers for an ACME authority that asked the node.
func (h *Hub) challenge(w http.ResponseWriter, r *http.Request, p rpc.Peer) error {
	var in nodelink.ChallengeRequest
	if err := read(r, &in); err != nil {
		return err
	}
	o, err := h.record(r.Context(), p.Principal.Name)
	if err != nil {
		return err
	}
	var out nodelink.ChallengeReply
	if h.opt.Challenges != nil && placed(o, in.Tenant) {
		out.Answer, out.OK = h.opt.Challenges.HTTP(in.Tenant, in.Host, in.Path)
	}
	return reply(w, out)
}

// renew signs the key that the node has once more.
func (h *Hub) renew(w http.ResponseWriter, r *http.Request, p rpc.Peer) error {
	key, ok := r.TLS.PeerCertificates[0].PublicKey.(*ecdsa.PublicKey)
	if !ok {
		return fault.New(fault.Invalid, "the key is no P-256 key", "密钥不是 P-256 密钥")
	}
	cert, err := h.opt.Authority.IssuePrincipalFor(h.opt.Cell, nodelink.NodeRef(p.Principal.Name), key)
	if err != nil {
		return err
	}
	return reply(w, nodelink.RenewReply{Certificate: cert})
}
