package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/text"
)

// Problem is an error as clients get it (RFC 9457; formats.md, HTTP).
type Problem struct {
	Type       string         `json:"type"`
	Title      string         `json:"title"`
	Status     int            `json:"status"`
	Code       fault.Code     `json:"code"`
	Detail     string         `json:"detail,omitempty"`
	Request    string         `json:"request"`
	Errors     []ProblemField `json:"errors,omitempty"`
	Policies   []string       `json:"policies,omitempty"`
	Missing    []string       `json:"missing,omitempty"`
	RetryAfter int            `json:"retryAfter,omitempty"` // s
}

// ProblemField is one wrong field.
type ProblemField struct {
	Field  string `json:"field"`
	Reason string `json:"reason"`
}

// fail writes err as a problem. What is internal goes to the operator's log
// under the request id, and nowhere else.
func (c *call) fail(err error) {
	if w, ok := errors.AsType[*gate.Waiting](err); ok {
		if err := c.waiting(w); err != nil {
			c.api.opt.Log.Debug("client left", "req", c.req, "err", err)
		}
		return
	}
	if big, ok := errors.AsType[*http.MaxBytesError](err); ok {
		err = fault.New(fault.Invalid, "the request is larger than %d bytes", "请求超过 %d 字节", big.Limit)
	}
	e := fault.Of(err)
	if e.Code == fault.Internal || e.Code == fault.Unavailable {
		c.api.opt.Log.Error("request failed", "req", c.req, "err", err)
	}
	p := problemOf(c, err)
	if e.RetryAfter > 0 {
		c.w.Header().Set("Retry-After", strconv.Itoa(p.RetryAfter))
	}
	if e.Code == fault.Unauthenticated {
		c.w.Header().Set("WWW-Authenticate", "Bearer")
	}
	c.w.Header().Set("Content-Type", "application/problem+json")
	c.w.Header().Set("Content-Language", string(c.lang))
	c.w.WriteHeader(p.Status)
	enc := json.NewEncoder(c.w)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(p); err != nil {
		c.api.opt.Log.Debug("client left", "req", c.req, "err", err)
	}
}

// problemOf is what a caller may see of err, in his language.
func problemOf(c *call, err error) Problem {
	e := fault.Of(err)
	p := Problem{
		Type: "urn:dun:error:" + string(e.Code), Title: e.Code.Title().In(c.lang), Status: e.Code.Status(), Code: e.Code,
		Detail: e.Detail.In(c.lang), Request: c.req, Policies: e.Policies, Missing: inLang(e.Missing, c.lang),
	}
	for _, f := range e.Fields {
		p.Errors = append(p.Errors, ProblemField{Field: f.Path, Reason: f.Reason.In(c.lang)})
	}
	if e.RetryAfter > 0 {
		p.RetryAfter = max(1, int(e.RetryAfter.Seconds()))
	}
	return p
}

func (c *call) json(status int, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	c.w.Header().Set("Content-Type", "application/json")
	c.w.WriteHeader(status)
	if _, err := c.w.Write(append(b, '\n')); err != nil {
		c.api.opt.Log.Debug("client left", "req", c.req, "err", err)
	}
	return nil
}

// inLang picks the wording of each.
func inLang(list []text.Text, l text.Lang) []string {
	var out []string
	for _, t := range list {
		out = append(out, t.In(l))
	}
	return out
}
