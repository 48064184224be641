package audit

import (
	"bytes"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
)

func TestCheckpointRoundTrip(t *testing.T) {
	for _, origin := range []string{Origin("abcd2345"), DenialsOrigin("abcd2345")} {
		skey, vkey, err := GenerateKey(origin)
		if err != nil {
			t.Fatal(err)
		}
		s, err := note.NewSigner(skey)
		if err != nil {
			t.Fatal(err)
		}
		for size := range byte(4) {
			tree := newTestLog(t, size).tree
			want := Checkpoint{origin, tree.Size(), tree.Root()}
			b, err := SignCheckpoint(want, s)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := OpenCheckpoint(b, vkey); err != nil || got != want {
				t.Errorf("got %+v, %v", got, err)
			}
		}
	}
}

func TestFlippedCheckpointNeverVerifies(t *testing.T) {
	s, vkey := testKey(t, testOrigin, 1)
	good := newTestLog(t, 5).checkpoint(t, s)
	for at := range good {
		for _, x := range []byte{1, 4, 0x20, 0x80} {
			b := bytes.Clone(good)
			b[at] ^= x
			if _, err := OpenCheckpoint(b, vkey); err == nil {
				t.Errorf("byte %d xor %#x verifies", at, x)
			}
		}
	}
	for n := range good {
		if _, err := OpenCheckpoint(good[:n], vkey); err == nil {
			t.Errorf("%d bytes verify", n)
		}
	}
}

func TestOpenCheckpointRefuses(t *testing.T) {
	s, vkey := testKey(t, testOrigin, 1)
	other, otherKey := testKey(t, testOrigin, 2)
	good := string(newTestLog(t, 5).checkpoint(t, s))
	body, line, _ := strings.Cut(good, "\n\n")
	sign := func(text string) string {
		b, err := note.Sign(&note.Note{Text: text}, s)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	lines := strings.Split(body, "\n")
	root := lines[2]
	for name, c := range map[string]struct{ b, vkey string }{
		"another key":         {good, otherKey},
		"same line twice":     {good + line, vkey},
		"extension line":      {sign(body + "\nmore\n"), vkey},
		"size with zero":      {sign(testOrigin + "\n05\n" + root + "\n"), vkey},
		"size with plus":      {sign(testOrigin + "\n+5\n" + root + "\n"), vkey},
		"negative size":       {sign(testOrigin + "\n-5\n" + root + "\n"), vkey},
		"size over the limit": {sign(testOrigin + "\n9007199254740992\n" + root + "\n"), vkey},
		"empty log, root":     {sign(testOrigin + "\n0\n" + root + "\n"), vkey},
		"loose root":          {sign(testOrigin + "\n5\n" + root[:42] + "F=\n"), vkey},
		"another origin":      {sign("dun.dev/log/otherone\n5\n" + root + "\n"), vkey},
		"denials by this key": {sign(testOrigin + "/denials\n5\n" + root + "\n"), vkey},
		"too long":            {good + strings.Repeat("x", maxCheckpoint), vkey},
		"upper-case key hash": {good, strings.Replace(vkey, hashOf(vkey), strings.ToUpper(hashOf(vkey)), 1)},
		"loose key":           {good, vkey[:len(vkey)-1] + "\n" + vkey[len(vkey)-1:]},
		"no key":              {good, ""},
	} {
		if _, err := OpenCheckpoint([]byte(c.b), c.vkey); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	b, err := note.Sign(&note.Note{Text: body + "\n"}, s, other)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenCheckpoint(b, vkey); err != nil {
		t.Errorf("a cosignature beside the signature: %v", err)
	}
	v, _ := parseVKey(vkey)
	if _, err := openCheckpoint(b, v, 1); err == nil {
		t.Error("a bundle's checkpoint may carry two signatures")
	}
}

func hashOf(vkey string) string { return strings.Split(vkey, "+")[1] }

func TestSignCheckpointRefuses(t *testing.T) {
	s, _ := testKey(t, testOrigin, 1)
	root := newTestLog(t, 5).tree.Root()
	for name, c := range map[string]Checkpoint{
		"origin of another key": {"dun.dev/log/otherone", 5, root},
		"negative size":         {testOrigin, -1, root},
		"size over the limit":   {testOrigin, MaxSize + 1, root},
		"empty log with a root": {testOrigin, 0, root},
	} {
		if _, err := SignCheckpoint(c, s); err == nil {
			t.Errorf("%s was signed", name)
		}
	}
	for _, origin := range []string{"", "dun.dev/log/", Origin("short"), Origin("UPPER123"), Origin("abcd234\n"), Origin("abcd2345") + "/other"} {
		if _, _, err := GenerateKey(origin); err == nil {
			t.Errorf("origin %q got a key", origin)
		}
	}
}

func FuzzOpenCheckpoint(f *testing.F) {
	s, vkey := testKey(f, testOrigin, 1)
	good := newTestLog(f, 5).checkpoint(f, s)
	want, err := OpenCheckpoint(good, vkey)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(append(bytes.Clone(good), "— other AAAAAAA=\n"...))
	f.Add([]byte("a\n\n— b c\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := OpenCheckpoint(b, vkey); err == nil && c != want {
			t.Fatalf("forged %+v", c)
		}
	})
}
