package api

import (
	"io"
	"net/http"
	"strconv"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/resource"
)

// captureType is the registered media type of a packet capture.
const captureType = "application/vnd.tcpdump.pcap"

func (a *API) evidenceOperation() operation {
	return operation{id: "attackEvidence", method: http.MethodGet, path: "/api/v1/{tenant}/attacks/{name}/evidence", summary: "Packets that were kept of an attack, as a capture file; each download is a leaf", status: 200, reply: captureType, handle: a.evidence}
}

// evidence sends the packets that were kept of an attack. Who may have them is
// asked where they are opened.
func (a *API) evidence(c *call) error {
	tenant, name := c.r.PathValue("tenant"), c.r.PathValue("name")
	if !resource.ValidName(tenant) || !resource.ValidName(name) {
		return fault.New(fault.Invalid, "the path holds no valid tenant and name", "路径中的租户或名称无效")
	}
	if a.opt.Evidence == nil {
		return fault.New(fault.Unavailable, "no evidence is kept here", "此处不留存证据")
	}
	r, err := a.opt.Evidence(c.r.Context(), c.actor, tenant, name)
	if err != nil {
		return err
	}
	defer r.Close()
	h := c.w.Header()
	h.Set("Content-Type", captureType)
	h.Set("Content-Disposition", `attachment; filename="`+name+`.pcap"`)
	h.Set("Content-Length", strconv.FormatInt(r.Size, 10))
	if _, err := io.Copy(c.w, r); err != nil {
		a.opt.Log.Info("evidence cut", "req", c.req, "err", err)
		panic(http.ErrAbortHandler)
	}
	return nil
}
