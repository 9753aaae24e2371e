package expr

import "testing"

func TestLeastLen(t *testing.T) {
	f := func(src string, want int) {
		t.Helper()
		if got := LeastLen(src, "queue.Queue"); got != want {
			t.Errorf("%s: %d, want %d", src, got, want)
		}
	}
	f("len(queue.Queue) >= 4", 4)
	f("4 < len(queue.Queue)", 5)
	f("len(queue.Queue) == 3", 3)
	f("len(queue.Queue[-4:]) > 1", 2)
	f("let bad = filter(queue.Queue, {#.Meta.a == 'x'}); evt.Meta.b == 'y' && len(bad) >= 4 && len(queue.Queue) > 1", 4)
	f("any(queue.Queue, {.Meta.a == 'x'}) and (any(queue.Queue, {.Meta.b == 'x'}) or len(queue.Queue) > 7)", 1)
	f("len(queue.Queue) >= 4 || len(queue.Queue) == 2", 2)
	f("len(queue.Queue) >= 4 || evt.Meta.a == ''", 0)
	f("len(queue.Queue) < 4", 0)
	f("4 > len(queue.Queue)", 0)
	f("not (len(queue.Queue) >= 4)", 0)
	f("len(queue.Queue) != 4", 0)
	f("len(map(queue.Queue, {#.Time})) >= -4", 0)
	f("len(queue.L) >= 4", 0)
	f("len(other.Queue) >= 4", 0)
	f("all(queue.Queue, {.Meta.a == 'x'})", 0)
	f("(", 0)
}

func TestMostLen(t *testing.T) {
	f := func(src string, want int) {
		t.Helper()
		if got := MostLen(src); got != want {
			t.Errorf("%s: %d, want %d", src, got, want)
		}
	}
	f("len(queue.Queue) >= 300", 301)
	f("evt.Meta.x == 'y' || 200 < count(queue.Queue, {.Meta.a == 'x'})", 201)
	f("let l = uniq(map(queue.Queue, {.Meta.a})); len(l) > 5 && queue.Queue[-40].Meta.a == 'x' && all(queue.Queue[-30:-20], {true})", 40)
	f("int(evt.Meta.port) > 1000", 0)
	f("len(queue.Queue) > 9223372036854775807", 0)
	f("(", 0)
}
