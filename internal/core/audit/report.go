package audit

import (
	"errors"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/dun-sec/dun/internal/core/text"
)

// Report is what a verified bundle proves.
type Report struct {
	Origin   string
	VKey     string // key that signed the checkpoint
	Pinned   bool   // the caller named that key; otherwise the bundle brought it
	Size     int64  // leaves in the log
	Root     tlog.Hash
	Leaves   int       // leaves in the bundle
	Withheld int       // fields erased or withheld, of Leaves x Fields
	First    time.Time // earliest leaf; zero without leaves
	Last     time.Time // latest leaf
}

// VerifyError says that a file was read in full or in part and is not a true
// bundle; any other error means that it could not be read.
type VerifyError struct {
	Where string // name inside the bundle, or "byte N" of the file
	What  text.Text
	Err   error // detail; may be nil
}

// Error is one line in English. It holds no control characters of the file.
func (e *VerifyError) Error() string { return e.In(text.English) }

// In is the line in the language l; the detail in brackets stays English.
func (e *VerifyError) In(l text.Lang) string {
	s := e.Where + ": " + e.What.In(l)
	if e.Err != nil {
		s += " (" + e.Err.Error() + ")"
	}
	return s
}

// Unwrap gives the detail.
func (e *VerifyError) Unwrap() error { return e.Err }

func malformed(where string, err error) error {
	return &VerifyError{Where: where, What: text.T("malformed", "格式有误"), Err: err}
}

// notCanonical keeps the place that the comparer found, if it did.
func notCanonical(where string, err error) error {
	if ve, ok := errors.AsType[*VerifyError](err); ok {
		return ve
	}
	return malformed(where, err)
}
