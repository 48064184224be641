package audit

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestVerifyBundleReports(t *testing.T) {
	_, vkey := testKey(t, testOrigin, 1)
	r, err := VerifyBundle(opener(smallBundle(t)), vkey)
	if err != nil {
		t.Fatal(err)
	}
	want := Report{
		Origin: testOrigin, VKey: vkey, Pinned: true, Size: 5, Root: newTestLog(t, 5).tree.Root(),
		Leaves: 2, Withheld: 2, First: testLeaf(1).Time, Last: testLeaf(3).Time,
	}
	if r != want {
		t.Errorf("got %+v", r)
	}
	if r, err := VerifyBundle(opener(smallBundle(t)), ""); err != nil || r.Pinned {
		t.Errorf("unpinned: %+v, %v", r, err)
	}
}

func TestVerifyBundleOfEverySize(t *testing.T) {
	for size := byte(0); size < 9; size++ {
		var seqs []byte
		for seq := range size {
			seqs = append(seqs, seq)
		}
		b := newTestLog(t, size).bundle(t, nil, seqs...)
		if r, err := VerifyBundle(opener(b), ""); err != nil || r.Leaves != int(size) {
			t.Errorf("size %d: %+v, %v", size, r, err)
		}
	}
}

func refused(t *testing.T, b []byte, pin string) *VerifyError {
	t.Helper()
	_, err := VerifyBundle(opener(b), pin)
	ve, ok := errors.AsType[*VerifyError](err)
	if !ok {
		t.Fatalf("got %v, want a VerifyError", err)
	}
	return ve
}

func TestEveryFlippedByteFails(t *testing.T) {
	good := smallBundle(t)
	_, vkey := testKey(t, testOrigin, 1)
	for at := range good {
		for i, x := range []byte{1, 0x20, 0x80} {
			pin := ""
			if i == 1 {
				pin = vkey
			}
			good[at] ^= x
			if _, err := VerifyBundle(opener(good), pin); err == nil {
				t.Errorf("byte %d xor %#x verifies", at, x)
			} else if _, ok := errors.AsType[*VerifyError](err); !ok {
				t.Errorf("byte %d xor %#x: %v is not a VerifyError", at, x, err)
			}
			good[at] ^= x
		}
	}
}

func TestEveryOtherLengthFails(t *testing.T) {
	good := smallBundle(t)
	for n := range good {
		refused(t, good[:n], "")
	}
	for _, tail := range [][]byte{{0}, {'x'}, make([]byte, 512), make([]byte, 1024), good} {
		refused(t, append(bytes.Clone(good), tail...), "")
	}
	for at := 0; at < len(good); at += 512 {
		refused(t, bytes.Join([][]byte{good[:at], make([]byte, 512), good[at:]}, nil), "")
		refused(t, append(bytes.Clone(good[:at]), good[at+512:]...), "")
	}
}

func TestVerifyBundleSaysWhatIsWrong(t *testing.T) {
	l := newTestLog(t, 5)
	signer, vkey := testKey(t, testOrigin, 1)
	_, otherKey := testKey(t, testOrigin, 2)
	_, deniedKey := testKey(t, testOrigin+"/denials", 1)
	signed := l.checkpoint(t, signer)
	with := func(edit func(*Entry)) []byte { return l.bundle(t, edit, 1, 3) }
	for name, c := range map[string]struct {
		b               []byte
		pin, where, why string
	}{
		"leaf of another log": {with(func(e *Entry) {
			other := testLeaf(byte(e.Seq))
			other.Revision++
			e.Leaf, _ = other.MarshalBinary()
		}), "", "proof/1.json", "not in the signed log"},
		"leaf of another number": {with(func(e *Entry) { e.Leaf = l.leaves[2] }), "", "proof/1.json", "another number"},
		"not a leaf":             {with(func(e *Entry) { e.Leaf = nil }), "", "proof/1.json", "malformed"},
		"other value":            {with(func(e *Entry) { e.Values[FieldNew] = []byte("{}") }), "", "payload/1.json", "commits to"},
		"value without salt":     {with(func(e *Entry) { e.Salts[FieldNew] = nil }), "", "payload/1.json", "without its salt"},
		"other pin":              {with(nil), otherKey, "manifest.json", "another key"},
		"key not of the checkpoint": {writeBundle(t, Manifest{Origin: testOrigin, VKey: otherKey, Size: 5}, signed, nil),
			"", "checkpoint", "signature"},
		"key of another origin": {writeBundle(t, Manifest{Origin: testOrigin, VKey: deniedKey, Size: 5}, signed, nil),
			"", "manifest.json", "not of this origin"},
		"size differs": {writeBundle(t, Manifest{Origin: testOrigin, VKey: vkey, Size: 6}, signed, nil),
			"", "checkpoint", "differs"},
		"empty file": {nil, "", "manifest.json", "missing"},
	} {
		if ve := refused(t, c.b, c.pin); ve.Where != c.where || !strings.Contains(ve.Error(), c.why) || ve.What.Zh == "" {
			t.Errorf("%s: %v", name, ve)
		}
	}
}

