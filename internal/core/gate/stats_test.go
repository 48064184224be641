package gate_test

import (
	"context"
	"errors"
	"runtime"
	"testing"
)

func TestStatsCountWhatHappened(t *testing.T) {
	c := newCell(t)
	before := c.Stats()
	c.must(tenant("acme"))
	c.must(tenant("beta"))
	c.Refused(operator, "Session", "login")
	s := c.Stats()
	if s.Groups != before.Groups+2 || s.Changes != before.Changes+2 || s.LogSize != before.LogSize+2 || s.Denied != before.Denied+1 || s.Memory <= before.Memory || s.Queue != 0 || s.Watchers != 0 {
		t.Errorf("from %+v to %+v", before, s)
	}

	feed, err := c.Watch(operator, []string{"Tenant"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := feed.Next(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, leave := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() {
		_, err := feed.Next(ctx)
		left <- err
	}()
	for c.Stats().Watchers != 1 {
		runtime.Gosched()
	}
	leave()
	if err := <-left; !errors.Is(err, context.Canceled) || c.Stats().Watchers != 0 {
		t.Errorf("after he left (%v): %+v", err, c.Stats())
	}
}
