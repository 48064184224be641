package sites

import (
	"crypto/hmac"
	"crypto/sha256"
	"net/netip"
	"strings"

	"github.com/dun-sec/dun/internal/core/id"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/kinds/edge"
)

// claim is what proves one host of one site: it is the same at each start, and
// nobody else's record gets the same.
type claim struct {
	record  string // DNS name of the TXT record; "" = DNS cannot prove it
	value   string // of the record, or the whole answer
	address string // where the value may be answered; "" = an answer cannot prove it
	host    string // to connect to for the address
}

// claimOf derives the claim. The address and the value are independent: a
// server that repeats what it was asked for proves nothing.
func claimOf(key [32]byte, site resource.Ref, host string) claim {
	word := func(what string) string {
		m := hmac.New(sha256.New, key[:])
		for _, s := range []string{"dun/host-proof/v1", what, site.Tenant, site.Name, host} {
			m.Write([]byte(s))
			m.Write([]byte{0})
		}
		return id.Encoding.EncodeToString(m.Sum(nil)[:16])
	}
	c := claim{value: "dun-host-proof=" + word("value")}
	base, wild := strings.CutPrefix(host, "*.")
	if _, err := netip.ParseAddr(host); err != nil {
		c.record = edge.ProofLabel + "." + base
	}
	if !wild { // who answers for one name below it does not have them all
		c.host = host
		at := host
		if strings.Contains(host, ":") {
			at = "[" + host + "]"
		}
		c.address = "http://" + at + edge.ProofPath + word("address")
	}
	return c
}
