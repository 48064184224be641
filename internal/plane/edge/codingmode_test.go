package edge

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestDetectAndOffPassWhatBlockRefuses(t *testing.T) {
	w, got := codingWorld(t)
	bomb := coded(t, "gzip", make([]byte, 4<<20))
	for _, tt := range []struct {
		coding string
		body   []byte
		class  string
	}{{"gzip", bomb, "ratio"}, {"zstd", []byte("(\xb5/\xfd"), "coding"}, {"gzip", []byte("nonsense"), "coding"}} {
		for _, host := range []string{"seen", "open"} {
			w.events.reset()
			resp, _ := w.do("POST", "http://"+host+".example/", map[string]string{"Content-Type": "application/json", "Content-Encoding": tt.coding}, bytes.NewReader(tt.body))
			if resp.StatusCode != 200 || got.body != string(tt.body) || got.header.Get("Content-Encoding") != tt.coding {
				t.Errorf("%s %s: %d, origin got %d of %d bytes as %q", host, tt.class, resp.StatusCode, len(got.body), len(tt.body), got.header.Get("Content-Encoding"))
			}
			ev := w.events.list("limit")
			if host == "open" && len(ev) != 0 || host == "seen" && (len(ev) != 1 || ev[0].Attributes["class"] != tt.class || ev[0].Action != "detected") {
				t.Errorf("%s %s: events %+v", host, tt.class, ev)
			}
		}
	}
	w.do("POST", "http://seen.example/", map[string]string{"Content-Type": "application/json", "Content-Encoding": "gzip"}, bytes.NewReader(coded(t, "gzip", []byte(`{"a":"<script>alert(1)</script>"}`))))
	if ev := w.events.list("block"); len(ev) != 1 || ev[0].Action != "detected" || got.header["Content-Encoding"] != nil {
		t.Errorf("an attack in detect mode: %+v", ev)
	}
}

func TestIdentityIsNoCoding(t *testing.T) {
	w, got := codingWorld(t)
	resp, _ := w.do("POST", "http://shop.example/", map[string]string{"Content-Type": "application/json", "Content-Encoding": "identity"}, strings.NewReader("{}"))
	if resp.StatusCode != 200 || got.body != "{}" || got.header["Content-Encoding"] != nil {
		t.Errorf("%d %+v", resp.StatusCode, got)
	}
}

// FuzzDecode: no coded body makes the decoder give more than its bounds, fail
// with an unknown error or keep what it reserved.
func FuzzDecode(f *testing.F) {
	for form := range codingNames {
		f.Add(codingNames[form], coded(f, form, []byte(strings.Repeat("hello ", 50))))
	}
	g := &engine{limits: bounds{inspection: time.Minute, wait: time.Minute}, slots: newTurns(1), heavy: newTurns(1)}
	budget := &spoolBudget{dir: f.TempDir(), memory: 64 << 20, disk: 64 << 20}
	f.Fuzz(func(t *testing.T, coding string, data []byte) {
		name, err := contentCoding([]string{coding})
		if err != nil || name == "" {
			return
		}
		raw, plain, chunk := &spool{budget: budget}, &spool{budget: budget}, make([]byte, copySize)
		if err := raw.fill(bytes.NewReader(data), 1<<20, chunk); err != nil {
			return
		}
		err = g.decode(t.Context(), "t", name, raw, plain, 2<<20, chunk)
		if n := plain.size(); n > max(ratioFree, codingRatio*int64(len(data))) || n > 2<<20 {
			t.Fatalf("%d bytes became %d", len(data), n)
		}
		if err != nil && !errors.Is(err, errCoded) && !errors.Is(err, errRatio) && !errors.Is(err, errTooLarge) {
			t.Fatal(err)
		}
		raw.close()
		plain.close()
		if budget.inMem.Load() != 0 || budget.onDisk.Load() != 0 || g.slots.free != 1 || g.heavy.free != 1 {
			t.Fatal("something was kept")
		}
	})
}
