package injection

import "math/bits"

// Fingerprints of attacks are the smallest automaton that accepts them, its
// states numbered, 0 the first. Of each state there is:
//
//	printKinds    the kinds that lead to another one, and printEnd
//	printEdges    where the states they lead to begin in printTargets,
//	              in the order of kinds
const printEnd = 1 << 31 // a fingerprint may end here

// known reports whether a fingerprint is one of an attack.
func known(fingerprint []token) bool {
	state := uint16(0)
	for i := range fingerprint {
		kinds, k := printKinds[state], uint32(fingerprint[i].kind)
		if kinds&k == 0 {
			return false
		}
		state = printTargets[int(printEdges[state])+bits.OnesCount32(kinds&(k-1))]
	}
	return printKinds[state]&printEnd != 0
}
