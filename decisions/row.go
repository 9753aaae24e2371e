package decisions

import "time"

// A Row is a decision as a Set keeps it: what is needed to tell a bouncer of
// it, without a single allocation. It is good until the set changes.
type Row struct {
	*Kind // shared: read only
	ID    int64
	Until time.Time
	set   *Set
	index uint32
}

func (s *Set) row(i uint32) Row {
	r := s.at(i)
	return Row{Kind: s.kinds[r.kind].Kind, ID: r.id, Until: s.end(r), set: s, index: i}
}

// Decision returns the whole decision.
func (r *Row) Decision() (d Decision) {
	r.set.unpack(r.index, &d)
	return d
}

// Plain tells that value and UUID consist of digits, letters and ":./-" only.
func (r *Row) Plain() bool { return r.set.at(r.index).flags&(isPrefix|isOdd) == isPrefix }

// AppendValue appends the value as it was given: any text, for scopes that are
// no addresses.
func (r *Row) AppendValue(dst []byte) []byte {
	rec := r.set.at(r.index)
	if rec.flags&isOdd != 0 {
		if v := r.set.odd[r.index].value; v != "" {
			return append(dst, v...)
		}
	}
	if rec.flags&isPrefix != 0 {
		return rec.appendValue(dst)
	}
	return dst
}

// AppendUUID appends the UUID, if there is one; like the value it may be any text.
func (r *Row) AppendUUID(dst []byte) []byte {
	rec := r.set.at(r.index)
	switch {
	case rec.flags&hasUUID != 0:
		return appendUUID(dst, rec.uuid)
	case rec.flags&isOdd != 0:
		return append(dst, r.set.odd[r.index].uuid...)
	}
	return dst
}

// outlasted tells whether another decision with the same scope, value and type,
// that q wants, ends later. Of several that end at once the newest counts.
func (r *Row) outlasted(q *Query) bool {
	s := r.set
	if s.at(r.index).prev == 0 { // it is the longest, as most are
		return false
	}
	for i := s.first(r.index); i != r.index; i = s.at(i).next {
		other := s.row(i)
		if other.Scope == r.Scope && other.Type == r.Type && other.sameValue(r) && q.wants(&other) {
			return true
		}
	}
	return false
}

// sameValue compares the values of two rows of one chain, which are about the
// same addresses, but may spell them differently.
func (r *Row) sameValue(o *Row) bool {
	const spelling = fullValue | isOdd
	if r.set.at(r.index).flags&spelling == 0 && o.set.at(o.index).flags&spelling == 0 {
		return true
	}
	var a, b [64]byte
	return string(r.AppendValue(a[:0])) == string(o.AppendValue(b[:0]))
}
