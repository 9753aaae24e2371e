package expr

import "testing"

func TestLastOf(t *testing.T) {
	f := func(src string, want int) {
		t.Helper()
		if got := LastOf(src, "queue.Queue"); got != want {
			t.Errorf("%s: %d, want %d", src, got, want)
		}
	}
	const bad = "let bad = filter(queue.Queue, {#.Meta.a == 'x'}); "
	f("len(queue.Queue) >= 2 and queue.Queue[-1].Meta.a == queue.Queue[-2].Meta.a", 2)
	f("evt.Meta.a == 'x'", 1)
	f("len(queue.Queue) > 7", 1)
	f(bad+"len(bad) >= 4 && MedianInterval(map(bad[-4:], {#.Time})) > duration('10m')", 4)
	f(bad+"len(bad) > 4 && bad[-7].Meta.a == ''", 7)
	f(bad+"4 <= len(bad)", 5)
	f(bad+"len(bad) == 0", 1)
	f(bad+"len(bad) >= 65", 0)
	f(bad+"len(bad) >= 4 && bad[0].Meta.a == 'x'", 0)
	f(bad+"len(bad) >= 4 && len(queue.Queue) - len(bad) < 2", 0)
	f(bad+"len(bad) >= 4 && len(bad[-4:-1]) > 2", 0)
	f(bad+"any(bad, {#.Meta.b == 'x'})", 0)
	f("any(queue.Queue, {#.Meta.b == 'x'})", 0)
	f("queue.Queue[0].Meta.a == 'x'", 0)
	f("len(queue.Queue[-4:]) > 1", 0)
	f("queue.Queue[-len(queue.Queue)].Meta.a == 'x'", 0)
	f("(", 0)
}

// A filtered list of which only the end is looked at is not made as a whole, and
// what is looked at is the same.
func TestFilterFromTheEnd(t *testing.T) {
	c := &Compiler{}
	f := func(src string, want bool) {
		t.Helper()
		for _, end := range []string{"", " && all(f, {# > 2})"} { // with which all of it is needed
			p, err := c.CompileBool("let f = filter([1, 9, 2, 8, 3, 7, 4, 6, 5], {# > 2}); " + src + end)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := p.Bool(&Ctx{}); got != want || err != nil {
				t.Errorf("%s: %v, %v, want %v", src+end, got, err, want)
			}
		}
	}
	f("len(f) >= 7", true)
	f("len(f) >= 8", false)
	f("len(f) > 6", true)
	f("len(f) > 7", false)
	f("7 == len(f)", true)
	f("len(f) == 6", false)
	f("len(f) == 3", false)
	f("len(f) != 3", true)
	f("len(f) < 3", false)
	f("3 > len(f)", false)
	f("7 >= len(f)", true)
	f("len(f) <= 6", false)
	f("len(f) >= 3 && f[-1] == 5 && f[-3] == 4", true)
	f("f[-4:] == [7, 4, 6, 5]", true)
	f("f[-40:] == [9, 8, 3, 7, 4, 6, 5]", true)
	f("len(f) >= 2 && f[-2:] == [4, 5]", false)
}
