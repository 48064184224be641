package edge

import "time"

// States of a host.
const (
	HostFree    = "free"    // needs no proof
	HostProven  = "proven"  // and served
	HostPending = "pending" // nothing was found yet
	HostFailed  = "failed"  // something else was found, or nothing could be looked up
)

// ProofPath is where a host may answer what proves it; no edge forwards it.
const ProofPath = "/.well-known/dun-host-proof/"

// ProofLabel is the label before the host's name in DNS.
const ProofLabel = "_dun-host-proof"

// SiteStatus is how a site stands.
type SiteStatus struct {
	Hosts   []HostStatus   `json:"hosts,omitempty" en:"Hosts" zh:"域名"`
	Origins []OriginStatus `json:"origins,omitempty" en:"Origins" zh:"源站"`
}

// HostStatus is how one host stands, and what would prove it: the DNS record,
// or the answer at the address.
type HostStatus struct {
	Host      string     `json:"host" en:"Host" zh:"域名"`
	State     string     `json:"state" en:"State" zh:"状态" help:"free, proven, pending or failed; only free and proven ones are served" help_zh:"free、proven、pending 或 failed;仅 free 与 proven 提供服务"`
	Method    string     `json:"method,omitempty" en:"Method" zh:"方式"`
	Since     *time.Time `json:"since,omitempty" en:"Waits since" zh:"等待起始" help:"7d after this another site may take the host" help_zh:"此后 7d 其他站点可以占用该域名"`
	Checked   *time.Time `json:"checked,omitempty" en:"Checked" zh:"检查时间"`
	Message   string     `json:"message,omitempty" en:"Message" zh:"说明(英文)"`
	MessageZh string     `json:"messageZh,omitempty" en:"Message in Chinese" zh:"说明"`
	Record    string     `json:"record,omitempty" en:"TXT record" zh:"TXT 记录名" help:"Name of the DNS record that proves the host" help_zh:"用于验证域名的 DNS 记录名"`
	Value     string     `json:"value,omitempty" en:"Its value" zh:"记录值" help:"Of the TXT record, or the whole answer of the address" help_zh:"TXT 记录的值,或该地址的完整应答"`
	Address   string     `json:"address,omitempty" en:"Or address" zh:"或地址" help:"Where the value may be served instead, with status 200" help_zh:"也可在此地址以 200 状态提供该值"`
}

// OriginStatus is how one origin stands on a node.
type OriginStatus struct {
	Origin  string     `json:"origin" en:"Origin" zh:"源站"`
	Node    string     `json:"node,omitempty" en:"Node" zh:"节点"`
	Breaker string     `json:"breaker" en:"Circuit breaker" zh:"熔断" help:"closed, open or halfOpen" help_zh:"closed、open 或 halfOpen"`
	Since   *time.Time `json:"since,omitempty" en:"Since" zh:"起始时间"`
	Health  string     `json:"health,omitempty" en:"Health" zh:"健康" help:"up or down; empty = not checked" help_zh:"up 或 down;空 = 未检查"`
}
