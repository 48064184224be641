// Package events keeps the events that this node saw: append-only segments of
// JSON under one folder, found again by request, tenant and time, and removed
// by age and size.
//
// It owns the event format (formats.md, "Event and ids"), the segment files and
// the masking of secrets. It never blocks whoever reports an event, it never is
// the truth of anything (what must be kept becomes a record or bytes), and it
// never decides who may read: callers pass the tenants that they may see.
package events

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
)

// Event is a fact at high rate. Add bounds every field; the limits in brackets
// are in bytes, and longer text is cut at a character.
type Event struct {
	V       int       `json:"v"`       // 1
	ID      string    `json:"id"`      // unique; Add makes one when it is empty [64]
	Time    time.Time `json:"time"`    // UTC, microseconds; Add takes the clock when it is zero
	Node    string    `json:"node"`    // node that saw it [64]
	Part    string    `json:"part"`    // part of Dun, as in "edge" [64]
	Kind    string    `json:"kind"`    // as in "block" [64]
	Tenant  string    `json:"tenant"`  // [64]
	Object  string    `json:"object"`  // "kind/name" of the record concerned [160]
	Request string    `json:"request"` // Dun request id [64]
	Source  string    `json:"source"`  // address of the client [64]
	Action  string    `json:"action"`  // blocked, detected or allowed [64]
	Rules   []Rule    `json:"rules"`   // at most 32

	// Attributes: at most 32, keys up to 64 and values up to 256 bytes, masked.
	Attributes map[string]string `json:"attributes"`
}

// Rule is one rule that an event met.
type Rule struct {
	ID      int    `json:"id"`
	Message string `json:"message"` // [300], masked
	Where   string `json:"where"`   // part of the request, as in "ARGS:q" [128]
	Match   string `json:"match"`   // what matched [200], masked
}

// timeFormat is RFC 3339 with exactly six digits, so that times sort as text.
const timeFormat = "2006-01-02T15:04:05.000000Z"

// MarshalJSON writes the fixed form of formats.md: lists are never null and
// the time is UTC with microseconds.
func (e Event) MarshalJSON() ([]byte, error) {
	if e.Rules == nil {
		e.Rules = []Rule{}
	}
	if e.Attributes == nil {
		e.Attributes = map[string]string{}
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false) // attacks stay readable, and within the size limit
	err := enc.Encode(struct {
		V          int               `json:"v"`
		ID         string            `json:"id"`
		Time       string            `json:"time"`
		Node       string            `json:"node"`
		Part       string            `json:"part"`
		Kind       string            `json:"kind"`
		Tenant     string            `json:"tenant"`
		Object     string            `json:"object"`
		Request    string            `json:"request"`
		Source     string            `json:"source"`
		Action     string            `json:"action"`
		Rules      []Rule            `json:"rules"`
		Attributes map[string]string `json:"attributes"`
	}{e.V, e.ID, e.Time.UTC().Format(timeFormat), e.Node, e.Part, e.Kind, e.Tenant, e.Object,
		e.Request, e.Source, e.Action, e.Rules, e.Attributes})
	if err != nil {
		return nil, fmt.Errorf("encode event: %w", err)
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

// decode reads one stored event.
func decode(raw []byte) (Event, error) {
	var e Event
	if err := json.Unmarshal(raw, &e); err != nil {
		return Event{}, fmt.Errorf("decode event: %w", err)
	}
	e.Time = e.Time.UTC()
	return e, nil
}
