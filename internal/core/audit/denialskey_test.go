package audit

import (
	"testing"

	"golang.org/x/mod/sumdb/note"
)

func TestOneSecretSignsBothLogsApart(t *testing.T) {
	skey, vkey, err := GenerateKey(Origin("testcell"))
	if err != nil {
		t.Fatal(err)
	}
	dskey, err := DenialsKey(skey)
	if err != nil {
		t.Fatal(err)
	}
	dvkey, err := DenialsVKey(vkey)
	if err != nil {
		t.Fatal(err)
	}
	sign := func(key, origin string) []byte {
		t.Helper()
		s, err := note.NewSigner(key)
		if err != nil {
			t.Fatal(err)
		}
		b, err := SignCheckpoint(Checkpoint{Origin: origin, Size: 1, Root: LeafHash([]byte("x"))}, s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	main, denials := sign(skey, Origin("testcell")), sign(dskey, DenialsOrigin("testcell"))
	for name, tt := range map[string]struct {
		note []byte
		key  string
		ok   bool
	}{
		"main by main": {main, vkey, true}, "denials by denials": {denials, dvkey, true},
		"main by denials": {main, dvkey, false}, "denials by main": {denials, vkey, false},
	} {
		if _, err := OpenCheckpoint(tt.note, tt.key); (err == nil) != tt.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, bad := range []string{"", "PRIVATE+KEY+x", "PRIVATE+KEY+dun.dev/log/testcell+00000000+AQ==", "PRIVATE+KEY+other+00000000+AAAA", skey + "!", dskey} {
		if _, err := DenialsKey(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	for _, bad := range []string{"", "a+b", "dun.dev/log/testcell+0+AQ==", vkey + "!", dvkey} {
		if _, err := DenialsVKey(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
