// Package events keeps facts of high rate, such as blocked requests, in
// append-only segments on the node that saw them, indexed and with retention.
// It owns DIR/events; it is never the truth of anything: what must be kept
// becomes a record or a leaf.
package events

import "time"

// Event is one fact (formats.md, Event and ids).
type Event struct {
	V          int               `json:"v"`
	ID         string            `json:"id"`
	Time       time.Time         `json:"time"`
	Node       string            `json:"node"`
	Part       string            `json:"part"`
	Kind       string            `json:"kind"`
	Tenant     string            `json:"tenant"`
	Object     string            `json:"object"`
	Request    string            `json:"request"`
	Source     string            `json:"source"`
	Action     string            `json:"action"` // blocked, detected or allowed
	Rules      []Rule            `json:"rules"`
	Attributes map[string]string `json:"attributes"`
}

// Rule is one rule that matched.
type Rule struct {
	ID      int    `json:"id"`
	Message string `json:"message"`
	Where   string `json:"where"`
	Match   string `json:"match"` // masked
}
