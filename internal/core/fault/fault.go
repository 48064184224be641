// Package fault holds the eight error codes that every face of Dun shares:
// HTTP status, CLI exit code and console message all follow from the code.
// It owns the mapping; it never logs, and it never carries internals to users:
// the wrapped cause is for the operator's log only.
package fault

import (
	"errors"
	"time"

	"github.com/dun-sec/dun/internal/core/text"
)

// Code is one of the eight error codes (formats.md, HTTP).
type Code string

// The codes. A code is stable for ever: clients branch on it.
const (
	Invalid         Code = "invalid"
	Unauthenticated Code = "unauthenticated"
	Forbidden       Code = "forbidden"
	NotFound        Code = "not_found"
	Conflict        Code = "conflict"
	Exhausted       Code = "exhausted"
	Unavailable     Code = "unavailable"
	Internal        Code = "internal"
)

type codeInfo struct {
	status, exit int
	title        text.Text
}

func info(c Code) codeInfo {
	switch c {
	case Invalid:
		return codeInfo{400, 2, text.T("Invalid input", "输入无效")}
	case Unauthenticated:
		return codeInfo{401, 3, text.T("Not signed in", "未登录")}
	case Forbidden:
		return codeInfo{403, 4, text.T("Forbidden", "无权限")}
	case NotFound:
		return codeInfo{404, 5, text.T("Not found", "未找到")}
	case Conflict:
		return codeInfo{409, 6, text.T("Conflict", "冲突")}
	case Exhausted:
		return codeInfo{429, 7, text.T("Limit reached", "超出限制")}
	case Unavailable:
		return codeInfo{503, 8, text.T("Unavailable", "暂不可用")}
	}
	return codeInfo{500, 1, text.T("Internal error", "内部错误")}
}

// Status is the HTTP status of the code.
func (c Code) Status() int { return info(c).status }

// Exit is the exit code of the command line (design section 5).
func (c Code) Exit() int { return info(c).exit }

// Title is the short name of the code for people.
func (c Code) Title() text.Text { return info(c).title }

// Known reports whether c is one of the eight codes.
func (c Code) Known() bool { return c == Internal || info(c).status != 500 }

// Field is one wrong field and the reason.
type Field struct {
	Path   string // as in "spec.hosts[0]"; "" is the whole document
	Reason text.Text
}

// Error is an error that a user may see: what is wrong and the way out.
type Error struct {
	Code       Code
	Detail     text.Text
	Fields     []Field
	Policies   []string      // ids of the policies that decided; only where reading is allowed
	Missing    []text.Text   // what would have allowed it; likewise
	RetryAfter time.Duration // for exhausted and unavailable; 0 = unknown
	cause      error
}

// New makes an error with a detail in both languages.
func New(c Code, en, zh string, args ...any) *Error {
	return &Error{Code: c, Detail: text.F(en, zh, args...)}
}

// Fields makes an invalid error from wrong fields; nil when there are none.
func Fields(fields []Field) error {
	if len(fields) == 0 {
		return nil
	}
	e := New(Invalid, "%d wrong fields", "%d 个字段有误", len(fields))
	if len(fields) == 1 {
		e.Detail = text.T("one wrong field", "1 个字段有误")
	}
	e.Fields = fields
	return e
}

// Because keeps the cause for the operator's log; users never see it.
func (e *Error) Because(err error) *Error { e.cause = err; return e }

// Error is for logs: English, with fields and cause.
func (e *Error) Error() string {
	s := string(e.Code) + ": " + e.Detail.En
	for _, f := range e.Fields {
		s += "; " + f.Path + ": " + f.Reason.En
	}
	if e.cause != nil {
		s += ": " + e.cause.Error()
	}
	return s
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.cause }

// Of finds the Error in a chain. Any other error becomes an internal one whose
// detail says nothing: internals are for the operator's log, joined by request id.
func Of(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return New(Internal, "internal error", "内部错误").Because(err)
}

// Is reports whether err carries the code.
func Is(err error, c Code) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Code == c
}
