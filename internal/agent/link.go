package agent

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/file"
	"github.com/dun-sec/dun/internal/core/id"
	"github.com/dun-sec/dun/internal/core/resource"
)

const (
	linkFile = "bootstrap/link"
	linkLife = 24 * time.Hour
	linkPath = "/enter"
)

// link is the one-time link by which the operator signs in to the console: one
// line in DIR/bootstrap/link. There is at most one; a new one ends the old.
//
// The token stands in the query and not behind a #: the page then needs no
// script to read it. What speaks against a query is that it stays behind in
// histories and logs. Dun logs none, pages send no referrer, and what a
// history keeps was burnt by the click that used it.
//
// The token says itself until when it holds; since the whole of it is compared
// nobody can make that later.
type link struct {
	path string
	who  resource.Ref
	now  func() time.Time

	mu      sync.Mutex
	want    [sha256.Size]byte // of the token; random when there is none
	expires time.Time
}

// openLink takes up the link that an earlier process left unburnt.
func openLink(path string, who resource.Ref, now func() time.Time) (*link, error) {
	l := &link{path: path, who: who, now: now}
	l.forget()
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err != nil {
		return nil, dirError(path, err)
	}
	// What was written by a hand and cannot be read is no link.
	if u, err := url.Parse(strings.TrimSpace(string(b))); err == nil {
		l.take(u.Query().Get("t"))
	}
	return l, nil
}

// forget leaves nothing that a token could equal.
func (l *link) forget() {
	l.want, l.expires = sha256.Sum256([]byte(id.Random(32))), time.Time{}
}

func (l *link) take(token string) {
	head, _, _ := strings.Cut(token, ".")
	n, err := strconv.ParseInt(head, 36, 64)
	if err != nil {
		return
	}
	l.want, l.expires = sha256.Sum256([]byte(token)), time.Unix(n, 0)
}

// Make writes a new link to the console at base and returns it, the only copy
// beside the file. An older one is worth nothing from then on.
func (l *link) Make(base string) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	token := strconv.FormatInt(l.now().Add(linkLife).Unix(), 36) + "." + id.Random(32)
	s := base + linkPath + "?t=" + token
	if err := file.MakeDirs(filepath.Dir(l.path), 0o700); err != nil {
		return "", dirError(l.path, err)
	}
	if err := file.Replace(l.path, 0o600, []byte(s+"\n")); err != nil {
		return "", dirError(l.path, err)
	}
	l.take(token)
	return s, nil
}

// Show returns the link while it is good, "" otherwise. It follows a door that
// was moved since the link was made.
func (l *link) Show(base string) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b, err := os.ReadFile(l.path)
	if errors.Is(err, fs.ErrNotExist) || !l.expires.After(l.now()) {
		return "", nil
	}
	if err != nil {
		return "", dirError(l.path, err)
	}
	u, err := url.Parse(strings.TrimSpace(string(b)))
	if err != nil {
		return "", nil
	}
	s := base + linkPath + "?t=" + u.Query().Get("t")
	if s+"\n" == string(b) {
		return s, nil
	}
	if err := file.Replace(l.path, 0o600, []byte(s+"\n")); err != nil {
		return "", dirError(l.path, err)
	}
	return s, nil
}

// Burn takes the link's token and says who may enter by it. When it returns
// without an error the link is gone from the disk, so that no crash brings it
// back. Wrong, burnt, expired and never made all look the same and take the
// same time.
func (l *link) Burn(token string) (resource.Ref, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	got := sha256.Sum256([]byte(token))
	same := subtle.ConstantTimeCompare(got[:], l.want[:]) == 1
	if live := l.expires.After(l.now()); !same || !live {
		return resource.Ref{}, linkRefused()
	}
	err := os.Remove(l.path)
	if errors.Is(err, fs.ErrNotExist) {
		l.forget()
		return resource.Ref{}, linkRefused() // somebody took the file away: he meant the link
	}
	if err != nil {
		return resource.Ref{}, dirError(l.path, err)
	}
	l.forget()
	if err := file.SyncDir(filepath.Dir(l.path)); err != nil {
		return resource.Ref{}, dirError(l.path, err)
	}
	return l.who, nil
}

func linkRefused() error {
	return fault.New(fault.Unauthenticated, "this link is not valid: a link works once, for 24 hours, and a newer one ends it", "此链接无效:每个链接只能使用一次,24 小时内有效,生成新链接后旧链接即失效")
}
