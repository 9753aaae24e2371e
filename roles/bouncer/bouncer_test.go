package bouncer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"cs/decisions"
	"cs/remediate/remediatetest"
	"cs/roles/api"
)

// feed is a Feed that a test drives.
type feed struct {
	next    chan any // decisions.Delta or error
	resyncs atomic.Int64
}

func newFeed() *feed { return &feed{next: make(chan any)} }

func (f *feed) Resync() { f.resyncs.Add(1) }

func (f *feed) Next(ctx context.Context) (decisions.Delta, error) {
	select {
	case <-ctx.Done():
		return decisions.Delta{}, ctx.Err()
	case <-time.After(defaultInterval):
		return decisions.Delta{}, nil
	case v := <-f.next:
		if err, ok := v.(error); ok {
			return decisions.Delta{}, err
		}
		return v.(decisions.Delta), nil
	}
}

func ban(id int64, value string, left time.Duration) decisions.Decision {
	d := decisions.Decision{
		ID: id, Scope: decisions.ScopeIP, Value: value, Type: "ban", Origin: decisions.OriginCrowdsec,
		Scenario: "crowdsecurity/ssh-bf", Created: time.Now(), Until: time.Now().Add(left),
	}
	if strings.Contains(value, "/") {
		d.Scope = decisions.ScopeRange
	}
	return d
}

// A rig is a bouncer in front of a fake kernel.
type rig struct {
	t      *testing.T
	feed   *feed
	kernel *remediatetest.Fake
	b      *Bouncer
	log    bytes.Buffer
	logMu  sync.Mutex
	stop   func()
}

func (r *rig) Write(b []byte) (int, error) {
	r.logMu.Lock()
	defer r.logMu.Unlock()
	return r.log.Write(b)
}

func (r *rig) logged() string {
	r.logMu.Lock()
	defer r.logMu.Unlock()
	return r.log.String()
}

func start(t *testing.T, kernel *remediatetest.Fake, saved string, change func(*Config)) *rig {
	t.Helper()
	r := &rig{t: t, feed: newFeed(), kernel: kernel}
	cfg := Config{Feed: r.feed, Kernel: kernel, SavedPath: saved, Log: slog.New(slog.NewTextHandler(r, nil))}
	if change != nil {
		change(&cfg)
	}
	b, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.b = b
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- b.Run(ctx) }()
	r.stop = func() {
		t.Helper()
		cancel()
		began := time.Now()
		if err := <-done; err != nil {
			t.Errorf("stopped with %v", err)
		}
		if took := time.Since(began); took > 5*time.Second { // a second, where nothing else runs
			t.Errorf("stopping took %v", took)
		}
	}
	synctest.Wait()
	return r
}

func (r *rig) tell(v any) {
	r.t.Helper()
	select {
	case r.feed.next <- v:
	case <-time.After(time.Minute):
		r.t.Fatal("the bouncer does not ask")
	}
	synctest.Wait()
}

func (r *rig) blocks(addr string, want bool) {
	r.t.Helper()
	if got := r.kernel.Blocked(netip.MustParseAddr(addr)); got != want {
		r.t.Errorf("%s is blocked: %v, want %v\n%s", addr, got, want, r.logged())
	}
}

func TestFollowsTheFeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, remediatetest.NewFake(time.Now), "", nil)
		simulated, captcha := ban(3, "203.0.113.3", time.Hour), ban(4, "203.0.113.4", time.Hour)
		simulated.Simulated, captcha.Type = true, "captcha"
		country := ban(5, "XX", time.Hour)
		country.Scope = decisions.ScopeCountry
		r.tell(decisions.Delta{Full: true, New: []decisions.Decision{ban(1, "203.0.113.1", time.Hour), simulated, captcha, country}})
		r.tell(decisions.Delta{New: []decisions.Decision{ban(2, "203.0.113.128/25", time.Hour)}})
		r.blocks("203.0.113.1", true)
		r.blocks("203.0.113.129", true)
		r.blocks("203.0.113.3", false)
		r.blocks("203.0.113.4", false)
		if !strings.Contains(r.logged(), `msg="ban applied" prefix=203.0.113.128/25 origin=crowdsec left=1h0m0s scenario=crowdsecurity/ssh-bf since_decision=`) {
			t.Errorf("the log does not tell of the ban:\n%s", r.logged())
		}
		r.tell(decisions.Delta{Deleted: []decisions.Decision{ban(1, "203.0.113.1", 0)}})
		r.blocks("203.0.113.1", false)
		r.stop()
		r.blocks("203.0.113.129", true) // kept by default
	})
}

