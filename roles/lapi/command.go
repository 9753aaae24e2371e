package lapi

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"cs/platform"
	"cs/storage"
	"cs/storage/bolt"
)

// Names of the files in the data directory.
const (
	StoreFile  = "cs.db"
	SocketFile = "cs.sock"
)

// Command is "cs lapi".
type Command struct {
	Listen  string `help:"Address to serve on." default:"127.0.0.1:8080" placeholder:"HOST:PORT" env:"CS_LISTEN"`
	DataDir string `help:"Directory of the state." default:"${data_dir}" placeholder:"DIR" env:"CS_DATA_DIR"`
	Token   string `help:"Registration token (32 characters or more): machines that know it are let in at once, bouncers fetch their key with it." placeholder:"TOKEN" env:"CS_TOKEN"`
}

// Run serves until ctx ends.
func (c *Command) Run(ctx context.Context, env *platform.Env) error {
	if c.DataDir == "" {
		c.DataDir = platform.DataDir()
	}
	s, err := Open(ctx, Config{
		OpenStore:           OpenBolt(c.DataDir),
		Listen:              c.Listen,
		Socket:              filepath.Join(c.DataDir, SocketFile),
		Token:               c.Token,
		BouncerRegistration: true,
		Secret:              []byte(os.Getenv("CS_LAPI_SECRET")),
		Log:                 env.Log,
	})
	if err != nil {
		return err
	}
	return errors.Join(s.Run(ctx), s.Close())
}

// OpenBolt returns how to open the store of a data directory, which is made if
// it isn't there.
func OpenBolt(dir string) func(context.Context) (storage.Store, error) {
	return func(ctx context.Context) (storage.Store, error) {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("cannot make the data directory: %w", err)
		}
		return bolt.Open(ctx, filepath.Join(dir, StoreFile))
	}
}
