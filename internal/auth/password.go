package auth

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"runtime"
	"strings"
	"time"

	"golang.org/x/crypto/argon2"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// The cost of one hash, as OWASP's password storage cheat sheet has it.
const (
	hashMemory  = 19 << 10 // KiB
	hashTime    = 2
	hashThreads = 1
	hashLength  = 32
	saltLength  = 16
)

// hashPatience is how long somebody waits for a turn before being sent away.
const hashPatience = 5 * time.Second

// hasher hashes passwords, a few at a time: each takes 19 MiB and a processor.
type hasher struct {
	turns    chan struct{}
	patience time.Duration
	dummy    string // stands in for the hash of an account that does not exist
}

func newHasher() *hasher {
	salt, unknown := random(saltLength), random(hashLength)
	return &hasher{turns: make(chan struct{}, max(2, runtime.NumCPU())), patience: hashPatience, dummy: encodeHash(salt, unknown)}
}

// hash returns the PHC string of a new password.
func (h *hasher) hash(ctx context.Context, password string) (string, error) {
	salt := random(saltLength)
	sum, err := h.sum(ctx, password, params{memory: hashMemory, time: hashTime, threads: hashThreads, salt: salt, length: hashLength})
	if err != nil {
		return "", err
	}
	return encodeHash(salt, sum), nil
}

// matches reports whether encoded is the hash of password. It does the same work
// for "", which is the hash of nothing.
func (h *hasher) matches(ctx context.Context, encoded, password string) (bool, error) {
	exists := encoded != ""
	if !exists {
		encoded = h.dummy
	}
	if len(password) > coderunner.MaxPasswordLength {
		exists, password = false, "" // nobody has it, and its length must not make more work
	}
	p, want, err := decodeHash(encoded)
	if err != nil {
		return false, err
	}
	got, err := h.sum(ctx, password, p)
	if err != nil {
		return false, err
	}
	return subtle.ConstantTimeCompare(got, want) == 1 && exists, nil
}

func (h *hasher) sum(ctx context.Context, password string, p params) ([]byte, error) {
	patience := time.NewTimer(h.patience)
	defer patience.Stop()
	select {
	case h.turns <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-patience.C:
		return nil, coderunner.Errorf(coderunner.Throttled, "Very many people are logging in at this moment. Try again in a few seconds.")
	}
	defer func() { <-h.turns }()
	return argon2.IDKey([]byte(password), p.salt, p.time, p.memory, p.threads, p.length), nil
}

// params are those of one hash, which may be older than today's.
type params struct {
	memory, time, length uint32
	threads              uint8
	salt                 []byte
}

var phc = base64.RawStdEncoding

func encodeHash(salt, sum []byte) string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, hashMemory, hashTime, hashThreads, phc.EncodeToString(salt), phc.EncodeToString(sum))
}

func decodeHash(encoded string) (params, []byte, error) {
	var p params
	var version int
	var tail string
	if _, err := fmt.Sscanf(encoded, "$argon2id$v=%d$m=%d,t=%d,p=%d$%s", &version, &p.memory, &p.time, &p.threads, &tail); err != nil || version != argon2.Version || p.time == 0 || p.threads == 0 {
		return p, nil, fmt.Errorf("a stored password hash is not argon2id version %d", argon2.Version)
	}
	salt, sum, ok := strings.Cut(tail, "$")
	if !ok {
		return p, nil, fmt.Errorf("a stored password hash has no sum")
	}
	var err error
	if p.salt, err = phc.DecodeString(salt); err != nil {
		return p, nil, fmt.Errorf("the salt of a stored password hash: %w", err)
	}
	want, err := phc.DecodeString(sum)
	if err != nil || len(want) == 0 {
		return p, nil, fmt.Errorf("the sum of a stored password hash cannot be read")
	}
	p.length = uint32(len(want))
	return p, want, nil
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails: the program ends instead
	return b
}
