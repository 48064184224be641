package edge

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

func TestCallsStreamBothWaysWhenNothingJudgesThem(t *testing.T) {
	w := grpcWorld(t)
	in, out := io.Pipe()
	resp, err := grpcCall(t, w, t.Context(), "https://off.example/echo.Echo/Chat", in)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for i := range 8 { // twice the site's request and idle times
		<-tick.C
		want := fmt.Sprintf("message %d", i)
		if _, err := out.Write(frame(0, []byte(want))); err != nil {
			t.Fatal(err)
		}
		if got, err := readFrame(resp.Body); err != nil || got != want { // the answer comes before the next question
			t.Fatalf("message %d: %q %v", i, got, err)
		}
	}
	out.Close()
	if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) != 0 || resp.Trailer.Get("Grpc-Status") != "0" {
		t.Errorf("end: %q %v, trailer %v", rest, err, resp.Trailer)
	}
}

func TestSilentCallIsEndedAfterTheIdleTime(t *testing.T) {
	w := grpcWorld(t)
	in, out := io.Pipe()
	defer out.Close()
	resp, err := grpcCall(t, w, t.Context(), "https://off.example/echo.Echo/Chat", in)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	start := time.Now()
	_, err = io.ReadAll(resp.Body)
	if d := time.Since(start); err == nil || d > 5*time.Second {
		t.Errorf("%v after %v", err, d)
	}
}

func TestClientThatLeavesACallCancelsIt(t *testing.T) {
	w := grpcWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	in, out := io.Pipe()
	defer out.Close()
	resp, err := grpcCall(t, w, ctx, "https://off.example/echo.Echo/Chat", in)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	resp.Body.Close()
	for deadline := time.Now().Add(5 * time.Second); w.edge.flights.Load() != 0; {
		if time.Now().After(deadline) {
			t.Fatal("the call goes on")
		}
		<-time.After(10 * time.Millisecond)
	}
}

// FuzzGRPCTexts: no body makes the finder give more than its bounds, and what
// it accepts is a row of whole messages.
func FuzzGRPCTexts(f *testing.F) {
	f.Add(frame(0, append(field(1, "hello"), field(2, string(field(3, "nested")))...)))
	f.Add(append(frame(0, []byte("not a message")), frame(0, nil)...))
	f.Add(frame(1, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		found, err := grpcTexts(&spool{mem: b})
		size := 0
		for _, a := range found {
			size += len(a.value)
			if strings.ContainsFunc(a.value, func(r rune) bool { return r < ' ' }) || !strings.HasPrefix(a.key, "grpc") {
				t.Fatalf("%+v", a)
			}
		}
		if len(found) > maxTexts || size > 3*(maxNested+1)*len(b) {
			t.Fatalf("%d texts of %d bytes from %d", len(found), size, len(b))
		}
		for r := bytes.NewReader(b); err == nil && r.Len() > 0; {
			if _, rerr := readFrame(r); rerr != nil {
				t.Fatalf("accepted %q: %v", b, rerr)
			}
		}
	})
}
