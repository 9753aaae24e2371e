package sqlitefile

import "strings"

// columnsOf reads the names of the columns from the statement that made a
// table, and which of them is another name of the row ID (-1: none).
func columnsOf(sql string) (names []string, rowID int) {
	rowID = -1
	open := strings.IndexByte(sql, '(')
	if open < 0 {
		return nil, rowID
	}
	for _, def := range definitions(sql[open+1:]) {
		name, rest, quoted := firstWord(def)
		if name == "" {
			continue
		}
		if !quoted {
			switch strings.ToUpper(name) {
			case "CONSTRAINT", "PRIMARY", "UNIQUE", "CHECK", "FOREIGN":
				continue
			}
		}
		if words := strings.Fields(strings.ToUpper(rest)); len(words) > 0 && words[0] == "INTEGER" && strings.Contains(strings.Join(words, " "), "PRIMARY KEY") {
			rowID = len(names)
		}
		names = append(names, name)
	}
	return names, rowID
}

// definitions cuts the list in brackets at its commas, but not at those within
// brackets or quotes.
func definitions(list string) (out []string) {
	depth, start := 0, 0
	for i := 0; i < len(list); i++ {
		switch c := list[i]; c {
		case '\'', '"', '`', '[':
			end := c
			if c == '[' {
				end = ']'
			}
			n := strings.IndexByte(list[i+1:], end)
			if n < 0 {
				return out
			}
			i += n + 1
		case '(':
			depth++
		case ')':
			if depth == 0 {
				return append(out, list[start:i])
			}
			depth--
		case ',':
			if depth == 0 {
				out = append(out, list[start:i])
				start = i + 1
			}
		}
	}
	return out
}

// firstWord returns the name that a definition begins with, and what follows.
func firstWord(def string) (word, rest string, quoted bool) {
	def = strings.TrimLeft(def, " \t\r\n")
	if def == "" {
		return "", "", false
	}
	if i := strings.IndexByte("\"`[", def[0]); i >= 0 {
		end := "\"`]"[i]
		n := strings.IndexByte(def[1:], end)
		if n < 0 {
			return "", "", true
		}
		return def[1 : n+1], def[n+2:], true
	}
	n := strings.IndexAny(def, " \t\r\n(")
	if n < 0 {
		return def, "", false
	}
	return def[:n], def[n:], false
}
