package lapi

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"cs/decisions"
	"cs/platform/order"
	"cs/roles/api"
	"cs/storage"
)

// maxSharing bounds the rows made for the addresses that share one key. At the
// bound the row that has been silent for longest is given up for a new one.
const maxSharing = 4096

// bouncers holds the rows of all bouncers in memory, so that a poll doesn't
// touch the store, and collects what polls change.
type bouncers struct {
	mu    sync.Mutex
	rows  map[string]*bouncerRow   // by name
	byKey map[string][]*bouncerRow // by hash of the key, oldest first
}

type bouncerRow struct {
	storage.Bouncer
	streams bool // LastPull and Cursor are its place in the log
	told    bool // Cursor isn't written yet
	pulled  bool // nor is LastPull, which can wait
	changed bool // nor are address, type and version

	life context.Context // ends when the row is removed
	end  context.CancelFunc
}

func loadBouncers(ctx context.Context, store storage.Store) (*bouncers, error) {
	all, err := store.Bouncers(ctx)
	if err != nil {
		return nil, err
	}
	b := &bouncers{rows: make(map[string]*bouncerRow), byKey: make(map[string][]*bouncerRow)}
	for _, row := range all {
		b.insert(row)
	}
	return b, nil
}

// lastTold is the greatest decision ID that any bouncer has been told.
func (b *bouncers) lastTold() (id int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, row := range b.rows {
		id = max(id, row.Cursor)
	}
	return id
}

func (b *bouncers) insert(row storage.Bouncer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	// A row with LastPull alone may be that of a bouncer that never streamed.
	r := &bouncerRow{Bouncer: row, streams: row.Cursor > 0}
	r.life, r.end = context.WithCancel(context.Background())
	b.rows[row.Name] = r
	b.byKey[row.KeyHash] = append(b.byKey[row.KeyHash], r)
}

func (b *bouncers) remove(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.rows[name]
	if r == nil {
		return
	}
	r.end()
	delete(b.rows, name)
	rest := slices.DeleteFunc(b.byKey[r.KeyHash], func(o *bouncerRow) bool { return o == r })
	if len(rest) == 0 {
		delete(b.byKey, r.KeyHash)
	} else {
		b.byKey[r.KeyHash] = rest
	}
}

// life returns a context that ends when a bouncer is removed.
func (b *bouncers) life(name string) context.Context {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r := b.rows[name]; r != nil {
		return r.life
	}
	return removed
}

// removed is the life of who isn't there any more.
var removed = func() context.Context {
	ctx, end := context.WithCancel(context.Background())
	end()
	return ctx
}()

// place returns where a bouncer is in the log.
func (b *bouncers) place(name string) decisions.Cursor {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.rows[name]
	if r == nil || !r.streams {
		return decisions.Cursor{}
	}
	return decisions.Cursor{ID: r.Cursor, At: r.LastPull}
}

// told notes that a bouncer has been told everything up to c.
func (b *bouncers) told(name string, c decisions.Cursor) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r := b.rows[name]; r != nil {
		r.told = r.told || r.Cursor != c.ID
		r.LastPull, r.Cursor, r.streams, r.pulled = c.At, c.ID, true, true
	}
}

// asked notes a single question. A bouncer that streams is left alone: its
// LastPull is its place in the log.
func (b *bouncers) asked(name string, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r := b.rows[name]; r != nil && !r.streams && now.Sub(r.LastPull) >= time.Minute {
		r.LastPull, r.pulled = now, true
	}
}

// reported notes what a bouncer tells of itself in its report of usage.
func (b *bouncers) reported(name string, report api.ComponentMetrics, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.rows[name]
	if r == nil {
		return
	}
	if report.Type != "" {
		r.Type = clip(report.Type)
	}
	r.Version = clip(report.Version)
	r.OSName, r.OSVersion, r.OSFamily = report.OS.Name, report.OS.Version, report.OS.Family
	r.FeatureFlags, r.Updated, r.changed = report.FeatureFlags, now, true
}

