package auth

import (
	"net/netip"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// remembered is how many accounts and addresses each bucket keeps in mind; the
// one that was quiet longest is forgotten first.
const remembered = 20_000

// throttle slows down guessing. A try at a password is counted against three
// buckets, and given back when it was right:
//
//	pair     this account from this address   the plain guesser
//	peer     any account from this address    one password tried on many accounts
//	account  this account from anywhere       many addresses that try one account
//
// The last would let strangers lock somebody out, so an address from which the
// account was logged in to before is not held to it. A sign-up is counted against the
// address that it comes from and the account that it asks for: its answer tells whether
// there is one.
type throttle struct {
	pair, peer, account        *buckets
	signUps, signUpsForAccount *buckets

	known *lru.Cache[string, struct{}] // pairs that have logged in
}

func newThrottle() (*throttle, error) {
	known, err := lru.New[string, struct{}](remembered)
	if err != nil {
		return nil, err
	}
	t := &throttle{known: known}
	for _, b := range []struct {
		at    **buckets
		every time.Duration
		burst int
	}{
		{&t.pair, 15 * time.Second, 10},
		{&t.peer, 5 * time.Second, 50},
		{&t.account, 20 * time.Second, 30},
		{&t.signUps, 10 * time.Second, 60},
		{&t.signUpsForAccount, 30 * time.Second, 10},
	} {
		if *b.at, err = newBuckets(b.every, b.burst); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// attempt is one try that was let through.
type attempt struct {
	giveBack []func()
	remember func()
}

// succeeded makes the try count for nothing.
func (a attempt) succeeded() {
	a.giveAllBack()
	a.remember()
}

func (a attempt) giveAllBack() {
	for _, f := range a.giveBack {
		f()
	}
}

type limit struct {
	buckets *buckets
	key     string
}

// logIn counts a try, or refuses it with Throttled.
func (t *throttle) logIn(email, peer string, now time.Time) (attempt, error) {
	account := accountKey(email)
	peer = peerKey(peer)
	pair := account + " " + peer
	a := attempt{remember: func() { t.known.Add(pair, struct{}{}) }}
	limits := []limit{{t.pair, pair}, {t.peer, peer}}
	if !t.known.Contains(pair) {
		limits = append(limits, limit{t.account, account})
	}
	for _, l := range limits {
		giveBack, wait := l.buckets.take(l.key, now)
		if wait > 0 {
			a.giveAllBack() // a refused try must not use up the limits that would have allowed it
			return a, tooMany(wait, "Too many tries to log in.")
		}
		a.giveBack = append(a.giveBack, giveBack)
	}
	return a, nil
}

// signUp counts a try to make an account, or refuses it.
func (t *throttle) signUp(email, peer string, now time.Time) error {
	giveBack, wait := t.signUps.take(peerKey(peer), now)
	if wait > 0 {
		return tooMany(wait, "Too many accounts were made from your address.")
	}
	if _, wait := t.signUpsForAccount.take(accountKey(email), now); wait > 0 {
		giveBack()
		return tooMany(wait, "Too many tries to make an account with this e-mail address.")
	}
	return nil
}

func tooMany(wait time.Duration, what string) error {
	seconds := int((wait + time.Second - 1) / time.Second)
	unit := "seconds"
	if seconds == 1 {
		unit = "second"
	}
	err := coderunner.Errorf(coderunner.Throttled, "%s Try again in %d %s.", what, seconds, unit)
	err.After = wait
	return err
}

// accountKey bounds what an endless e-mail address would keep in memory.
func accountKey(email string) string {
	email = strings.ToLower(strings.TrimSpace(email))
	return email[:min(len(email), coderunner.MaxEmailLength)]
}

// peerKey makes one key of all the addresses that one customer of a network has:
// of IPv6 that is a /64.
func peerKey(peer string) string {
	address, err := netip.ParseAddr(peer)
	if err != nil {
		return peer
	}
	address = address.Unmap().WithZone("")
	if address.Is4() {
		return address.String()
	}
	prefix, err := address.Prefix(64)
	if err != nil {
		return peer
	}
	return prefix.String()
}

// buckets are token buckets by key.
type buckets struct {
	every rate.Limit
	burst int

	mu    sync.Mutex
	byKey *lru.Cache[string, *rate.Limiter]
}

func newBuckets(every time.Duration, burst int) (*buckets, error) {
	byKey, err := lru.New[string, *rate.Limiter](remembered)
	return &buckets{every: rate.Every(every), burst: burst, byKey: byKey}, err
}

// take takes one token, or says how long to wait for one. The function gives the
// token back.
func (b *buckets) take(key string, now time.Time) (giveBack func(), wait time.Duration) {
	b.mu.Lock()
	limiter, ok := b.byKey.Get(key)
	if !ok {
		limiter = rate.NewLimiter(b.every, b.burst)
		b.byKey.Add(key, limiter)
	}
	b.mu.Unlock()
	reservation := limiter.ReserveN(now, 1)
	giveBack = func() { reservation.CancelAt(now) }
	if wait := reservation.DelayFrom(now); wait > 0 {
		giveBack()
		return nil, wait
	}
	return giveBack, 0
}
