package decisions

// A Tally sums up the IDs of a set of decisions in any order, so that two who
// hold it can tell cheaply whether they hold the same. It guards against lost
// messages and mistakes, not against an enemy.
type Tally struct {
	Count int
	Sum   uint64 // of the mixed IDs, wrapping around
}

// Add takes an ID in, Remove takes one out that is in.
func (t *Tally) Add(id int64) {
	t.Count++
	t.Sum += mix(uint64(id))
}

func (t *Tally) Remove(id int64) {
	t.Count--
	t.Sum -= mix(uint64(id))
}

// mix is the last step of SplitMix64 (Steele, Lea, Flood 2014): without it
// 1 and 4 would sum up to the same as 2 and 3.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