func TestUnreadableFileIsNotAForgery(t *testing.T) {
	good := smallBundle(t)
	broken := errors.New("disk on fire")
	for _, badHandle := range []int{0, 1} {
		for _, n := range []int64{0, 700, 5000, int64(len(good))} {
			opened := 0
			_, err := VerifyBundle(func() (io.ReadCloser, error) {
				var r io.Reader = bytes.NewReader(good)
				if opened == badHandle {
					r = io.MultiReader(io.LimitReader(r, n), iotest.ErrReader(broken))
				}
				opened++
				return io.NopCloser(r), nil
			}, "")
			// The decoder may stop before it reads past the last block.
			if n == int64(len(good)) && err == nil {
				continue
			}
			if _, forged := errors.AsType[*VerifyError](err); forged || !errors.Is(err, broken) {
				t.Errorf("handle %d breaks at %d: %v", badHandle, n, err)
			}
		}
	}
	if _, err := VerifyBundle(func() (io.ReadCloser, error) { return nil, broken }, ""); !errors.Is(err, broken) {
		t.Errorf("open fails: %v", err)
	}
	if _, err := VerifyBundle(opener(good), "not a key"); err == nil {
		t.Error("a bad pin was accepted")
	} else if _, forged := errors.AsType[*VerifyError](err); forged {
		t.Error("a bad pin counts as a forged file")
	}
}

func TestBundleWriterKeepsTheLimits(t *testing.T) {
	l := newTestLog(t, 5)
	signer, vkey := testKey(t, testOrigin, 1)
	signed := l.checkpoint(t, signer)
	for name, m := range map[string]Manifest{
		"format":     {Format: "dun/bundle/2", Size: 5},
		"order":      {Size: 5, Leaves: []uint64{2, 1}},
		"repeated":   {Size: 5, Leaves: []uint64{2, 2}},
		"beyond log": {Size: 5, Leaves: []uint64{5}},
		"size":       {Size: -1},
	} {
		if _, err := NewBundleWriter(io.Discard, m, signed); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	w, err := NewBundleWriter(io.Discard, Manifest{Origin: testOrigin, VKey: vkey, Size: 5, Leaves: []uint64{1}}, signed)
	if err != nil {
		t.Fatal(err)
	}
	long := l.entry(t, 1)
	long.Values[FieldNew] = make([]byte, MaxValue+1)
	if w.Add(l.entry(t, 2)) == nil || w.Add(long) == nil || w.Close() == nil {
		t.Error("a wrong, long or missing leaf was accepted")
	}
	full := l.entry(t, 1)
	for i := range full.Values {
		full.Values[i] = make([]byte, MaxValue)
	}
	if err := w.Add(full); err != nil {
		t.Errorf("seven values of the largest size: %v", err)
	}
}

func FuzzVerifyBundle(f *testing.F) {
	_, vkey := testKey(f, testOrigin, 1)
	good := smallBundle(f)
	f.Add(good)
	f.Add(good[:1536])
	f.Add(newTestLog(f, 1).bundle(f, nil, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, pin := range []string{"", vkey} {
			_, err := VerifyBundle(opener(b), pin)
			if _, refused := errors.AsType[*VerifyError](err); err != nil && !refused {
				t.Fatalf("reading memory failed: %v", err)
			}
		}
	})
}
