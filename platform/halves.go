package platform

import "sync"

// halvesFrom is for how many elements a second goroutine is worth while.
const halvesFrom = 4096

// Halves calls f for the elements from 0 to n: at once, or for many in two
// halves beside each other. f must be safe for that.
func Halves(n int, f func(from, to int)) {
	if n < halvesFrom {
		f(0, n)
		return
	}
	var first sync.WaitGroup
	first.Go(func() { f(0, n/2) })
	f(n/2, n)
	first.Wait()
}
