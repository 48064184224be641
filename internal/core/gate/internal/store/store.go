// Package store is what the gate needs of a database: one durable group of
// writes at a time, and reads by key. It owns the rows' shape; it decides
// nothing. It lies below the gate so that nothing else can write.
package store

import (
	"context"
	"errors"

	"golang.org/x/mod/sumdb/tlog"
)

// ErrNotFound says that a row asked for by key does not exist.
var ErrNotFound = errors.New("no such row")

// Store is one engine. Commit has one caller at a time; the reads may be
// called from anywhere and see every group whose Commit has returned.
type Store interface {
	// Head is the state after the last group; ErrNotFound on a new store.
	Head(ctx context.Context) (Head, error)
	// Commit makes the group durable, whole or not at all.
	Commit(ctx context.Context, g *Group) error
	// Records streams the stored bytes of every live record.
	Records(ctx context.Context, yield func(data []byte) error) error
	// History lists a record's changes, newest first, below the revision before (0 = all).
	History(ctx context.Context, kind, tenant, name string, before uint64, limit int) ([]Change, error)
	// Change is the change that got the revision.
	Change(ctx context.Context, revision uint64) (Change, error)
	// Changes lists changes in order, above the revision after.
	Changes(ctx context.Context, after uint64, limit int) ([]Change, error)
	// Expired lists versions of a kind that went out of force before a time
	// (µs), oldest first: those that another one followed before it, and
	// deletions that are older.
	Expired(ctx context.Context, kind string, before int64, limit int) ([]Expired, error)
	// Leaves lists leaves in order from seq.
	Leaves(ctx context.Context, from uint64, limit int) ([]Leaf, error)
	// ReadHashes reads tree hashes by tlog's storage index.
	ReadHashes(indexes []int64) ([]tlog.Hash, error)
	// Reply is what an idempotency key got; ErrNotFound when it is new.
	Reply(ctx context.Context, actor, key string) (Reply, error)
	// Statuses lists the kept statuses.
	Statuses(ctx context.Context) ([]Status, error)
	// Sessions lists all sessions.
	Sessions(ctx context.Context) ([]Session, error)
	// Close closes the files.
	Close() error
}

// Head is the one row that every group moves.
type Head struct {
	Cell     string
	Epoch    string
	Revision uint64
	Time     int64 // µs since 1970, of the last revision
	Size     int64 // leaves
	Root     tlog.Hash
}

// Change is one row of history, and of the change log. Data is the exact
// stored form of the record, nil for a deletion.
type Change struct {
	Revision           uint64
	Kind, Tenant, Name string
	UID                string
	Action             string
	Actor              string
	Request            string
	Time               int64
	Seq                uint64 // its leaf
	Data               []byte
}

// Leaf is a leaf with what it commits to. Old and New name the history rows
// whose data it commits to; 0 = absent. Nil values are absent; a nil Salts is
// an erased payload.
type Leaf struct {
	Seq                 uint64
	Body                []byte
	Salts               []byte // 7 x 32 bytes
	Tenant, Actor, Name []byte
	Old, New            uint64
	OldData, NewData    []byte // filled by Leaves, ignored by Commit
	Reason, Context     []byte
}

// Reply is the remembered answer to one idempotency key.
type Reply struct {
	Actor, Key string
	Epoch      string
	Hash       []byte // of the request
	Time       int64  // µs
	Results    []Outcome
}

// Outcome is what became of one change of a remembered request.
type Outcome struct {
	Revision  uint64 `json:"revision"`
	Unchanged bool   `json:"unchanged,omitempty"`
}

// Session is a bearer session; only the hash of its token is kept.
type Session struct {
	Hash             []byte // SHA-256
	Kind             string // of the principal
	Tenant, Name     string
	Epoch            string
	Created, Expires int64 // µs
	Source           string
	Proof            string
	MFA              bool
}

// Status is the reported status of one record.
type Status struct {
	Kind, Tenant, Name, UID string
	Revision                uint64
	Data                    []byte
}

// Expired is a version that is past its retention.
type Expired struct {
	Revision  uint64
	Seq, Next uint64 // leaves of it and of what followed it; Next is 0 where nothing followed
	Deletion  bool
}

// Salts replaces the salts of a leaf's payload.
type Salts struct {
	Seq   uint64
	Salts []byte
}

// Group is what one transaction writes. All slices are in order.
type Group struct {
	Head       Head
	Changes    []Change
	Statuses   []Status // written after Changes; a deletion there takes the record's status along
	Leaves     []Leaf
	FirstHash  int64 // storage index of Hashes[0]
	Hashes     []tlog.Hash
	Erase      []uint64 // leaves whose payload goes
	Drop       []uint64 // revisions whose rows of history go; never of a live record's newest
	Salts      []Salts
	Replies    []Reply
	Open       []Session
	Revoke     [][]byte // hashes of sessions
	PurgeReply int64    // drop replies older than this (µs); 0 = none
}