// TestReadiness: the service manager hears that we are ready when the kernel has taken what is
// known, or when it has refused for too long, and how things are meanwhile.
func TestReadiness(t *testing.T) {
	refused := errors.New("operation not permitted")
	f := func(failures int, after time.Duration) {
		synctest.Test(t, func(t *testing.T) {
			kernel, began := remediatetest.NewFake(time.Now), time.Now()
			var ready time.Duration
			var states []string
			r := start(t, kernel, "", func(c *Config) {
				c.Ready = func() { ready = time.Since(began) }
				c.State = func(s string) { states = append(states, s) }
				kernel.Fail(nil) // for Open
				for range failures {
					kernel.Fail(refused)
				}
			})
			r.tell(decisions.Delta{Full: true, New: []decisions.Decision{ban(1, "203.0.113.1", time.Hour)}})
			time.Sleep(100 * time.Second)
			r.tell(errors.New("connection refused"))
			time.Sleep(11 * time.Second)
			synctest.Wait()
			if ready < after || ready > after+10*time.Second {
				t.Errorf("%d failures: ready after %v, want %v", failures, ready, after)
			}
			all := strings.Join(states, "\n")
			if !strings.Contains(all, "enforcing 1 of 1 prefixes") || !strings.Contains(all, "; the LAPI has not answered since ") ||
				failures > 5 && !strings.Contains(all, refused.Error()) {
				t.Errorf("%d failures: told\n%s", failures, all)
			}
			r.stop()
		})
	}
	f(0, 0)
	f(3, time.Second)
	f(7, unready)
}

func TestCleansWhenAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, remediatetest.NewFake(time.Now), "", func(c *Config) { c.OnStop = Clean })
		r.tell(decisions.Delta{Full: true, New: []decisions.Decision{ban(1, "203.0.113.1", time.Hour)}})
		r.stop()
		r.blocks("203.0.113.1", false)
	})
}

func TestEnforcesWhileTheFeedIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		saved := filepath.Join(t.TempDir(), savedName)
		r := start(t, remediatetest.NewFake(time.Now), saved, nil)
		r.tell(decisions.Delta{Full: true, New: []decisions.Decision{ban(1, "203.0.113.1", time.Hour), ban(2, "203.0.113.2", time.Minute)}})
		for range 5 {
			r.tell(errors.New("connection refused"))
		}
		r.blocks("203.0.113.1", true)
		if n := strings.Count(r.logged(), "cannot follow"); n != 1 {
			t.Errorf("5 failures were logged %d times", n)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		r.blocks("203.0.113.2", false)
		r.stop()

		// The machine boots without the LAPI.
		r = start(t, remediatetest.NewFake(time.Now), saved, nil)
		r.blocks("203.0.113.1", true)
		r.blocks("203.0.113.2", false)
		r.tell(errors.New("connection refused"))
		r.tell(decisions.Delta{Full: true, New: []decisions.Decision{ban(7, "203.0.113.7", time.Hour)}})
		r.blocks("203.0.113.1", false)
		r.blocks("203.0.113.7", true)
		r.stop()
	})
}

// TestClockStartsInThePast: on a machine without a clock of its own saved bans
// last as long as they had left when they were saved.
func TestClockStartsInThePast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		saved := filepath.Join(t.TempDir(), savedName)
		r := start(t, remediatetest.NewFake(time.Now), saved, nil)
		r.tell(decisions.Delta{Full: true, New: []decisions.Decision{ban(1, "203.0.113.1", time.Hour), ban(2, "203.0.113.2", time.Minute)}})
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		r.stop()

		past := func() time.Time { return time.Now().AddDate(-20, 0, 0) }
		r = start(t, remediatetest.NewFake(past), saved, func(c *Config) { c.Now = past })
		r.blocks("203.0.113.1", true)
		r.blocks("203.0.113.2", false)
		if !strings.Contains(r.logged(), "the clock is wrong") {
			t.Errorf("nothing is said of the clock:\n%s", r.logged())
		}
		time.Sleep(57 * time.Minute)
		synctest.Wait()
		r.blocks("203.0.113.1", true)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		r.blocks("203.0.113.1", false)
		r.stop()
	})
}

