package gate

import (
	"fmt"

	"github.com/dun-sec/dun/internal/core/telemetry"
)

// alarmAt is the part of the memory budget at which the operator is told.
const alarmAt = 0.8

// Alarms lists what the operator should know of: each names what is needed,
// why it is not so, and what happens instead. Nothing is the good news.
func (g *Gate) Alarms() []telemetry.Missing {
	out := []telemetry.Missing{}
	if held, most := g.Memory(); float64(held) >= alarmAt*float64(most) {
		out = append(out, telemetry.Missing{
			Need: "memory", Why: fmt.Sprintf("records take %d of %d bytes", held, most), Instead: "records that grow the cell above it are refused as exhausted",
		})
	}
	if g.denials != nil && g.denials.broken.Load() {
		out = append(out, telemetry.Missing{Need: "denials.db", Why: "the log of denials cannot be written", Instead: "refusals are counted and written when it can be again"})
	}
	if err := g.kept.failure(); err != nil {
		out = append(out, telemetry.Missing{Need: "history", Why: "what is past its retention cannot be dropped: " + err.Error(), Instead: "it is kept, and tried again every hour"})
	}
	return out
}
