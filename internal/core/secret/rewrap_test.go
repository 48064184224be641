package secret_test

import (
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/secret"
)

func read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t *testing.T, name string, b []byte) {
	t.Helper()
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestRewrapSealsEverythingAnew(t *testing.T) {
	b := newBench(t)
	refs := map[secret.Ref]string{}
	for i := range 600 { // more than two pages
		refs[b.put("p", fmt.Sprint("secret ", i))] = fmt.Sprint("secret ", i)
	}
	oldKey := read(t, b.file("root.key"))
	k, err := secret.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup // others open meanwhile, and meet one key or the other
	for ref, want := range refs {
		all.Go(func() { b.opens(b.Store, ref, "p", want) })
	}
	if err := b.Rewrap(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	all.Wait()
	again, err := b.open()
	if err != nil {
		t.Fatal(err)
	}
	for ref, want := range refs {
		b.opens(b.Store, ref, "p", want)
		b.opens(again, ref, "p", want)
	}
	if _, err := os.Stat(b.file("root.key.next")); !os.IsNotExist(err) {
		t.Errorf("the next key was left: %v", err)
	}
	write(t, b.file("root.key"), oldKey)
	if _, err := b.open(); !fault.Is(err, fault.Invalid) {
		t.Errorf("the old key still opens: %v", err)
	}
}

// The power may go at any moment of a rotation: before the rows were sealed
// anew the old key holds, after it the new one.
func TestARotationThatWasCutShort(t *testing.T) {
	b := newBench(t)
	ref := b.put("p", canary)
	oldKey := read(t, b.file("root.key"))
	k, err := secret.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Write(b.file("root.key.next")); err != nil {
		t.Fatal(err)
	}
	nextKey := read(t, b.file("root.key.next"))
	cut := func(what string) {
		t.Helper()
		s, err := b.open()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		b.opens(s, ref, "p", canary)
		if _, err := os.Stat(b.file("root.key.next")); !os.IsNotExist(err) {
			t.Errorf("%s: the next key was left: %v", what, err)
		}
	}
	cut("before the rows")
	if err := b.Rewrap(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	write(t, b.file("root.key"), oldKey)
	write(t, b.file("root.key.next"), nextKey)
	cut("after the rows")
	write(t, b.file("root.key.next"), nextKey)
	cut("after the key")
	write(t, b.file("root.key.next"), oldKey) // rubbish of another time
	cut("a next key that nothing needs")
}

// One row that does not open stops the rotation, and nothing has happened.
func TestRewrapIsWholeOrNothing(t *testing.T) {
	b := newBench(t)
	good, bad := b.put("p", canary), b.put("p", "x")
	b.exec(`UPDATE secrets SET sealed = x'00' WHERE ref = ?`, bad)
	k, err := secret.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Rewrap(t.Context(), k); err == nil {
		t.Fatal("rewrapped what does not open")
	}
	b.opens(b.Store, good, "p", canary)
	again, err := b.open()
	if err != nil {
		t.Fatal(err)
	}
	b.opens(again, good, "p", canary)
}
