package gate

import "github.com/dun-sec/dun/internal/core/telemetry"

// Alarms lists what the operator should know of: each names what is needed,
// why it is not so, and what happens instead. Nothing is the good news.
func (g *Gate) Alarms() []telemetry.Missing {
	out := []telemetry.Missing{}
	if g.denials != nil && g.denials.broken.Load() {
		out = append(out, telemetry.Missing{Need: "denials.db", Why: "the log of denials cannot be written", Instead: "refusals are counted and written when it can be again"})
	}
	return out
}