// A kill loses nothing that was quiet before, and what happened in the last two
// seconds at most while changes go on.
func TestSavesSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		saved := filepath.Join(t.TempDir(), savedName)
		r := start(t, remediatetest.NewFake(time.Now), saved, nil)
		r.tell(decisions.Delta{Full: true})
		has := func(want int) {
			t.Helper()
			synctest.Wait()
			n := 0
			err := decisions.Load(saved, time.Now(), func(list []decisions.Decision) error {
				n += len(list)
				return nil
			})
			if err != nil || n != want {
				t.Errorf("saved %d decisions, %v; want %d", n, err, want)
			}
		}
		tell := func(id int64) {
			r.tell(decisions.Delta{New: []decisions.Decision{ban(id, fmt.Sprintf("203.0.113.%d", id), time.Hour)}})
			time.Sleep(time.Millisecond)
		}
		const quick = saveBurst - 2 // the start and the full set were saved
		for id := int64(1); id < 20; id++ {
			tell(id)
			has(int(min(id, quick)))
		}
		time.Sleep(saveGap)
		has(19)
		r.stop()
	})
}

// A LAPI that accepts and never answers, or stalls in the middle of its answer:
// what is known stays blocked, over a restart too, and stopping takes no longer.
func TestLAPIHangs(t *testing.T) {
	f := func(name string, hang func(http.ResponseWriter)) {
		t.Run(name, func(t *testing.T) {
			var hanging atomic.Bool
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodHead {
					w.WriteHeader(http.StatusMethodNotAllowed)
					return
				}
				if hanging.Load() {
					hang(w)
					<-r.Context().Done()
					return
				}
				io.WriteString(w, `{"new":[{"id":1,"duration":"4h","origin":"CAPI","scenario":"s","scope":"Ip","type":"ban","value":"203.0.113.1"}],"deleted":null}`)
			}))
			defer server.Close()
			saved := filepath.Join(t.TempDir(), savedName)
			begin := func(kernel *remediatetest.Fake) (stop func()) {
				feed := &remote{Client: api.ClientConfig{URL: server.URL, APIKey: "k"}, Stream: api.StreamConfig{Interval: time.Millisecond}}
				b, err := New(Config{Feed: feed, Kernel: kernel, SavedPath: saved, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error, 1)
				go func() { done <- b.Run(ctx) }()
				for deadline := time.Now().Add(20 * time.Second); !kernel.Blocked(netip.MustParseAddr("203.0.113.1")); time.Sleep(time.Millisecond) {
					if time.Now().After(deadline) {
						t.Fatal("it is not blocked")
					}
				}
				return func() {
					t.Helper()
					cancel()
					select {
					case err := <-done:
						if err != nil {
							t.Error(err)
						}
					case <-time.After(20 * time.Second): // the time-outs are longer
						t.Fatal("it does not stop")
					}
				}
			}
			kernel := remediatetest.NewFake(time.Now)
			stop := begin(kernel)
			hanging.Store(true)
			time.Sleep(50 * time.Millisecond) // the next question hangs
			stop()
			if !kernel.Blocked(netip.MustParseAddr("203.0.113.1")) {
				t.Error("it was lifted")
			}
			stop = begin(remediatetest.NewFake(time.Now)) // after a boot
			stop()
		})
	}
	f("never answers", func(http.ResponseWriter) {})
	f("half an answer", func(w http.ResponseWriter) {
		io.WriteString(w, `{"new":[{"id":2,"duration":"4h","origin":"CAPI","scenario":"s","scope":"Ip","type":"ban","value":"203.0.113.2"},{"id"`)
		w.(http.Flusher).Flush()
	})
}

// After a crash the kernel still blocks what was decided just before it,
// which is not in the saved set: that must not be lifted before the feed answers.
func TestCrashOpensNoGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		saved := filepath.Join(t.TempDir(), savedName)
		kernel := remediatetest.NewFake(time.Now)
		r := start(t, kernel, saved, nil)
		old, fresh := ban(1, "203.0.113.1", time.Hour), ban(2, "203.0.113.2", time.Hour)
		r.tell(decisions.Delta{Full: true, New: []decisions.Decision{old}})
		time.Sleep(saveGap + time.Millisecond)
		synctest.Wait()
		before, err := os.ReadFile(saved)
		if err != nil {
			t.Fatal(err)
		}
		r.tell(decisions.Delta{New: []decisions.Decision{fresh}})
		r.stop()
		restore := func() { // as if it had been killed
			t.Helper()
			err := os.WriteFile(saved, before, 0o600)
			if err == nil {
				err = os.Chtimes(saved, time.Now(), time.Now()) // which are the bubble's
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		restore()

		r = start(t, kernel, saved, nil)
		r.blocks("203.0.113.2", true)
		r.tell(decisions.Delta{Full: true, New: []decisions.Decision{old, fresh}})
		r.blocks("203.0.113.2", true)
		r.stop()

		// Without an answer the saved set rules after a while.
		restore()
		r = start(t, kernel, saved, nil)
		time.Sleep(firstAnswer + time.Millisecond)
		synctest.Wait()
		r.blocks("203.0.113.1", true)
		r.blocks("203.0.113.2", false)
		r.stop()
	})
}