// flush writes what polls have changed. A poll that told nothing new is only
// written with all: a bouncer that idles shall not wear out a router's flash.
func (b *bouncers) flush(ctx context.Context, store storage.Store, all bool) error {
	b.mu.Lock()
	var stamps []storage.BouncerStamp
	var changed []storage.Bouncer
	for _, r := range b.rows {
		if r.told || all && r.pulled {
			stamps = append(stamps, storage.BouncerStamp{Name: r.Name, LastPull: r.LastPull, Cursor: r.Cursor})
			r.told, r.pulled = false, false
		}
		if r.changed {
			changed = append(changed, r.Bouncer)
			r.changed = false
		}
	}
	b.mu.Unlock()

	var errs []error
	if len(stamps) > 0 {
		if err := store.StampBouncers(ctx, stamps); err != nil {
			errs = append(errs, err)
			b.again(stamps, nil)
		}
	}
	for _, row := range changed {
		err := store.UpdateBouncer(ctx, row.Name, func(s *storage.Bouncer) error {
			s.IP, s.Type, s.Version, s.Updated = row.IP, row.Type, row.Version, row.Updated
			s.OSName, s.OSVersion, s.OSFamily, s.FeatureFlags = row.OSName, row.OSVersion, row.OSFamily, row.FeatureFlags
			return nil
		})
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			errs = append(errs, err)
			b.again(nil, []storage.Bouncer{row})
		}
	}
	return errors.Join(errs...)
}

// heard is when something was last heard of a bouncer.
func (r *bouncerRow) heard() time.Time {
	if r.LastPull.Before(r.Created) {
		return r.Created
	}
	return r.LastPull
}

// again marks rows that could not be written.
func (b *bouncers) again(stamps []storage.BouncerStamp, changed []storage.Bouncer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range stamps {
		if r := b.rows[s.Name]; r != nil {
			r.told = true
		}
	}
	for _, c := range changed {
		if r := b.rows[c.Name]; r != nil {
			r.changed = true
		}
	}
}

// has tells whether there is a row of a name.
func (b *bouncers) has(name string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.rows[name] != nil
}

// list returns all rows by creation.
func (b *bouncers) list() []storage.Bouncer {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make([]storage.Bouncer, 0, len(b.rows))
	for _, r := range b.rows {
		out = append(out, r.Bouncer)
	}
	order.Sort(out, func(x, y storage.Bouncer) int {
		if c := x.Created.Compare(y.Created); c != 0 {
			return c
		}
		return strings.Compare(x.Name, y.Name)
	})
	return out
}

// keyOwner returns whose a key is, "" if nobody's, and changes nothing.
func (b *bouncers) keyOwner(key string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var room [128]byte
	if row := keyOwner(b.byKey[string(storage.AppendKeyHash(room[:0], key))]); row != nil {
		return row.Name
	}
	return ""
}

// bouncer returns the name of the bouncer that holds a key and asks from ip;
// "" if it is nobody's. Hosts that share a key get a row each, and so a place
// in the log each.
func (s *Server) bouncer(ctx context.Context, key, ip, agent string) (string, error) {
	var room [128]byte
	hash, now := storage.AppendKeyHash(room[:0], key), s.now()
	if name, known := s.bouncers.enter(hash, ip, agent, now); known {
		return name, nil
	}
	s.accounts.Lock()
	defer s.accounts.Unlock()
	if name, known := s.bouncers.enter(hash, ip, agent, now); known {
		return name, nil // somebody was quicker
	}
	if err := s.shareKey(ctx, string(hash), ip, now); err != nil {
		return "", err
	}
	name, _ := s.bouncers.enter(hash, ip, agent, now)
	return name, nil
}

// enter returns the name of the bouncer that holds the key of a hash and asks
// from ip, and notes what it tells of itself; "" if it may not come in. It is
// not known if the key is somebody's who never came from there.
func (b *bouncers) enter(hash []byte, ip, agent string, now time.Time) (name string, known bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	rows := b.byKey[string(hash)]
	row := rowFor(rows, ip)
	switch {
	case row != nil:
	case len(rows) == 1 && rows[0].IP == "":
		row = rows[0]
	default:
		return "", keyOwner(rows) == nil
	}
	if row.AuthType != storage.AuthKey {
		return "", true
	}
	row.introduce(ip, agent, now)
	return row.Name, true
}

// introduce notes where a bouncer is, if that isn't known, and what it tells of
// itself as its user agent.
func (r *bouncerRow) introduce(ip, agent string, now time.Time) {
	kind, version, plain := strings.Cut(agent, "/")
	if !plain || strings.Contains(version, "/") {
		kind, version = agent, "N/A"
	}
	kind, version = clip(kind), clip(version)
	if r.IP == "" && ip != "" || r.Type != kind || r.Version != version {
		if r.IP == "" {
			r.IP = ip
		}
		r.Type, r.Version, r.Updated, r.changed = kind, version, now, true
	}
}

func rowFor(rows []*bouncerRow, ip string) *bouncerRow {
	for _, r := range rows {
		if r.IP == ip {
			return r
		}
	}
	return nil
}

// keyOwner returns the oldest row that comes in by its key, nil if there is none.
func keyOwner(rows []*bouncerRow) *bouncerRow {
	for _, r := range rows {
		if r.AuthType == storage.AuthKey {
			return r
		}
	}
	return nil
}

