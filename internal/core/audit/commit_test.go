package audit

import (
	"bytes"
	"strings"
	"testing"
)

func TestCheckOpensWhatWasCommitted(t *testing.T) {
	salts, values := testSalts(1), testValues(1)
	l := testLeaf(1)
	if err := l.Check(salts, values); err != nil {
		t.Fatal(err)
	}
	for i := range salts {
		s, v := salts, values
		s[i], v[i] = nil, nil
		if err := l.Check(s, v); err != nil {
			t.Errorf("withheld %s: %v", Field(i), err)
		}
	}
	if err := l.Check(Salts{}, Values{}); err != nil {
		t.Errorf("everything withheld: %v", err)
	}
}

func TestCheckRefuses(t *testing.T) {
	const f = FieldReason // present in testValues
	for name, spoil := range map[string]func(*Salts, *Values){
		"another value":        func(s *Salts, v *Values) { v[f] = []byte("other") },
		"absent value":         func(s *Salts, v *Values) { v[f] = nil },
		"another salt":         func(s *Salts, v *Values) { s[f] = bytes.Repeat([]byte{9}, 32) },
		"salt of other field":  func(s *Salts, v *Values) { s[f] = s[FieldName] },
		"short salt":           func(s *Salts, v *Values) { s[f] = s[f][:31] },
		"long salt":            func(s *Salts, v *Values) { s[f] = append(bytes.Clone(s[f]), 0) },
		"empty salt":           func(s *Salts, v *Values) { s[f] = []byte{} },
		"value without a salt": func(s *Salts, v *Values) { s[f] = nil },
	} {
		s, v := testSalts(1), testValues(1)
		spoil(&s, &v)
		err := testLeaf(1).Check(s, v)
		if err == nil || !strings.Contains(err.Error(), "reason") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAbsentAndEmptyDiffer(t *testing.T) {
	salt := testSalts(0)[0]
	if Commit(FieldOld, salt, nil) == Commit(FieldOld, salt, []byte{}) {
		t.Error("absent and empty share a commitment")
	}
	if Commit(FieldOld, salt, nil) == Commit(FieldNew, salt, nil) {
		t.Error("two fields share a commitment")
	}
}

func TestNothingOpensTheZeroCommitment(t *testing.T) {
	if Commit(FieldOld, nil, []byte("x")) != [32]byte{} || Commit(-1, make([]byte, 32), nil) != [32]byte{} || Commit(7, make([]byte, 32), nil) != [32]byte{} {
		t.Error("a bad salt or field gave a commitment")
	}
}

func TestNewSaltsAreDistinct(t *testing.T) {
	seen := map[string]bool{}
	for range 3 {
		for _, s := range NewSalts() {
			if len(s) != SaltSize || seen[string(s)] {
				t.Fatalf("salt %x", s)
			}
			seen[string(s)] = true
		}
	}
}
