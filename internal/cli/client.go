package cli

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/text"
)

const defaultProfile = "dun-data/bootstrap/operator.yaml"

// client speaks to one cell as one profile.
type client struct {
	profile *identity.Profile
	file    string
	http    *http.Client
	lang    text.Lang
	reg     *resource.Registry
}

// profilePath is --profile, else $DUN_PROFILE, else the usual place.
func (a *app) profilePath() string {
	if a.profileFile != "" {
		return a.profileFile
	}
	if v := os.Getenv(ProfileVariable); v != "" {
		return v
	}
	return defaultProfile
}

func (a *app) connect() (*client, error) {
	file := a.profilePath()
	p, err := identity.ReadProfile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New(fault.Unauthenticated, "no profile at %s; start a cell with dun up, then export DUN_PROFILE=DIR/bootstrap/operator.yaml",
			"找不到配置 %s;请先用 dun up 启动,然后 export DUN_PROFILE=DIR/bootstrap/operator.yaml", file).Because(err)
	}
	if err != nil {
		return nil, fault.New(fault.Invalid, "profile %s: %s", "配置 %s:%s", file, err.Error()).Because(err)
	}
	return a.clientOf(p, file)
}

func (a *app) clientOf(p *identity.Profile, file string) (*client, error) {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(p.CAPEM)) {
		return nil, fault.New(fault.Invalid, "profile %s: caPEM holds no certificate", "配置 %s:caPEM 中没有证书", file)
	}
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true}
	return &client{profile: p, file: file, http: &http.Client{Transport: tr}, lang: a.lang, reg: a.opt.Registry}, nil
}

// reach finds the kind that was typed and connects.
func (a *app) reach(kind string) (*resource.Kind, *client, error) {
	k, err := a.opt.Registry.Find(kind)
	if err != nil {
		return nil, nil, err
	}
	c, err := a.connect()
	return k, c, err
}

// request is one call of the API.
type request struct {
	method, path string
	query        url.Values
	body         any
	contentType  string
	header       map[string]string
}

// reply is what came back with a 2xx status.
type reply struct {
	header http.Header
	body   []byte
}

const maxReply = 64 << 20

// do carries out a call; a problem comes back as the fault it stands for.
func (c *client) do(ctx context.Context, r request) (*reply, error) {
	res, err := c.send(ctx, r)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, maxReply))
	if err != nil {
		return nil, c.unreachable(err)
	}
	return &reply{res.Header, b}, nil
}

// send returns the open response, for replies that are streamed.
func (c *client) send(ctx context.Context, r request) (*http.Response, error) {
	var body io.Reader
	if r.body != nil {
		b, err := json.Marshal(r.body)
		if err != nil {
			return nil, fmt.Errorf("encode a request: %w", err)
		}
		body = bytes.NewReader(b)
	}
	u := c.profile.Server + r.path
	if len(r.query) > 0 {
		u += "?" + r.query.Encode()
	}
	return c.sendTo(ctx, r, u, body)
}

// sendRaw sends bytes as they are, for a secret.
func (c *client) sendRaw(ctx context.Context, method, path string, content []byte, header map[string]string) (*reply, error) {
	res, err := c.sendTo(ctx, request{method: method, contentType: "application/octet-stream", header: header}, c.profile.Server+path, bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, maxReply))
	if err != nil {
		return nil, c.unreachable(err)
	}
	return &reply{res.Header, b}, nil
}

func (c *client) sendTo(ctx context.Context, r request, u string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, r.method, u, body)
	if err != nil {
		return nil, fault.New(fault.Invalid, "profile %s: server %q is no address", "配置 %s:server %q 不是有效地址", c.file, c.profile.Server).Because(err)
	}
	if c.profile.Session.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.profile.Session.Token)
	}
	req.Header.Set("Accept-Language", string(c.lang))
	if r.contentType != "" {
		req.Header.Set("Content-Type", r.contentType)
	}
	for k, v := range r.header {
		req.Header.Set(k, v)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreachable(err)
	}
	if res.StatusCode == http.StatusAccepted {
		defer res.Body.Close()
		return nil, waitsOf(res.Body)
	}
	if res.StatusCode >= 300 {
		defer res.Body.Close()
		return nil, c.problem(res)
	}
	return res, nil
}

