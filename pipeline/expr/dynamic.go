package expr

import (
	"fmt"
	"math"
	"reflect"
	"strings"
	"time"
)

// What follows works on values whose type is known at run time only: decoded
// documents, and the variables of an Env. The rules are expr-lang's; where it
// panics these report failure.

// typeName names the type of a value for error messages.
func typeName(a any) string {
	switch a.(type) {
	case nil:
		return "nil"
	case map[string]any, map[string]string:
		return "map"
	case []any, []string:
		return "list"
	}
	return fmt.Sprintf("%T", a)
}

// isNil is true for nil and for nil pointers, maps, lists and the like.
func isNil(a any) bool {
	switch a.(type) {
	case nil:
		return true
	case string, bool, int, float64, time.Time, time.Duration:
		return false
	}
	switch v := reflect.ValueOf(a); v.Kind() {
	case reflect.Map, reflect.Slice, reflect.Pointer, reflect.Func, reflect.Interface, reflect.Chan:
		return v.IsNil()
	}
	return false
}

// toInt converts any number; floats are cut.
func toInt(a any) (int64, bool) {
	switch n := a.(type) {
	case int:
		return int64(n), true
	case float64:
		return cut(n), true
	case int64:
		return n, true
	case int32:
		return int64(n), true
	case uint8:
		return int64(n), true
	case float32:
		return cut(float64(n)), true
	case time.Duration, nil, string, bool:
		return 0, false
	}
	switch v := reflect.ValueOf(a); v.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return v.Int(), true
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return int64(v.Uint()), true
	case reflect.Float32, reflect.Float64:
		return cut(v.Float()), true
	}
	return 0, false
}

// cut converts a float to an integer. What an int64 can't hold becomes the
// smallest one, as on amd64; Go leaves it to the processor.
func cut(f float64) int64 {
	if f >= math.MinInt64 && f < math.MaxInt64 {
		return int64(f)
	}
	return math.MinInt64
}

// toFloat converts any number.
func toFloat(a any) (float64, bool) {
	switch n := a.(type) {
	case float64:
		return n, true
	case float32:
		return float64(n), true
	case int:
		return float64(n), true
	}
	i, ok := toInt(a)
	return float64(i), ok
}

// isWhole tells whether a number is of an integer type.
func isWhole(a any) bool {
	switch a.(type) {
	case int, int64, int32, uint8:
		return true
	case float64, float32:
		return false
	}
	k := reflect.ValueOf(a).Kind()
	return k >= reflect.Int && k <= reflect.Uint64
}

// equal is ==. Numbers are compared across their types.
func equal(a, b any) bool {
	switch x := a.(type) {
	case string:
		y, ok := b.(string)
		return ok && x == y
	case bool:
		y, ok := b.(bool)
		return ok && x == y
	case float64:
		if y, ok := b.(float64); ok {
			return x == y
		}
	case time.Time:
		y, ok := b.(time.Time)
		return ok && x.Equal(y)
	case time.Duration:
		y, ok := b.(time.Duration)
		return ok && x == y
	case []any, []string, []int, []float64, []byte, []bool:
		if isList(b) {
			return equalLists(x, b)
		}
	}
	if x, ok := toFloat(a); ok {
		y, ok := toFloat(b)
		if !ok {
			return false
		}
		if isWhole(a) && isWhole(b) {
			x, _ := toInt(a)
			y, _ := toInt(b)
			return x == y
		}
		return x == y
	}
	if isNil(a) || isNil(b) {
		return isNil(a) && isNil(b)
	}
	return reflect.DeepEqual(a, b)
}

func isList(a any) bool {
	switch a.(type) {
	case []any, []string, []int, []float64, []byte, []bool:
		return true
	}
	return false
}

func equalLists(a, b any) bool {
	if isNil(a) != isNil(b) && length(a) == 0 && length(b) == 0 {
		_, anys := a.([]any)
		return anys || reflect.TypeOf(a) != reflect.TypeOf(b) // only lists of one type are told apart by being nil
	}
	n := length(a)
	if n != length(b) {
		return false
	}
	for i := range n {
		if !equal(element(a, i), element(b, i)) {
			return false
		}
	}
	return true
}

// compare orders two numbers, texts, times or durations; ok is false for
// anything else.
func compare(a, b any) (order int, ordered, ok bool) {
	switch x := a.(type) {
	case string:
		y, ok := b.(string)
		return strings.Compare(x, y), true, ok
	case time.Time:
		y, ok := b.(time.Time)
		return x.Compare(y), true, ok
	case time.Duration:
		y, ok := b.(time.Duration)
		return compareNumbers(x, y), true, ok
	}
	x, okx := toFloat(a)
	y, oky := toFloat(b)
	if !okx || !oky {
		return 0, false, false
	}
	if isWhole(a) && isWhole(b) {
		x, _ := toInt(a)
		y, _ := toInt(b)
		return compareNumbers(x, y), true, true
	}
	return compareNumbers(x, y), x == x && y == y, true
}

func compareNumbers[T int64 | float64 | time.Duration](x, y T) int {
	switch {
	case x < y:
		return -1
	case x > y:
		return 1
	}
	return 0
}

// length is the number of elements of a list or a map, or of runes.
func length(a any) int {
	switch v := a.(type) {
	case string:
		return runes(v)
	case []any:
		return len(v)
	case []string:
		return len(v)
	case map[string]any:
		return len(v)
	case nil:
		return -1
	}
	switch v := reflect.ValueOf(a); v.Kind() {
	case reflect.Slice, reflect.Array, reflect.Map:
		return v.Len()
	case reflect.String:
		return runes(v.String())
	}
	return -1
}

