package expr

// suggest words the closest of some names, if one is close enough to be meant.
func suggest(name string, names []string) string {
	best, dist := "", 1+len(name)/3
	for _, n := range names {
		if d := distance(name, n); d < dist || d == dist && (best == "" || n < best) {
			best, dist = n, d
		}
	}
	if best == "" {
		return ""
	}
	return " (did you mean " + best + "?)"
}

// distance counts the insertions, deletions, replacements and changes of case
// that turn a into b; a change of case costs nothing beside others.
func distance(a, b string) int {
	if max(len(a), len(b)) > 64 {
		return len(a) + len(b)
	}
	var prev, cur [65]int
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1]|0x20 == b[j-1]|0x20 {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
		}
		prev = cur
	}
	return prev[len(b)]
}
