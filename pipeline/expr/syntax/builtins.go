package syntax

// signature tells how many arguments a function with a predicate takes, the
// list and the predicate among them.
type signature struct{ least, most int }

// predicates are the functions whose second argument is a predicate.
var predicates = map[string]signature{
	"all": {2, 2}, "any": {2, 2}, "none": {2, 2}, "one": {2, 2},
	"filter": {2, 2}, "map": {2, 2}, "groupBy": {2, 2},
	"find": {2, 2}, "findIndex": {2, 2}, "findLast": {2, 2}, "findLastIndex": {2, 2},
	"count": {1, 2}, "sum": {1, 2},
	"reduce": {2, 3}, "sortBy": {2, 3},
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
