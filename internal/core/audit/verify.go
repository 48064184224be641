package audit

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/dun-sec/dun/internal/core/text"
)

// VerifyBundle checks a bundle and every byte of its file: it re-encodes what
// it decoded and compares that with a second handle, so that no two files
// stand for the same content. Memory is bounded by the manifest (64 MiB) and
// one leaf. open is called twice and must give the same regular file.
//
// With an empty pinnedVKey the bundle's own key is used, which proves nothing
// about who signed. The error is a *VerifyError when the bundle is not true.
func VerifyBundle(open func() (io.ReadCloser, error), pinnedVKey string) (Report, error) {
	if pinnedVKey != "" {
		if _, err := parseVKey(pinnedVKey); err != nil {
			return Report{}, fmt.Errorf("parse pinned key: %w", err)
		}
	}
	decode, err := open()
	if err != nil {
		return Report{}, fmt.Errorf("open bundle: %w", err)
	}
	defer decode.Close()
	compare, err := open()
	if err != nil {
		return Report{}, fmt.Errorf("open bundle: %w", err)
	}
	defer compare.Close()

	v := &bundleVerifier{src: &source{r: decode}, same: newComparer(compare), pin: pinnedVKey}
	v.tar = tar.NewReader(v.src)
	err = v.run()
	// A failing disk shows up as all kinds of decoding errors: name the cause.
	if ioErr := errors.Join(v.src.err, v.same.src.err); ioErr != nil {
		return Report{}, fmt.Errorf("read bundle: %w", ioErr)
	}
	if err != nil {
		return Report{}, err
	}
	return v.report, nil
}

type bundleVerifier struct {
	src      *source // the handle that is decoded
	tar      *tar.Reader
	same     *comparer // the handle that is compared
	out      *BundleWriter
	pin      string
	manifest Manifest
	report   Report
	timed    bool // report has a time range
}

func (v *bundleVerifier) run() error {
	if err := v.head(); err != nil {
		return err
	}
	for _, seq := range v.manifest.Leaves {
		if err := v.entry(seq); err != nil {
			return err
		}
	}
	if _, err := v.tar.Next(); err == nil {
		return &VerifyError{Where: "end", What: text.T("more entries than the manifest lists", "条目多于清单所列")}
	} else if err != io.EOF {
		return malformed("end", err)
	}
	if err := v.out.Close(); err != nil {
		return notCanonical("end", err)
	}
	return v.same.end()
}

// head reads everything before the first leaf.
func (v *bundleVerifier) head() error {
	raw, err := v.next("manifest.json", maxManifest)
	if err != nil {
		return err
	}
	m := &v.manifest
	// Count first: a list of short numbers is eight times as large in memory.
	if bytes.Count(raw, []byte(",")) > MaxLeaves+16 {
		return &VerifyError{Where: "manifest.json", What: text.T("too many leaves", "条目过多")}
	}
	if err := json.Unmarshal(raw, m); err != nil {
		return malformed("manifest.json", err)
	}
	if err := m.check(); err != nil {
		return malformed("manifest.json", err)
	}
	key, err := v.signer()
	if err != nil {
		return err
	}
	signed, err := v.next("checkpoint", maxCheckpoint)
	if err != nil {
		return err
	}
	c, err := openCheckpoint(signed, key, 1)
	if err != nil {
		return &VerifyError{Where: "checkpoint", What: text.T("the signature does not verify", "签名验证失败"), Err: err}
	}
	if c.Origin != m.Origin || c.Size != m.Size {
		return &VerifyError{Where: "checkpoint", What: text.T("origin or size differs from the manifest", "来源或大小与清单不符")}
	}
	v.report = Report{Origin: c.Origin, VKey: m.VKey, Pinned: v.pin != "", Size: c.Size, Root: c.Root, Leaves: len(m.Leaves)}
	if v.out, err = NewBundleWriter(v.same, *m, signed); err != nil {
		return notCanonical("manifest.json", err)
	}
	_, err = v.next("cosignatures/", 0)
	return err
}

// signer is the key of the manifest, which must be the pinned one if any.
func (v *bundleVerifier) signer() (note.Verifier, error) {
	key, err := parseVKey(v.manifest.VKey)
	if err != nil {
		return nil, malformed("manifest.json", err)
	}
	if key.Name() != v.manifest.Origin {
		return nil, &VerifyError{Where: "manifest.json", What: text.T("the key is not of this origin", "密钥不属于该来源")}
	}
	if v.pin != "" && v.pin != v.manifest.VKey {
		return nil, &VerifyError{Where: "manifest.json", What: text.T("signed by another key than the pinned one", "签名密钥与指定的密钥不同")}
	}
	return key, nil
}

// entry verifies one leaf: its place in the log, then its payload.
func (v *bundleVerifier) entry(seq uint64) error {
	proofName, payloadName := entryNames(seq)
	var proof proofJSON
	var payload payloadJSON
	if err := v.nextJSON(proofName, maxProof, &proof); err != nil {
		return err
	}
	leaf, err := ParseLeaf(proof.Leaf)
	if err != nil {
		return malformed(proofName, err)
	}
	if leaf.Seq != seq {
		return &VerifyError{Where: proofName, What: text.T("the leaf has another number", "条目序号不符")}
	}
	if err := tlog.CheckRecord(proof.Inclusion, v.report.Size, v.report.Root, int64(seq), LeafHash(proof.Leaf)); err != nil {
		return &VerifyError{Where: proofName, What: text.T("the leaf is not in the signed log", "条目不在已签名的日志中"), Err: err}
	}
	if err := v.nextJSON(payloadName, maxPayload, &payload); err != nil {
		return err
	}
	if err := leaf.Check(payload.Salts, payload.Values); err != nil {
		return &VerifyError{Where: payloadName, What: text.T("the payload is not what the leaf commits to", "内容与条目的承诺不符"), Err: err}
	}
	if err := v.out.Add(Entry{seq, proof.Leaf, proof.Inclusion, payload.Salts, payload.Values}); err != nil {
		return notCanonical(proofName, err)
	}
	v.count(leaf, payload.Salts)
	return nil
}

func (v *bundleVerifier) count(leaf Leaf, s Salts) {
	for _, salt := range s {
		if salt == nil {
			v.report.Withheld++
		}
	}
	if !v.timed || leaf.Time.Before(v.report.First) {
		v.report.First = leaf.Time
	}
	if !v.timed || leaf.Time.After(v.report.Last) {
		v.report.Last = leaf.Time
	}
	v.timed = true
}

func (v *bundleVerifier) nextJSON(name string, limit int64, into any) error {
	raw, err := v.next(name, limit)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return malformed(name, err)
	}
	return nil
}

// next reads the next entry, which must have the name; limit is in bytes.
func (v *bundleVerifier) next(name string, limit int64) ([]byte, error) {
	h, err := v.tar.Next()
	if err != nil {
		return nil, &VerifyError{Where: name, What: text.T("missing or the archive is damaged", "缺失或归档已损坏"), Err: err}
	}
	if h.Name != name {
		return nil, &VerifyError{Where: name, What: text.T("another entry stands in its place", "该位置是其他条目")}
	}
	raw, err := io.ReadAll(io.LimitReader(v.tar, limit+1))
	if err != nil {
		return nil, &VerifyError{Where: name, What: text.T("cut short", "内容不完整"), Err: err}
	}
	if int64(len(raw)) > limit {
		return nil, &VerifyError{Where: name, What: text.F("over %d bytes", "超过 %d 字节", limit)}
	}
	return raw, nil
}
