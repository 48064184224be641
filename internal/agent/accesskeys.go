package agent

import (
	"context"
	"time"

	"github.com/dun-sec/dun/internal/govern/accesskeys"
)

// keepAccessKeys keeps the access keys in order as soon as they are taken.
func (c *cell) keepAccessKeys(ctx context.Context) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		if k := c.taken(); k != nil {
			k.Run(ctx)
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// taken are the keys that the API takes; nil while the store does not open.
func (c *cell) taken() *accesskeys.Keys {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.access
}
