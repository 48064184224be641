package sqlite

import "fmt"

// LimitPages bounds the file, in pages of 4 KiB.
func (s *Store) LimitPages(n int) error {
	_, err := s.files.Writer.Exec(fmt.Sprintf("PRAGMA max_page_count=%d", n))
	return err
}
