package main

import (
	"github.com/dun-sec/dun/internal/agent"
	"github.com/dun-sec/dun/internal/console"
)

// signUps is nil where nobody signs up: an interface that holds nothing.
func signUps(p agent.Parts) console.SignUps {
	if p.SignUps == nil {
		return nil
	}
	return p.SignUps
}
