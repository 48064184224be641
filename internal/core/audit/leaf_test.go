package audit

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func genLeaf(t *rapid.T) Leaf {
	l := Leaf{
		Seq:      rapid.Uint64().Draw(t, "seq"),
		Revision: rapid.Uint64().Draw(t, "revision"),
		Time:     time.UnixMicro(rapid.Int64().Draw(t, "time")).UTC(),
		Class:    Class(rapid.IntRange(1, 7).Draw(t, "class")),
		Kind:     rapid.StringN(0, 60, 255).Draw(t, "kind"),
		Action:   rapid.StringN(0, 60, 255).Draw(t, "action"),
	}
	for i := range l.Commitments {
		copy(l.Commitments[i][:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "commitment"))
	}
	return l
}

func TestLeafRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := genLeaf(t)
		b, err := l.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseLeaf(b)
		if err != nil || got != l {
			t.Fatalf("got %+v, %v", got, err)
		}
	})
}

func TestMarshalRefusesWhatDoesNotFit(t *testing.T) {
	for name, spoil := range map[string]func(*Leaf){
		"kind over 255":     func(l *Leaf) { l.Kind = strings.Repeat("k", 256) },
		"action over 255":   func(l *Leaf) { l.Action = strings.Repeat("a", 256) },
		"class 0":           func(l *Leaf) { l.Class = 0 },
		"class 8":           func(l *Leaf) { l.Class = 8 },
		"below microsecond": func(l *Leaf) { l.Time = l.Time.Add(1) },
		"year beyond range": func(l *Leaf) { l.Time = time.Date(400000, 1, 1, 0, 0, 0, 0, time.UTC) },
	} {
		l := testLeaf(0)
		spoil(&l)
		if _, err := l.MarshalBinary(); err == nil {
			t.Errorf("%s: encoded", name)
		}
	}
}

func TestParseLeafRefusesOtherBytes(t *testing.T) {
	good, err := testLeaf(3).MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	for n := range good {
		if _, err := ParseLeaf(good[:n]); err == nil {
			t.Errorf("%d bytes were accepted", n)
		}
	}
	spoiled := func(at int, to byte) []byte { b := bytes.Clone(good); b[at] = to; return b }
	for name, b := range map[string][]byte{
		"one more byte":  append(bytes.Clone(good), 0),
		"other prefix":   spoiled(10, '2'),
		"class 0":        spoiled(36, 0),
		"class 8":        spoiled(36, 8),
		"kind too long":  spoiled(37, 255),
		"kind too short": spoiled(37, 1),
	} {
		if _, err := ParseLeaf(b); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func TestNamesOfClassesAndFields(t *testing.T) {
	var got []string
	for c := range Class(9) {
		got = append(got, c.String())
	}
	for f := range Field(8) {
		got = append(got, f.String())
	}
	want := "class 0,change,login,denial,export,check,erasure,restore,class 8," +
		"tenant,actor,name,old,new,reason,context,field 7"
	if s := strings.Join(got, ","); s != want {
		t.Errorf("got %s", s)
	}
}

func FuzzParseLeaf(f *testing.F) {
	good, _ := testLeaf(1).MarshalBinary()
	f.Add(good)
	f.Add([]byte("dun/leaf/v1\n"))
	f.Add(good[:len(good)-1])
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := ParseLeaf(b)
		if err != nil {
			return
		}
		again, err := l.MarshalBinary()
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("encodes to %x, %v", again, err)
		}
	})
}
