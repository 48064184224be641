// Package resource is the vocabulary of the record: metadata, Object, Kind,
// names, labels, strict decoding and schema. It owns the shape of a record in
// memory and on the wire (formats.md, Object). It never stores, authorises or
// transmits anything, and it knows no particular kind.
package resource

import (
	"encoding/json"
	"fmt"
	"time"
)

// Limits of one record.
const (
	MaxObject = 64 << 10  // bytes, without the annotation LastApplied
	MaxInput  = 256 << 10 // bytes of one manifest as sent, with that annotation
	MaxDepth  = 24        // nesting of lists and objects
)

// Reserved names of labels and annotations.
const (
	Reserved     = "dun.dev/"
	LabelClass   = "dun.dev/class"
	LabelBuiltin = "dun.dev/builtin"
	LabelFounder = "dun.dev/founder" // a user whom the machine made
	LastApplied  = "dun.dev/last-applied"
)

// Platform is the operator's own tenant; it holds every platform-scoped record.
const Platform = "platform"

// Object is a record. Spec, State and Status hold pointers to the kind's own
// types. An Object that the gate handed out is shared: readers never change it.
type Object struct {
	Kind     string   `json:"kind"`
	Version  int      `json:"version,omitempty"` // emitted; absent on input = current
	Metadata Metadata `json:"metadata"`
	Spec     any      `json:"spec,omitempty"`
	State    any      `json:"state,omitempty"`
	Status   any      `json:"status,omitempty"`
}

// Metadata is what every record has. The gate sets all but Tenant, Name,
// Labels and Annotations; on input Revision is the revision that was read.
type Metadata struct {
	Tenant         string            `json:"tenant"`
	Name           string            `json:"name"`
	UID            string            `json:"uid,omitempty"`
	Revision       uint64            `json:"revision,omitempty"`
	StatusRevision uint64            `json:"statusRevision,omitempty"`
	Created        time.Time         `json:"created,omitzero"`
	Updated        time.Time         `json:"updated,omitzero"`
	Labels         map[string]string `json:"labels,omitempty"`
	Annotations    map[string]string `json:"annotations,omitempty"`
	Owner          *Ref              `json:"owner,omitempty"`
	Finalizers     []string          `json:"finalizers,omitempty"`
	Deleting       *time.Time        `json:"deleting,omitempty"`
}

// Ref names a record; an empty UID means whichever record has the name now.
type Ref struct {
	Kind   string `json:"kind"`
	Tenant string `json:"tenant"`
	Name   string `json:"name"`
	UID    string `json:"uid,omitempty"`
}

// String is "Kind tenant/name".
func (r Ref) String() string { return r.Kind + " " + r.Tenant + "/" + r.Name }

// Ref returns the reference to o.
func (o *Object) Ref() Ref {
	return Ref{Kind: o.Kind, Tenant: o.Metadata.Tenant, Name: o.Metadata.Name, UID: o.Metadata.UID}
}

// Stored returns the exact bytes that are kept: everything but status. The
// audit log commits to these bytes, so their form may change only by version.
func (o *Object) Stored() ([]byte, error) {
	c := *o
	c.Status, c.Metadata.StatusRevision = nil, 0
	b, err := json.Marshal(&c)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", o.Ref(), err)
	}
	return b, nil
}

// Size is the length in bytes that counts against MaxObject.
func (o *Object) Size() (int, error) {
	c := *o
	if _, ok := c.Metadata.Annotations[LastApplied]; ok {
		m := make(map[string]string, len(c.Metadata.Annotations))
		for k, v := range c.Metadata.Annotations {
			if k != LastApplied {
				m[k] = v
			}
		}
		c.Metadata.Annotations = m
	}
	b, err := c.Stored()
	return len(b), err
}
