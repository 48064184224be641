package rpc

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

func TestPipeCarriesInOrderAndEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pipe()
		sent := bytes.Repeat([]byte("0123456789"), 50_000) // more than fits
		go func() {
			if n, err := a.Write(sent); n != len(sent) || err != nil {
				t.Errorf("wrote %d (%v)", n, err)
			}
			a.Close()
		}()
		if got, err := io.ReadAll(b); err != nil || !bytes.Equal(got, sent) {
			t.Errorf("%d of %d bytes arrive (%v)", len(got), len(sent), err)
		}
		if _, err := b.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("writes to who left: %v", err)
		}
		if _, err := a.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("reads after the own end: %v", err)
		}
	})
}

func TestPipeDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pipe()
		start := time.Now()
		a.SetDeadline(start.Add(time.Minute))
		if _, err := a.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != time.Minute {
			t.Errorf("read ends after %s with %v", time.Since(start), err)
		}
		a.SetWriteDeadline(start.Add(time.Hour))
		if n, err := a.Write(make([]byte, pipeBytes+1)); n != pipeBytes || !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != time.Hour {
			t.Errorf("write of %d ends after %s with %v", n, time.Since(start), err)
		}
		a.SetDeadline(time.Time{})
		done := make(chan error, 1)
		go func() { _, err := a.Read(make([]byte, 1)); done <- err }()
		synctest.Wait()
		a.SetReadDeadline(time.Now()) // wakes who waits already
		if err := <-done; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
		a.SetReadDeadline(time.Time{})
		go func() { _, err := a.Read(make([]byte, 1)); done <- err }()
		synctest.Wait()
		b.Close()
		if err := <-done; err != io.EOF {
			t.Error(err)
		}
	})
}
