package decisions

// Delta is what a bouncer is told at one time. Apply Deleted before New: one
// prefix may be in both.
type Delta struct {
	// Full means that New is the whole set: what is not in it is not banned.
	Full    bool
	New     []Decision
	Deleted []Decision
}
