package agent

import (
	"context"
	"time"
)

// usageEvery is how often usage is kept: so much is lost when the process is
// killed.
const usageEvery = 10 * time.Second

// keepUsage writes what sites took into the book, and once more at the end.
func (c *cell) keepUsage(ctx context.Context) {
	t := time.NewTicker(usageEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			c.noteUsage(last)
			return
		case <-t.C:
			c.noteUsage(ctx)
		}
	}
}

func (c *cell) noteUsage(ctx context.Context) {
	entries := c.edge.Usage()
	if len(entries) == 0 {
		return
	}
	if err := c.usage.Add(ctx, c.opt.Now(), entries); err != nil {
		c.edge.Owe(entries)
		c.opt.Log.Error("usage is not kept", "err", err)
	}
}
