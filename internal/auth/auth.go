// Package auth knows who somebody is: accounts with passwords, sessions in the
// database for browsers, and short-lived access tokens with rotating refresh
// tokens for the API.
//
//	who asks   proof                      where it is kept           ends
//	browser    cookie with a random id    sessions: the id's hash    log-out, revocation, 30 days
//	program    access token (JWT, HS256)  nowhere; names its family  15 minutes, or with the family
//	           refresh token, used once   refresh_tokens: its hash   first use, log-out, 30 days
//
// No secret is built in: the key that signs access tokens is made at the first
// start. A refresh token that comes a second time was copied, so that its whole
// family ends. Nothing here tells whether an e-mail address has an account,
// except a sign-up with it.
package auth

import (
	"context"
	"net/url"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/store"
)

// Config is what the service needs to know about where it runs.
type Config struct {
	KeyFile   string // signs access tokens; made, mode 0600, when there is none
	PublicURL string // of the dashboard; https makes the cookie Secure
}

// Service is safe for concurrent use.
type Service struct {
	store    *store.Store
	sessions *Sessions
	hasher   *hasher
	throttle *throttle
	key      []byte
	now      func() time.Time
}

// New assembles the service. It fails when the key file cannot be read or made.
func New(config Config, st *store.Store) (*Service, error) {
	public, err := url.Parse(config.PublicURL)
	if err != nil {
		return nil, coderunner.Wrap(err, coderunner.Invalid, "The public URL %q is not a URL. Write it like https://coderunner.example.com.", config.PublicURL)
	}
	key, err := openKey(config.KeyFile)
	if err != nil {
		return nil, err
	}
	throttle, err := newThrottle()
	if err != nil {
		return nil, err
	}
	return &Service{
		store:    st,
		sessions: NewSessions(st, public.Scheme == "https"),
		hasher:   newHasher(),
		throttle: throttle,
		key:      key,
		now:      time.Now,
	}, nil
}

// Register makes an account; Conflict when the address has one, in any case, Throttled
// after too many tries.
// peer is the client's address without a port.
func (s *Service) Register(ctx context.Context, email, password, peer string) (coderunner.User, error) {
	email, err := coderunner.NormalizeEmail(email)
	if err != nil {
		return coderunner.User{}, err
	}
	if err := coderunner.CheckPassword(password); err != nil {
		return coderunner.User{}, err
	}
	if err := s.throttle.signUp(email, peer, s.now()); err != nil {
		return coderunner.User{}, err
	}
	hash, err := s.hasher.hash(ctx, password)
	if err != nil {
		return coderunner.User{}, err
	}
	var user coderunner.User
	err = s.store.InTx(ctx, func(st *store.Store) error {
		if user, err = st.CreateUser(ctx, email, hash); err != nil {
			return err
		}
		return st.Audit(ctx, store.AuditEvent{UserID: user.ID, Action: "user.register", Peer: peer})
	})
	if err != nil {
		return coderunner.User{}, err
	}
	return user, nil
}

// Login answers the account with this e-mail and password: Unauthenticated when
// there is none, Throttled after too many tries. An address without an account
// takes the same time and gets the same answer as a wrong password.
func (s *Service) Login(ctx context.Context, email, password, peer string) (coderunner.User, error) {
	attempt, err := s.throttle.logIn(email, peer, s.now())
	if err != nil {
		return coderunner.User{}, err
	}
	user, err := s.account(ctx, email)
	if err != nil {
		return coderunner.User{}, err
	}
	right, err := s.hasher.matches(ctx, user.PasswordHash, password)
	if err != nil {
		return coderunner.User{}, err
	}
	if !right {
		return coderunner.User{}, coderunner.Errorf(coderunner.Unauthenticated, "The e-mail address or the password is wrong.")
	}
	attempt.succeeded()
	if err := s.store.Audit(ctx, store.AuditEvent{UserID: user.ID, Action: "user.login", Peer: peer}); err != nil {
		return coderunner.User{}, err
	}
	return user, nil
}

// account answers the zero User for an address that has no account; its empty
// hash matches no password.
func (s *Service) account(ctx context.Context, email string) (coderunner.User, error) {
	email, err := coderunner.NormalizeEmail(email)
	if err != nil {
		return coderunner.User{}, nil //nolint:nilerr // what is no address has no account
	}
	user, err := s.store.UserByEmail(ctx, email)
	if coderunner.KindOf(err) == coderunner.NotFound {
		return coderunner.User{}, nil
	}
	return user, err
}
