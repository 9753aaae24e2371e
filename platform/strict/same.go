package strict

import (
	"fmt"
	"reflect"
)

// Same tells whether two values that were read from files say the same, wherever
// it stood there: Places don't count, and what has a String, such as an expression,
// is compared by that, a Doc by its keys and values.
func Same[T any](a, b T) bool {
	return same(reflect.ValueOf(&a).Elem(), reflect.ValueOf(&b).Elem())
}

var (
	place   = reflect.TypeFor[Place]()
	docType = reflect.TypeFor[Doc]()
)

func same(a, b reflect.Value) bool {
	if a.Type() != b.Type() {
		return false
	}
	if a.Type() == place {
		return true
	}
	if a.Type() == docType {
		return reflect.DeepEqual(a.Interface().(Doc).content(), b.Interface().(Doc).content())
	}
	switch a.Kind() {
	case reflect.Struct:
		for i := range a.NumField() {
			if !same(a.Field(i), b.Field(i)) {
				return false
			}
		}
		return true
	case reflect.Slice, reflect.Array:
		if a.Len() != b.Len() {
			return false
		}
		for i := range a.Len() {
			if !same(a.Index(i), b.Index(i)) {
				return false
			}
		}
		return true
	case reflect.Map:
		if a.Len() != b.Len() {
			return false
		}
		for _, k := range a.MapKeys() {
			if v := b.MapIndex(k); !v.IsValid() || !same(a.MapIndex(k), v) {
				return false
			}
		}
		return true
	case reflect.Pointer, reflect.Interface:
		if a.IsNil() || b.IsNil() {
			return a.IsNil() == b.IsNil()
		}
		if a.Kind() == reflect.Pointer && a.CanInterface() {
			if s, ok := a.Interface().(fmt.Stringer); ok {
				return s.String() == b.Interface().(fmt.Stringer).String()
			}
		}
		return same(a.Elem(), b.Elem())
	}
	return a.Equal(b)
}

// content returns what a document says.
func (d Doc) content() any {
	return new(reader).free(d.root, "", 0)
}
