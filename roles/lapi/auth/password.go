package auth

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"runtime"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"
)

const (
	// Cost of a hash is upstream's.
	Cost = 10
	// maxWaiting bounds the queue in front of the hash, which takes 50 ms of a
	// fast core and seconds of a slow one. At the bound the answer is ErrBusy.
	maxWaiting = 64
	// rememberFor is how long a good password is known by its fast hash.
	rememberFor = 10 * time.Minute
	// maxRemembered bounds that memory; at it everything is forgotten.
	maxRemembered = 4096
)

// Conditions a caller decides on.
var (
	ErrBusy        = errors.New("too many logins at once")
	ErrBadPassword = errors.New("incorrect Username or Password")
	// ErrUnhashable is upstream's word for a password of more than 72 bytes.
	ErrUnhashable = errors.New("unable to hash: password length exceeds 72 bytes")
)

// Passwords hashes and checks passwords with bcrypt. Since that is slow by
// design, few at a time are computed, and a good one is remembered for a while.
type Passwords struct {
	cost    int
	slots   chan struct{}
	waiting chan struct{}
	salt    [32]byte // of this process: what is remembered is of no use elsewhere
	mu      sync.Mutex
	good    map[[sha256.Size]byte]time.Time // until when
}

// NewPasswords returns a checker that uses at most half of the processors and
// makes hashes of a cost (see bcrypt). Those of any cost can be checked.
func NewPasswords(cost int) *Passwords {
	p := &Passwords{
		cost:    cost,
		slots:   make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
		waiting: make(chan struct{}, maxWaiting),
		good:    make(map[[sha256.Size]byte]time.Time),
	}
	rand.Read(p.salt[:]) // never fails
	return p
}

// Hash returns the hash to store.
func (p *Passwords) Hash(ctx context.Context, password string) (string, error) {
	if len(password) > 72 {
		return "", ErrUnhashable
	}
	release, err := p.slot(ctx)
	if err != nil {
		return "", err
	}
	defer release()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), p.cost)
	return string(hash), err
}

// Remembered tells, without any work worth braking, whether the password was
// found good for this very hash a short while ago.
func (p *Passwords) Remembered(hash, password string, now time.Time) bool {
	key := p.key(hash, password)
	p.mu.Lock()
	defer p.mu.Unlock()
	return now.Before(p.good[key])
}

// Check compares a password with its hash. An empty hash fits nothing. It
// returns ErrBadPassword, ErrBusy or the error of the context.
func (p *Passwords) Check(ctx context.Context, hash, password string, now time.Time) error {
	if p.Remembered(hash, password, now) {
		return nil
	}
	if hash == "" || len(password) > 72 {
		return ErrBadPassword
	}
	release, err := p.slot(ctx)
	if err != nil {
		return err
	}
	defer release()
	if bcrypt.CompareHashAndPassword([]byte(hash), []byte(password)) != nil {
		return ErrBadPassword
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.good) >= maxRemembered {
		clear(p.good)
	}
	p.good[p.key(hash, password)] = now.Add(rememberFor)
	return nil
}

func (p *Passwords) slot(ctx context.Context) (release func(), err error) {
	select {
	case p.waiting <- struct{}{}:
		defer func() { <-p.waiting }()
	default:
		return nil, ErrBusy
	}
	select {
	case p.slots <- struct{}{}:
		return func() { <-p.slots }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *Passwords) key(hash, password string) (key [sha256.Size]byte) {
	m := hmac.New(sha256.New, p.salt[:])
	m.Write([]byte(hash)) // of fixed length, so the two can't run into each other
	m.Write([]byte(password))
	m.Sum(key[:0])
	return key
}
