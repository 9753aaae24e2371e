package syntax

// signature tells how many arguments a function with a predicate takes, the
// list and the predicate among them.
type signature struct{ least, most int }

// predicate returns the signature of a function whose second argument is a
// predicate.
func predicate(name string) (s signature, ok bool) {
	switch name {
	case "all", "any", "none", "one", "filter", "map", "groupBy", "find", "findIndex", "findLast", "findLastIndex":
		return signature{2, 2}, true
	case "count", "sum":
		return signature{1, 2}, true
	case "reduce", "sortBy":
		return signature{2, 3}, true
	}
	return signature{}, false
}

// isBuiltin is true for the functions of the language. A call of another name
// is a Call.
func isBuiltin(name string) bool {
	switch name {
	case "abs", "all", "any", "bitand", "bitnand", "bitnot", "bitor", "bitshl", "bitshr", "bitushr", "bitxor", "ceil", "concat",
		"count", "date", "duration", "filter", "find", "findIndex", "findLast", "findLastIndex", "first", "flatten", "float",
		"floor", "fromBase64", "fromJSON", "fromPairs", "get", "groupBy", "hasPrefix", "hasSuffix", "indexOf", "int", "join",
		"keys", "last", "lastIndexOf", "len", "lower", "map", "max", "mean", "median", "min", "none", "now", "one", "reduce",
		"repeat", "replace", "reverse", "round", "sort", "sortBy", "split", "splitAfter", "string", "sum", "take", "timezone",
		"toBase64", "toJSON", "toPairs", "trim", "trimPrefix", "trimSuffix", "type", "uniq", "upper", "values":
		return true
	}
	return false
}
