package traffic

import (
	"bytes"
	"testing"
	"time"
)

func TestACaptureIsReadBack(t *testing.T) {
	at := time.Date(2026, 11, 1, 3, 0, 0, 123456789, time.UTC)
	in := []Frame{{at, 1500, bytes.Repeat([]byte{7}, 300)}, {at.Add(time.Millisecond), 60, bytes.Repeat([]byte{8}, 60)}, {at, 0, nil}}
	out, err := ReadCapture(Capture(in))
	if err != nil || len(out) != 3 {
		t.Fatal(out, err)
	}
	for i, f := range out {
		if want := in[i].Data[:min(len(in[i].Data), EvidenceSnap)]; !f.Time.Equal(in[i].Time) || f.Length != in[i].Length || !bytes.Equal(f.Data, want) {
			t.Errorf("%d: %+v", i, f)
		}
	}
}

func FuzzReadCapture(f *testing.F) {
	f.Add(Capture(nil))
	f.Add(Capture([]Frame{{time.Unix(1, 2), 60, make([]byte, 60)}, {time.Unix(3, 4), 1500, make([]byte, 200)}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		frames, err := ReadCapture(b)
		if err != nil {
			return
		}
		if again, err := ReadCapture(Capture(frames)); err != nil || len(again) != len(frames) {
			t.Fatal(again, err)
		}
	})
}