// shareKey makes the row "base@ip" for another host with the same key. The
// caller holds s.accounts; polls go on while the disk is written.
func (s *Server) shareKey(ctx context.Context, hash, ip string, now time.Time) error {
	owner, idle := s.bouncers.sharing(hash)
	if idle != "" {
		if err := s.dropBouncer(ctx, idle); err != nil {
			return err
		}
	}
	row := storage.Bouncer{
		Name: baseName(owner) + "@" + ip, KeyHash: hash, AuthType: storage.AuthKey,
		IP: ip, AutoCreated: true, Created: now, Updated: now,
	}
	if err := s.store.AddBouncer(ctx, row); err != nil {
		return fmt.Errorf("cannot add bouncer %q: %w", row.Name, err)
	}
	s.bouncers.insert(row)
	return nil
}

// sharing returns whose the key of a hash is and, if too many hosts share it,
// who makes room for another one.
func (b *bouncers) sharing(hash string) (owner, idle string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	rows := b.byKey[hash]
	if r := keyOwner(rows); r != nil {
		owner = r.Name
	}
	if len(rows) < maxSharing {
		return owner, ""
	}
	var silent *bouncerRow
	for _, r := range rows {
		if r.AutoCreated && (silent == nil || r.heard().Before(silent.heard())) {
			silent = r
		}
	}
	if silent != nil {
		idle = silent.Name
	}
	return owner, idle
}

// dropBouncer removes one row. The caller holds s.accounts.
func (s *Server) dropBouncer(ctx context.Context, name string) error {
	if err := s.store.DeleteBouncer(ctx, name); err != nil && !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	s.bouncers.remove(name)
	return nil
}

// baseName removes the addresses at the end of a name.
func baseName(name string) string {
	for {
		i := strings.LastIndexByte(name, '@')
		if i < 0 {
			return name
		}
		if _, err := netip.ParseAddr(name[i+1:]); err != nil {
			return name
		}
		name = name[:i]
	}
}

// addBouncer makes a bouncer and returns its key: a new one if key is empty.
func (s *Server) addBouncer(ctx context.Context, name, key string) (string, error) {
	if key == "" {
		key = storage.NewKey()
	}
	return key, s.insertBouncer(ctx, storage.Bouncer{Name: name, KeyHash: storage.HashKey(key), AuthType: storage.AuthKey})
}

// ensureBouncer makes a bouncer whose key nobody knows, unless there is one of
// that name.
func (s *Server) ensureBouncer(ctx context.Context, name string) error {
	s.bouncers.mu.Lock()
	known := s.bouncers.rows[name] != nil
	s.bouncers.mu.Unlock()
	if known {
		return nil
	}
	_, err := s.addBouncer(ctx, name, "")
	if errors.Is(err, storage.ErrExists) {
		return nil
	}
	return err
}

func (s *Server) insertBouncer(ctx context.Context, row storage.Bouncer) error {
	s.accounts.Lock()
	defer s.accounts.Unlock()
	row.Created = s.now()
	row.Updated = row.Created
	if err := s.store.AddBouncer(ctx, row); err != nil {
		return err
	}
	s.bouncers.insert(row)
	return nil
}

var errAutoCreated = errors.New("is auto-created and cannot be deleted, delete parent bouncer")

// deleteBouncer removes a bouncer and the rows of other hosts with its key.
func (s *Server) deleteBouncer(ctx context.Context, name string) error {
	s.accounts.Lock()
	defer s.accounts.Unlock()
	doomed, err := s.bouncers.family(name)
	if err != nil {
		return err
	}
	for _, name := range doomed {
		if err := s.dropBouncer(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// family returns the names of a bouncer and of the rows made because other
// hosts use its key.
func (b *bouncers) family(name string) ([]string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	row := b.rows[name]
	if row == nil {
		return nil, fmt.Errorf("bouncer %q %w", name, storage.ErrNotFound)
	}
	if row.AutoCreated && row.AuthType == storage.AuthKey {
		return nil, fmt.Errorf("bouncer %q %w %q", name, errAutoCreated, baseName(name))
	}
	names := []string{name}
	for _, r := range b.rows {
		if r.AutoCreated && r != row && strings.HasPrefix(r.Name, name+"@") {
			names = append(names, r.Name)
		}
	}
	return names, nil
}

// clip bounds what strangers say of themselves.
func clip(s string) string {
	s = strings.ToValidUTF8(s, "?")
	if len(s) > 255 {
		s = strings.ToValidUTF8(s[:255], "")
	}
	return s
}