// TestPeer: the LAPI's name is looked up now and then, without anybody waiting for
// it, and what was known stays while it can't be.
func TestPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer("http://lapi.example:8080/")
		var answers []any
		p.lookup = func(_ context.Context, host string) ([]netip.Addr, error) {
			if host != "lapi.example" || len(answers) == 0 {
				t.Errorf("%q is looked up once too often", host)
				return nil, errors.New("no such host")
			}
			time.Sleep(time.Second)
			a := answers[0]
			answers = answers[1:]
			if text, ok := a.(string); ok {
				return []netip.Addr{netip.MustParseAddr(text)}, nil
			}
			return nil, a.(error)
		}
		knows := func(want string) {
			t.Helper()
			synctest.Wait()
			if got := fmt.Sprint(p.known()); got != want {
				t.Errorf("known are %s, want %s", got, want)
			}
		}
		away := errors.New("no name server")
		answers = []any{away, "192.0.2.1", away, away, "192.0.2.2"}
		knows("[]")
		time.Sleep(guardEvery)
		knows("[]")
		time.Sleep(guardEvery)
		knows("[192.0.2.1]")
		time.Sleep(resolveEvery - 2*guardEvery)
		knows("[192.0.2.1]")
		time.Sleep(2 * guardEvery)
		for range 2 {
			knows("[192.0.2.1]")
			time.Sleep(guardEvery)
		}
		knows("[192.0.2.1]")
		time.Sleep(guardEvery)
		knows("[192.0.2.2]")
		time.Sleep(2 * time.Second)
		if len(answers) > 0 {
			t.Errorf("left: %v", answers)
		}
	})
	for text, want := range map[string]string{"http://[2001:db8::1]:8080/": "[2001:db8::1]", "/run/cs.sock": "[]", "": "[]", "https://192.0.2.9/x": "[192.0.2.9]"} {
		if got := fmt.Sprint(newPeer(text).known()); got != want {
			t.Errorf("%s: known are %s, want %s", text, got, want)
		}
	}
}

func TestDamagedSavedSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		saved := filepath.Join(t.TempDir(), savedName)
		if err := os.WriteFile(saved, []byte("nonsense"), 0o600); err != nil {
			t.Fatal(err)
		}
		r := start(t, remediatetest.NewFake(time.Now), saved, nil)
		if !strings.Contains(r.logged(), "starting without the saved set") {
			t.Errorf("nothing was said:\n%s", r.logged())
		}
		r.tell(decisions.Delta{Full: true, New: []decisions.Decision{ban(1, "203.0.113.1", time.Hour)}})
		r.blocks("203.0.113.1", true)
		r.stop()
	})
}

// A LAPI that lost half of its database is asked again before it is believed.
func TestSuspiciousListIsAskedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, remediatetest.NewFake(time.Now), "", nil)
		var many []decisions.Decision
		for i := range 3000 {
			many = append(many, ban(int64(i), netip.AddrFrom4([4]byte{203, 0, byte(i >> 8), byte(i)}).String(), time.Hour))
		}
		r.tell(decisions.Delta{Full: true, New: many})
		r.tell(decisions.Delta{Full: true, New: many[:100]})
		r.blocks("203.0.1.5", true)
		time.Sleep(suspectAgain + defaultInterval + time.Millisecond)
		synctest.Wait()
		if r.feed.resyncs.Load() != 1 {
			t.Errorf("asked again %d times, want once", r.feed.resyncs.Load())
		}
		r.tell(decisions.Delta{Full: true, New: many[:100]})
		r.blocks("203.0.1.5", false)
		r.blocks("203.0.0.5", true)
		r.stop()
	})
}

func TestManyBansAreSummarised(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, remediatetest.NewFake(time.Now), "", nil)
		r.tell(decisions.Delta{Full: true})
		for i := range 50 {
			r.tell(decisions.Delta{New: []decisions.Decision{ban(int64(i), netip.AddrFrom4([4]byte{203, 0, 1, byte(i)}).String(), time.Hour)}})
		}
		time.Sleep(2 * time.Second)
		r.tell(decisions.Delta{New: []decisions.Decision{ban(99, "203.0.2.1", time.Hour)}})
		if n := strings.Count(r.logged(), "ban applied"); n != maxLines+1 {
			t.Errorf("%d bans were logged in full, want %d", n, maxLines+1)
		}
		if !strings.Contains(r.logged(), `msg="more bans changed" count=30`) {
			t.Errorf("the rest is not counted:\n%s", r.logged())
		}
		r.stop()
	})
}