// listLen is the number of elements of a list, -1 for anything else.
func listLen(a any) int {
	switch v := a.(type) {
	case []any:
		return len(v)
	case []string:
		return len(v)
	case []int:
		return len(v)
	case nil:
		return -1
	}
	if v := reflect.ValueOf(a); v.Kind() == reflect.Slice || v.Kind() == reflect.Array {
		return v.Len()
	}
	return -1
}

// element returns an element of a list that has it.
func element(a any, i int) any {
	switch v := a.(type) {
	case []any:
		return v[i]
	case []string:
		return v[i]
	case []int:
		return v[i]
	}
	return reflect.ValueOf(a).Index(i).Interface()
}

// within is the operator in.
func within(needle, hay any) (found, ok bool) {
	switch h := hay.(type) {
	case nil:
		return false, true
	case []string:
		s, ok := needle.(string)
		if !ok {
			return false, true
		}
		for _, e := range h {
			if e == s {
				return true, true
			}
		}
		return false, true
	case map[string]any:
		k, ok := needle.(string)
		if needle == nil {
			ok = true
		}
		_, found := h[k]
		return found, ok
	case map[string]string:
		k, ok := needle.(string)
		if needle == nil {
			ok = true
		}
		_, found := h[k]
		return found, ok
	}
	n := listLen(hay)
	if n < 0 {
		m := reflect.ValueOf(hay)
		if m.Kind() != reflect.Map {
			return false, false
		}
		k := reflect.ValueOf(needle)
		if needle == nil {
			k = reflect.Zero(m.Type().Key())
		}
		if !k.Type().AssignableTo(m.Type().Key()) || !k.Comparable() {
			return false, false
		}
		return m.MapIndex(k).IsValid(), true
	}
	for i := range n {
		if equal(element(hay, i), needle) {
			return true, true
		}
	}
	return false, true
}

// fetch is a.b and a[b] on what has no static type.
func (x *Ctx) fetch(a, key any) any {
	switch v := a.(type) {
	case map[string]any:
		switch k := key.(type) {
		case string:
			return v[k]
		case nil:
			return v[""]
		}
		x.fail("a key of a map must be a string, not %s", typeName(key))
		return nil
	case map[string]string:
		switch k := key.(type) {
		case string:
			return v[k]
		case nil:
			return v[""]
		}
		x.fail("a key of a map must be a string, not %s", typeName(key))
		return nil
	case map[string][]string:
		k, ok := key.(string)
		if !ok {
			x.fail("a key of a map must be a string, not %s", typeName(key))
		}
		return v[k]
	case map[any]any:
		if key == nil || reflect.TypeOf(key).Comparable() {
			return v[key]
		}
		x.fail("%s can't be a key", typeName(key))
		return nil
	case map[any][]any:
		if key == nil || reflect.TypeOf(key).Comparable() {
			return v[key]
		}
		x.fail("%s can't be a key", typeName(key))
		return nil
	case string:
		i, ok := x.index(key, len(v))
		if !ok {
			return nil
		}
		return v[i]
	}
	if n := listLen(a); n >= 0 {
		i, ok := x.index(key, n)
		if !ok {
			return nil
		}
		return element(a, i)
	}
	if m := reflect.ValueOf(a); m.Kind() == reflect.Map && m.Type().Key().Kind() == reflect.String {
		k, ok := key.(string)
		if !ok {
			x.fail("a key of a map must be a string, not %s", typeName(key))
			return nil
		}
		if e := m.MapIndex(reflect.ValueOf(k)); e.IsValid() {
			return e.Interface()
		}
		return reflect.Zero(m.Type().Elem()).Interface()
	}
	if name, ok := key.(string); ok {
		if m, ok := x.memberOf(a, name); ok && !m.method && m.has(a) {
			return m.get(a, nil)
		}
	}
	x.fail("cannot get %v of %s", key, typeName(a))
	return nil
}

// index resolves the index of a list of n elements; negative ones count from
// the end.
func (x *Ctx) index(key any, n int) (int, bool) {
	i, ok := toInt(key)
	if !ok {
		x.fail("an index must be an int, not %s", typeName(key))
		return 0, false
	}
	return x.place(i, n)
}

func (x *Ctx) place(i int64, n int) (int, bool) {
	if i < 0 {
		i += int64(n)
	}
	if i < 0 || i >= int64(n) {
		x.fail("index out of range: %d of %d", i, n)
		return 0, false
	}
	return int(i), true
}

// clip resolves the bounds of a slice of n elements.
func clip(from, to int64, n int) (int, int) {
	if from < 0 {
		from = max(0, from+int64(n))
	}
	if to < 0 {
		to = max(0, to+int64(n))
	}
	to = min(to, int64(n))
	return int(min(from, to)), int(to)
}

// keep copies what an evaluation made in scratch memory; texts tells whether
// that includes the bytes of texts.
func keep(a any, bytes bool) any {
	switch v := a.(type) {
	case string:
		if bytes {
			return strings.Clone(v)
		}
	case []string:
		if v == nil {
			return v
		}
		l := make([]string, len(v))
		for i, s := range v {
			if bytes {
				s = strings.Clone(s)
			}
			l[i] = s
		}
		return l
	case []any:
		if v == nil {
			return v
		}
		l := make([]any, len(v))
		for i, e := range v {
			l[i] = keep(e, bytes)
		}
		return l
	}
	return a
}
