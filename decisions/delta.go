package decisions

// Delta is what a bouncer is told at one time. Apply Deleted before New: one
// prefix may be in both.
type Delta struct {
	// Full means that New is the whole set: what is not in it is not banned.
	Full bool
	// A whole set may come in parts, numbered from 0; More tells that there are
	// further ones. If part 0 comes before the last, it begins anew.
	Part    int
	More    bool
	New     []Decision
	Deleted []Decision
}
