package verdicts

// Snapshot is what holds now, for last-known-good. Who keeps it seals and
// signs it.
func (s *Set) Snapshot() []byte {
	out := []byte(headSnapshot)
	for _, e := range s.living(func(*entry) bool { return true }) {
		out = appendEntry(out, e)
	}
	return out
}

// Restore takes what a snapshot holds and still lives, by the rules of Merge.
// A damaged snapshot, one of another version or one that is longer than Max of
// the longest verdicts is invalid and changes nothing.
func (s *Set) Restore(snapshot []byte) error {
	data, err := body(snapshot, headSnapshot, len(headSnapshot)+s.max*maxEntry)
	if err != nil {
		return err
	}
	entries, err := decodeEntries(data)
	if err != nil {
		return err
	}
	s.takeAll(entries)
	return nil
}