func (c *client) unreachable(err error) error {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return fault.New(fault.Unavailable, "%s shows a certificate of another authority than the profile's; is it another cell?", "%s 的证书并非由配置中的根证书签发;是否连到了其他集群?", c.profile.Server).Because(err)
	}
	if ue, ok := errors.AsType[*url.Error](err); ok {
		err = ue.Err
	}
	return fault.New(fault.Unavailable, "%s does not answer (%s); is dun up running?", "%s 没有应答(%s);dun up 是否在运行?", c.profile.Server, err.Error()).Because(err)
}

func (c *client) problem(res *http.Response) error {
	var p struct {
		Code       fault.Code `json:"code"`
		Detail     string     `json:"detail"`
		Request    string     `json:"request"`
		Policies   []string   `json:"policies"`
		Missing    []string   `json:"missing"`
		RetryAfter int        `json:"retryAfter"`
		Errors     []struct {
			Field  string `json:"field"`
			Reason string `json:"reason"`
		} `json:"errors"`
	}
	b, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil || json.Unmarshal(b, &p) != nil || !p.Code.Known() {
		return fault.New(fault.Internal, "%s answered %s, which is not an answer of Dun", "%s 的应答 %s 不是 Dun 的应答", c.profile.Server, res.Status)
	}
	if p.Code == fault.Internal {
		p.Detail += " (" + text.T("request", "请求").In(c.lang) + " " + p.Request + ")"
	}
	e := fault.New(p.Code, "%s", "%s", p.Detail)
	e.Policies, e.RetryAfter = p.Policies, time.Duration(p.RetryAfter)*time.Second
	for _, m := range p.Missing {
		e.Missing = append(e.Missing, text.T(m, m))
	}
	for _, f := range p.Errors {
		e.Fields = append(e.Fields, fault.Field{Path: f.Field, Reason: text.T(f.Reason, f.Reason)})
	}
	return e
}

func recordPath(k *resource.Kind, tenant, name string) string {
	return "/api/v1/" + url.PathEscape(tenant) + "/" + k.Plural + "/" + url.PathEscape(name)
}

// object reads one record back into its kind's type, with its status.
func (c *client) object(b []byte) (*resource.Object, error) {
	o, err := c.reg.Load(b)
	if err == nil {
		err = c.takeStatus(o, b)
	}
	if err != nil {
		return nil, fault.New(fault.Internal, "the answer cannot be read; is the server of another release?", "无法读取应答;服务器版本是否不同?").Because(err)
	}
	return o, nil
}

// takeStatus reads the part that is no part of a stored record.
func (c *client) takeStatus(o *resource.Object, b []byte) error {
	var reply struct {
		Status json.RawMessage `json:"status"`
	}
	k, err := c.reg.Kind(o.Kind)
	if err == nil {
		err = json.Unmarshal(b, &reply)
	}
	if err == nil && len(reply.Status) > 0 {
		o.Status, err = k.LoadStatus(reply.Status)
	}
	return err
}

func (c *client) get(ctx context.Context, k *resource.Kind, tenant, name string) (*resource.Object, error) {
	r, err := c.do(ctx, request{method: http.MethodGet, path: recordPath(k, tenant, name)})
	if err != nil {
		return nil, err
	}
	return c.object(r.body)
}

// list reads pages until max records (0 = all).
func (c *client) list(ctx context.Context, k *resource.Kind, tenant, labels string, most int) ([]*resource.Object, error) {
	out := []*resource.Object{}
	after := ""
	for {
		q := url.Values{"limit": {strconv.Itoa(1000)}}
		if labels != "" {
			q.Set("labels", labels)
		}
		if after != "" {
			q.Set("after", after)
		}
		r, err := c.do(ctx, request{method: http.MethodGet, path: "/api/v1/" + url.PathEscape(tenant) + "/" + k.Plural, query: q})
		if err != nil {
			return nil, err
		}
		var page struct {
			Items []json.RawMessage `json:"items"`
			Next  string            `json:"next"`
		}
		if err := json.Unmarshal(r.body, &page); err != nil {
			return nil, fmt.Errorf("read a list: %w", err)
		}
		for _, raw := range page.Items {
			o, err := c.object(raw)
			if err != nil {
				return nil, err
			}
			out = append(out, o)
			if most > 0 && len(out) == most {
				return out, nil
			}
		}
		if after = page.Next; after == "" {
			return out, nil
		}
	}
}
