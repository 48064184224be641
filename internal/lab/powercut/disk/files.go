package disk

// Read copies bytes from off into b and returns how many there were.
func (d *Disk) Read(n *Node, off int64, b []byte) int {
	if off < 0 || off >= int64(len(n.data)) {
		return 0
	}
	return copy(b, n.data[off:])
}

// Write puts bytes where programs see them; b is copied.
func (d *Disk) Write(n *Node, off int64, b []byte) {
	if len(b) == 0 {
		return
	}
	own := append([]byte(nil), b...)
	n.data = writeAt(n.data, off, own)
	n.Attr.Size = int64(len(n.data))
	d.note(n, change{off: off, data: own})
}

// Change sets mode, owner and size; a file that grows by it grows by zeroes.
func (d *Disk) Change(n *Node, a Attr) {
	if a == n.Attr {
		return
	}
	if a.Size != n.Attr.Size {
		n.data = resize(n.data, a.Size)
	}
	n.Attr = a
	d.note(n, change{})
}

// writeAt writes b at off and grows the buffer where it must.
func writeAt(buf []byte, off int64, b []byte) []byte {
	if end := off + int64(len(b)); end > int64(len(buf)) {
		buf = resize(buf, end)
	}
	copy(buf[off:], b)
	return buf
}

// resize cuts or grows by zeroes, also where an earlier cut left old bytes in
// the capacity.
func resize(buf []byte, size int64) []byte {
	have := int64(len(buf))
	switch {
	case size <= have:
		return buf[:size]
	case size <= int64(cap(buf)):
		buf = buf[:size]
		clear(buf[have:])
		return buf
	}
	return append(buf, make([]byte, size-have)...)
}
