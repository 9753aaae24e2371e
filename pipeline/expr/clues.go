package expr

import (
	"slices"

	"cs/pipeline/event"
)

// clue is something that must hold for a condition to be true: a field has one
// of some values, or one of some literals occurs in a text. If a clue of a
// condition does not hold, evaluating it gives false, without failing and
// without an effect; so an index may leave it out.
type clue struct {
	isField bool // the field must have one of the values
	field   event.Slot
	values  []string

	needles []needle // one of them must be there; nil: not known
}

// needle is a literal that occurs in a subject.
type needle struct {
	subject *subject
	text    string // not empty
	fold    bool   // in either case
}

// subject is a text that needles are searched in.
type subject struct {
	key string // names the expression: equal keys, equal texts
	str func(*Ctx) string
}

// maxNeedles bounds the literals of one clue.
const maxNeedles = 4096

// needlesIn makes the needles for texts one of which occurs in v. What Upper
// and Lower made of a text has the same literals as the text, but for the case.
func needlesIn(v value, texts ...string) []needle {
	fold := false
	for v.folds != nil {
		v, fold = *v.folds, true
	}
	if v.key == "" || len(texts) == 0 || len(texts) > maxNeedles || slices.Contains(texts, "") {
		return nil
	}
	s := &subject{key: v.key, str: v.str}
	needles := make([]needle, len(texts))
	for i, t := range texts {
		needles[i] = needle{subject: s, text: t, fold: fold}
	}
	return needles
}

// oneOf makes the clues of: v equals one of the texts.
func oneOf(v value, texts ...string) []clue {
	c := clue{needles: needlesIn(v, texts...)}
	if v.slot != nil {
		c.isField, c.field, c.values = true, *v.slot, texts
	}
	if !c.isField && c.needles == nil {
		return nil
	}
	return []clue{c}
}

// contain makes the clues of: one of the texts occurs in v.
func contain(v value, texts ...string) []clue {
	if needles := needlesIn(v, texts...); needles != nil {
		return []clue{{needles: needles}}
	}
	return nil
}

// bothClues are the clues of a && b. If a may fail, what b needs says nothing:
// a would fail first.
func bothClues(a, b value) []clue {
	if a.risky {
		return a.clues
	}
	return slices.Concat(a.clues, b.clues)
}

// eitherClues are the clues of a || b: one from each side.
func eitherClues(a, b value) []clue {
	var out []clue
	for _, c := range a.clues {
		for _, d := range b.clues {
			if c.isField && d.isField && c.field == d.field {
				out = append(out, clue{isField: true, field: c.field, values: slices.Concat(c.values, d.values)})
			}
		}
	}
	c, ok := bestNeedles(a.clues)
	d, ok2 := bestNeedles(b.clues)
	if ok && ok2 && len(c)+len(d) <= maxNeedles {
		out = append(out, clue{needles: slices.Concat(c, d)})
	}
	return out
}

// bestNeedles chooses the needles that are found least often: the longest.
func bestNeedles(clues []clue) (best []needle, ok bool) {
	most := 0
	for _, c := range clues {
		if c.needles == nil {
			continue
		}
		shortest := len(c.needles[0].text)
		for _, n := range c.needles {
			shortest = min(shortest, len(n.text))
		}
		if shortest > most {
			best, most = c.needles, shortest
		}
	}
	return best, best != nil
}
