package lapi

import (
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"testing"
	"time"

	"cs/platform"
	"cs/roles/api"
	"cs/roles/config"
)

// TestCommand runs "cs lapi" on a fresh directory, twice: what was registered
// is still there the second time.
func TestCommand(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	dir := filepath.Join(t.TempDir(), "state")
	env := &platform.Env{Program: "cs", LookupEnv: func(string) (string, bool) { return "", false }, Stdout: io.Discard, Stderr: io.Discard, Log: slog.New(slog.DiscardHandler)}
	run := func(f func(ctx context.Context, c *api.Client)) {
		t.Helper()
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			c := Command{Listen: address, Token: goodToken}
			done <- c.Run(ctx, env, &config.Flags{DataDir: dir})
		}()
		c, err := api.NewClient(api.ClientConfig{URL: "http://" + address, MachineID: "m", Password: "pw"})
		if err != nil {
			t.Fatal(err)
		}
		for range 500 {
			if c.Health(ctx) == nil {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		f(ctx, c)
		c.Close()
		stop()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	var key string
	run(func(ctx context.Context, c *api.Client) {
		if ok, err := c.Register(ctx, "m", "pw", goodToken); err != nil || !ok {
			t.Fatal(ok, err)
		}
		if key, err = c.RegisterBouncer(ctx, "fw", goodToken); err != nil {
			t.Fatal(err)
		}
		now := time.Now().UTC().Format(time.RFC3339)
		_, err := c.PostAlerts(ctx, []api.Alert{{Scenario: "s", Remediation: true, StartAt: now, StopAt: now, Source: api.Source{Scope: "ip", Value: "192.0.2.7"}}})
		if err != nil {
			t.Fatal(err)
		}
	})
	run(func(ctx context.Context, c *api.Client) {
		if err := c.Login(ctx); err != nil {
			t.Fatal(err)
		}
		b, err := api.NewClient(api.ClientConfig{URL: "http://" + address, APIKey: key})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		d, err := b.Stream(api.StreamConfig{}).Next(ctx)
		if err != nil || len(d.New) != 1 || d.New[0].Value != "192.0.2.7" {
			t.Fatalf("%+v, %v", d, err)
		}
	})
	for name, want := range map[string]os.FileMode{".": 0o700, config.StoreName: 0o600} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != want {
			t.Fatal(name, info.Mode(), err)
		}
	}
}

// TestNewConfig: nothing that can be configured gets lost on the way to the server.
func TestNewConfig(t *testing.T) {
	r := config.Resolved{DataDir: "x"}
	everyField(reflect.ValueOf(&r.LAPI).Elem())
	conf := reflect.ValueOf(NewConfig(&platform.Env{Log: slog.New(slog.DiscardHandler), Version: "v1"}, r))
	for i := range conf.NumField() {
		name := conf.Type().Field(i).Name
		if conf.Field(i).IsZero() && !slices.Contains([]string{"Metrics", "Listening", "Now", "passwordCost"}, name) {
			t.Errorf("%s is not set", name)
		}
	}
}

// everyField gives every field of a struct a value other than its zero.
func everyField(v reflect.Value) {
	for i := range v.NumField() {
		switch f := v.Field(i); f.Kind() {
		case reflect.Struct:
			everyField(f)
		case reflect.String:
			f.SetString("x")
		case reflect.Bool:
			f.SetBool(true)
		case reflect.Int, reflect.Int64:
			f.SetInt(1)
		case reflect.Slice:
			f.Set(reflect.MakeSlice(f.Type(), 1, 1))
		}
	}
}
