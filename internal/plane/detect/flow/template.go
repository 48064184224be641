package flow

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/netsampler/goflow2/v2/decoders/netflow"
)

// Templates come by UDP, which anybody can forge: they are few, small, and the
// one that was not used for the longest time goes.
const (
	maxTemplates = 256 // of one exporter
	maxFields    = 128 // of one template
)

// templates of one exporter, of all its observation domains. It implements
// netflow.NetFlowTemplateSystem; the Collector's lock guards it.
type templates struct {
	each    map[templateKey]*template
	turn    uint64
	refused uint64
}

type templateKey struct {
	version, id uint16
	domain      uint32
}

type template struct {
	record any
	used   uint64 // turn
}

func newTemplates() *templates { return &templates{each: map[templateKey]*template{}} }

// AddTemplate takes one in, or withdraws it (RFC 7011, section 8.1). What is
// refused is no error: the rest of the datagram is still good.
func (t *templates) AddTemplate(version uint16, domain uint32, id uint16, record any) error {
	key := templateKey{version, id, domain}
	fields, ok := fieldsOf(record)
	if version == 10 && len(fields) == 0 {
		delete(t.each, key)
		return nil
	}
	if !ok || id < 256 || len(fields) == 0 || len(fields) > maxFields {
		t.refused++
		return nil
	}
	for _, f := range fields {
		if f.Length == 0 { // a record must not be shorter than its number of fields
			t.refused++
			return nil
		}
	}
	if t.each[key] == nil && len(t.each) >= maxTemplates {
		t.forget()
	}
	t.turn++
	old := t.each[key]
	n := &template{record: record, used: t.turn}
	if old != nil {
		n.used = old.used
	}
	t.each[key] = n
	return nil
}

func (t *templates) forget() {
	var oldest templateKey
	least := ^uint64(0)
	for k, x := range t.each {
		if x.used < least {
			least, oldest = x.used, k
		}
	}
	delete(t.each, oldest)
}

func fieldsOf(record any) ([]netflow.Field, bool) {
	switch r := record.(type) {
	case netflow.TemplateRecord:
		return r.Fields, true
	case netflow.IPFIXOptionsTemplateRecord:
		return append(append([]netflow.Field{}, r.Scopes...), r.Options...), true
	case netflow.NFv9OptionsTemplateRecord:
		return append(append([]netflow.Field{}, r.Scopes...), r.Options...), true
	}
	return nil, false
}

// GetTemplate finds one for a data set.
func (t *templates) GetTemplate(version uint16, domain uint32, id uint16) (any, error) {
	x := t.each[templateKey{version, id, domain}]
	if x == nil {
		return nil, netflow.ErrorTemplateNotFound
	}
	t.turn++
	x.used = t.turn
	return x.record, nil
}

// RemoveTemplate drops one.
func (t *templates) RemoveTemplate(version uint16, domain uint32, id uint16) (any, error) {
	key := templateKey{version, id, domain}
	x := t.each[key]
	if x == nil {
		return nil, netflow.ErrorTemplateNotFound
	}
	delete(t.each, key)
	return x.record, nil
}

// GetTemplates is not used by the decoder.
func (t *templates) GetTemplates() netflow.FlowBaseTemplateSet { return nil }

var errGuard = errors.New("malformed")

// guard walks the sets of a datagram before the decoder sees it: the decoder
// makes room for as many fields as a template says that it has.
func guard(b []byte) error {
	if len(b) < 16 {
		return fmt.Errorf("%w: cut header", errGuard)
	}
	version, head := binary.BigEndian.Uint16(b), 20
	if version == 10 {
		head = 16
		if n := int(binary.BigEndian.Uint16(b[2:])); n < head || n > len(b) {
			return fmt.Errorf("%w: a length that is not its own", errGuard)
		}
	}
	if len(b) < head {
		return fmt.Errorf("%w: cut header", errGuard)
	}
	for b = b[head:]; len(b) >= 4; {
		id, n := binary.BigEndian.Uint16(b), int(binary.BigEndian.Uint16(b[2:]))
		if n < 4 || n > len(b) {
			return fmt.Errorf("%w: a set longer than the datagram", errGuard)
		}
		set := b[4:n]
		b = b[n:]
		ok := true
		switch {
		case version == 9 && id == 0, version == 10 && id == 2:
			ok = guardTemplates(set, version, false)
		case version == 9 && id == 1, version == 10 && id == 3:
			ok = guardTemplates(set, version, true)
		case id < 256:
			ok = false
		}
		if !ok {
			return fmt.Errorf("%w: template set", errGuard)
		}
	}
	return nil
}

// guardTemplates holds that every template lies within its set.
func guardTemplates(b []byte, version uint16, options bool) bool {
	for len(b) >= 4 { // exactly as the decoder reads them
		fields, head := int(binary.BigEndian.Uint16(b[2:])), 4
		if options {
			if len(b) < 6 {
				return allZero(b)
			}
			head = 6
			if version == 9 {
				scope, rest := fields, int(binary.BigEndian.Uint16(b[4:]))
				if scope%4 != 0 || rest%4 != 0 {
					return false
				}
				fields = scope/4 + rest/4
			} else if int(binary.BigEndian.Uint16(b[4:])) > fields {
				return false
			}
		}
		if fields > maxFields {
			return false
		}
		b = b[head:]
		for range fields {
			size := 4
			if len(b) >= 4 && version == 10 && b[0]&0x80 != 0 {
				size = 8 // of an enterprise (RFC 7011, section 3.2)
			}
			if len(b) < size {
				return false
			}
			b = b[size:]
		}
	}
	return true
}

func allZero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}
