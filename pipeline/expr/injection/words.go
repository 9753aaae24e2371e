package injection

// words are a sorted table of words in upper case, each with a mark of one byte.
type words struct {
	shortest, longest int

	// Each word is followed by its mark. Words of one length stand together,
	// within these those of one first letter.
	text string

	// begins has 32 places for each length, one for each first letter (its
	// lower five bits): where these words begin in text. They end where the
	// next ones begin.
	begins []uint16
}

// mark returns the mark of a word, 0 if it is not in the table.
func (w *words) mark(word []byte) byte {
	n := len(word)
	if n < w.shortest || n > w.longest {
		return 0
	}
	slot := (n-w.shortest)*32 + int(word[0]&31)
	for at, end := int(w.begins[slot]), int(w.begins[slot+1]); at < end; at += n + 1 {
		if w.text[at:at+n] == string(word) {
			return w.text[at+n]
		}
	}
	return 0
}

// wordKind returns the kind of a keyword, function or phrase of SQL: 0 for any
// other word. Its ASCII letters are in upper case.
func wordKind(word []byte) kind {
	if mark := sqlWords.mark(word); mark != 0 {
		return letterKind(mark)
	}
	for _, c := range word {
		if c >= 0x80 {
			return foreignKind(word)
		}
	}
	return 0
}

// foreignKind is wordKind for words with the two letters beyond ASCII that are
// ASCII in upper case: the dotless i and the long s.
func foreignKind(word []byte) kind {
	var b [maxText + 1]byte
	n := 0
	for i := 0; i < len(word); i, n = i+1, n+1 {
		if b[n] = word[i]; b[n] < 0x80 {
			continue
		}
		switch string(word[i:min(i+2, len(word))]) {
		case "ı":
			b[n] = 'I'
		case "ſ":
			b[n] = 'S'
		default:
			return 0
		}
		i++
	}
	return letterKind(sqlWords.mark(b[:n]))
}
