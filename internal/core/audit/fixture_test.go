package audit

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const testOrigin = "dun.dev/log/testcell"

// testKey derives a throwaway key from a fixed seed, so that golden files can
// be made again and no key lies in the tree.
func testKey(t testing.TB, origin string, seed byte) (note.Signer, string) {
	t.Helper()
	raw := bytes.Repeat([]byte{seed}, ed25519.SeedSize)
	vkey, err := note.NewEd25519VerifierKey(origin, ed25519.NewKeyFromSeed(raw).Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	hash := strings.Split(vkey, "+")[1]
	skey := fmt.Sprintf("PRIVATE+KEY+%s+%s+%s", origin, hash, base64.StdEncoding.EncodeToString(append([]byte{1}, raw...)))
	s, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	return s, vkey
}

func testSalts(seq byte) Salts {
	var s Salts
	for i := range s {
		s[i] = bytes.Repeat([]byte{seq<<4 | byte(i)}, SaltSize)
	}
	return s
}

func testValues(seq byte) Values {
	return Values{
		FieldTenant: []byte("acme"), FieldActor: []byte("user/li"), FieldName: []byte("shop"),
		FieldNew: []byte(fmt.Sprintf(`{"seq":%d}`, seq)), FieldReason: []byte("店铺上线"), FieldContext: []byte{},
	}
}

func testLeaf(seq byte) Leaf {
	return Leaf{
		Seq: uint64(seq), Revision: 40 + uint64(seq), Class: Change, Kind: "Site", Action: "site.update",
		Time:        time.Date(2026, 3, 1, 12, 0, int(seq), 250_000, time.UTC),
		Commitments: CommitAll(testSalts(seq), testValues(seq)),
	}
}

// testLog is a log of size leaves, in memory.
type testLog struct {
	leaves [][]byte
	hashes memory
	tree   *Tree
}

func newTestLog(t testing.TB, size byte) *testLog {
	t.Helper()
	l := &testLog{tree: NewTree()}
	for seq := range size {
		b, err := testLeaf(seq).MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		l.leaves = append(l.leaves, b)
		l.hashes = append(l.hashes, l.tree.Append(LeafHash(b))...)
	}
	return l
}

func (l *testLog) entry(t testing.TB, seq byte) Entry {
	t.Helper()
	p, err := tlog.ProveRecord(l.tree.Size(), int64(seq), l.hashes)
	if err != nil {
		t.Fatal(err)
	}
	return Entry{uint64(seq), l.leaves[seq], p, testSalts(seq), testValues(seq)}
}

func (l *testLog) checkpoint(t testing.TB, s note.Signer) []byte {
	t.Helper()
	b, err := SignCheckpoint(Checkpoint{Origin: s.Name(), Size: l.tree.Size(), Root: l.tree.Root()}, s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// bundle writes the leaves of seqs, each changed by edit first.
func (l *testLog) bundle(t testing.TB, edit func(*Entry), seqs ...byte) []byte {
	t.Helper()
	s, vkey := testKey(t, testOrigin, 1)
	m := Manifest{Origin: testOrigin, VKey: vkey, Size: l.tree.Size()}
	for _, seq := range seqs {
		m.Leaves = append(m.Leaves, uint64(seq))
	}
	return writeBundle(t, m, l.checkpoint(t, s), func(w *BundleWriter) {
		for _, seq := range seqs {
			e := l.entry(t, seq)
			if edit != nil {
				edit(&e)
			}
			if err := w.Add(e); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func writeBundle(t testing.TB, m Manifest, checkpoint []byte, add func(*BundleWriter)) []byte {
	t.Helper()
	var buf bytes.Buffer
	w, err := NewBundleWriter(&buf, m, checkpoint)
	if err != nil {
		t.Fatal(err)
	}
	if add != nil {
		add(w)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// smallBundle has one whole leaf and one with the actor erased and the reason
// withheld, from a log of five.
func smallBundle(t testing.TB) []byte {
	return newTestLog(t, 5).bundle(t, func(e *Entry) {
		if e.Seq == 3 {
			e.Salts[FieldActor], e.Values[FieldActor] = nil, nil
			e.Salts[FieldReason], e.Values[FieldReason] = nil, nil
		}
	}, 1, 3)
}

func opener(b []byte) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
}
