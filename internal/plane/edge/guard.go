package edge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/corazawaf/coraza/v3/debuglog"
)

// rootGuard and guard give each transaction a time budget. Coraza cannot be
// interrupted, but it asks its debug logger at each rule and each value; a
// logger of ours that panics there with errBudget is how a request whose
// inspection costs too much is stopped (the caller recovers). Without it one
// megabyte of JSON would keep a CPU busy for seconds after its client is gone.
type rootGuard struct{}

// With implements debuglog.Logger: Coraza calls it once for each transaction.
func (rootGuard) With(...debuglog.ContextField) debuglog.Logger { return &guard{} }

// The rest of debuglog.Logger: silent.
func (g rootGuard) WithOutput(io.Writer) debuglog.Logger     { return g }
func (g rootGuard) WithLevel(debuglog.Level) debuglog.Logger { return g }
func (rootGuard) Trace() debuglog.Event                      { return silent{} }
func (rootGuard) Debug() debuglog.Event                      { return silent{} }
func (rootGuard) Info() debuglog.Event                       { return silent{} }
func (rootGuard) Warn() debuglog.Event                       { return silent{} }
func (rootGuard) Error() debuglog.Event                      { return silent{} }

// guard belongs to the one goroutine that runs the transaction.
type guard struct {
	ctx   context.Context
	until time.Time
	every int // look at the clock each so many calls
	calls int
}

var (
	errBudget = errors.New("inspection took too long")
	errGone   = errors.New("client gone during inspection")
)

// arm starts the budget. Large bodies have the clock looked at each time,
// since one step may take long.
func (g *guard) arm(ctx context.Context, budget time.Duration, large bool) {
	g.ctx, g.until, g.every = ctx, time.Now().Add(budget), 64
	if large {
		g.every = 1
	}
}

// disarm lets Close run to its end.
func (g *guard) disarm() { g.ctx = nil }

// Debug implements debuglog.Logger; it panics with errBudget or errGone.
func (g *guard) Debug() debuglog.Event {
	if g.ctx == nil {
		return silent{}
	}
	if g.calls++; g.calls%g.every == 0 {
		if time.Now().After(g.until) {
			panic(errBudget)
		}
		if g.ctx.Err() != nil {
			panic(errGone)
		}
	}
	return silent{}
}

// The rest of debuglog.Logger: silent, and the same budget for derived loggers.
func (g *guard) With(...debuglog.ContextField) debuglog.Logger { return g }
func (g *guard) WithOutput(io.Writer) debuglog.Logger          { return g }
func (g *guard) WithLevel(debuglog.Level) debuglog.Logger      { return g }
func (*guard) Trace() debuglog.Event                           { return silent{} }
func (*guard) Info() debuglog.Event                            { return silent{} }
func (*guard) Warn() debuglog.Event                            { return silent{} }
func (*guard) Error() debuglog.Event                           { return silent{} }

// silent is an event that goes nowhere: what the engine logs may hold secrets.
type silent struct{}

func (silent) Msg(string)                                     {}
func (s silent) Str(string, string) debuglog.Event            { return s }
func (s silent) Err(error) debuglog.Event                     { return s }
func (s silent) Bool(string, bool) debuglog.Event             { return s }
func (s silent) Int(string, int) debuglog.Event               { return s }
func (s silent) Uint(string, uint) debuglog.Event             { return s }
func (s silent) Stringer(string, fmt.Stringer) debuglog.Event { return s }
func (silent) IsEnabled() bool                                { return false }
