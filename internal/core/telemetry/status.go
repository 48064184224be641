// Package telemetry is what the program says about itself: the status that
// people and scripts read, and the door for supervisors and scrapers. It owns
// the shapes of formats.md, Status, and the metrics library; it measures
// nothing, opens no port and never carries a secret.
package telemetry

import "time"

// States of a role.
const (
	Starting      = "starting"
	Enforcing     = "enforcing"
	LastKnownGood = "last_known_good"
	Degraded      = "degraded"
	Failed        = "failed"
	Off           = "off"
)

// Status is the state of the cell as this node knows it.
type Status struct {
	Ready     bool              `json:"ready"` // every started role enforces a revision at least that at start
	Version   string            `json:"version"`
	Cell      string            `json:"cell"`
	Epoch     string            `json:"epoch"`
	Revision  uint64            `json:"revision"`
	Endpoints map[string]string `json:"endpoints"` // an absent one is off
	Roles     []Role            `json:"roles"`
	Nodes     []Node            `json:"nodes"`
}

// Role is one role on this node.
type Role struct {
	Name       string    `json:"name"`
	State      string    `json:"state"`
	Revision   uint64    `json:"revision"` // enforced
	Mode       string    `json:"mode"`
	Interfaces []string  `json:"interfaces"`
	Missing    []Missing `json:"missing"`
}

// Missing is something that the role would like to have and what it uses
// instead.
type Missing struct {
	Need    string `json:"need"`
	Why     string `json:"why"`
	Instead string `json:"instead"`
}

// Node is one node of the cell.
type Node struct {
	Name     string    `json:"name"`
	Roles    []string  `json:"roles"`
	Revision uint64    `json:"revision"` // that all its roles enforce
	LagMs    int64     `json:"lagMs"`    // since when a newer revision waits; 0 = none
	Seen     time.Time `json:"seen"`
	Version  string    `json:"version"`
}
