package console

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/resource"
)

// certificateKind is what an upload makes.
const certificateKind = "Certificate"

// uploadPath is the page that replaces a certificate and its key.
func uploadPath(o *resource.Object) string {
	return "/certificates/new?" + url.Values{"tenant": {o.Metadata.Tenant}, "name": {o.Metadata.Name}}.Encode()
}

// faultAt says what is wrong with a field; "" = nothing is.
func faultAt(v *visit, e *fault.Error, path string) string {
	if e == nil {
		return ""
	}
	var out []string
	for _, f := range e.Fields {
		if f.Path == path {
			out = append(out, clean(f.Reason.In(v.lang), clipFull))
		}
	}
	return strings.Join(out, "; ")
}

// Origin is one origin of a site, as it is to be reached.
type Origin struct{ URL, Host, ServerName, CA string }

// OriginAnswer is what an origin said when it was tried.
type OriginAnswer struct {
	Status  int
	TLSName string // of its certificate; "" without TLS
	Took    time.Duration
}

type originResult struct {
	url string
	OriginAnswer
	why string
}

// maxOrigins is how many origins one click tries, one after the other.
const maxOrigins = 32

// testOrigins tries each origin of a site.
func (c *Console) testOrigins(v *visit) error {
	k, err := c.opt.Gate.Registry().Kind(homeKind)
	if err != nil || c.opt.TestOrigin == nil {
		return nothingHere()
	}
	ref := resource.Ref{Kind: k.Name, Tenant: v.r.PathValue("tenant"), Name: v.r.PathValue("name")}
	o, err := c.opt.Gate.Get(v.r.Context(), v.actor, ref)
	if err != nil {
		return hidden(err)
	}
	if len(c.opt.Gate.Offers(v.actor, ref, "update")) == 0 {
		return fault.New(fault.Forbidden, "only who may change %s may test its origins", "只有可更改 %s 的人才能测试其源站", ref)
	}
	tree, err := resource.Tree(o)
	if err != nil {
		return err
	}
	d, err := v.detail(k, o)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(v.r.Context(), 20*time.Second)
	defer cancel()
	spec, _ := tree["spec"].(map[string]any)
	list, _ := spec["origins"].([]any)
	for _, x := range list[:min(len(list), maxOrigins)] {
		m, _ := x.(map[string]any)
		r := originResult{url: scalar(m["url"])}
		o := Origin{URL: r.url, Host: scalar(m["host"]), ServerName: scalar(m["serverName"]), CA: scalar(m["ca"])}
		if r.OriginAnswer, err = c.opt.TestOrigin(ctx, ref.Tenant, o); err != nil {
			r.why = fault.Of(err).Detail.In(v.lang)
		}
		d.found = append(d.found, r)
	}
	return v.render(http.StatusOK, recordPage(v, d))
}

// certificate takes a certificate with its key, where there is a place for it.
func (c *Console) certificate(v *visit) error {
	if c.opt.UploadCertificate == nil {
		return nothingHere()
	}
	k, err := c.opt.Gate.Registry().Kind(certificateKind)
	if err != nil {
		return nothingHere()
	}
	if err := v.r.ParseForm(); err != nil {
		return fault.New(fault.Invalid, "the form cannot be read, or is too large", "表单无法读取或过大").Because(err)
	}
	tenant, name := v.r.Form.Get("tenant"), v.r.Form.Get("name") // from the link of a record, too
	if v.r.Method != http.MethodPost {
		return v.render(http.StatusOK, certificatePage(v, cmp.Or(tenant, v.actor.Principal.Tenant), name, "", nil))
	}
	f := func(name string) string { return strings.ReplaceAll(v.r.PostForm.Get(name), "\r\n", "\n") }
	err = c.opt.UploadCertificate(v.r.Context(), v.actor, tenant, name, f("chain"), f("key"))
	if err == nil {
		http.Redirect(v.w, v.r, recordPath(k, tenant, name)+"?done=saved", http.StatusSeeOther)
		return nil
	}
	trouble := fault.Of(err)
	if trouble.Code == fault.Internal || trouble.Code == fault.Unavailable {
		return err
	}
	return v.render(trouble.Code.Status(), certificatePage(v, tenant, name, f("chain"), trouble))
}
