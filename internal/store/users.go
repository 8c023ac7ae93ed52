package store

import (
	"context"
	"encoding/json"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/store/sqlc"
)

// CreateUser adds an account; Conflict when the address is taken, in any case.
func (s *Store) CreateUser(ctx context.Context, email, passwordHash string) (coderunner.User, error) {
	row, err := s.q.CreateUser(ctx, email, passwordHash)
	return user(row), translate(err, "account")
}

// UserByEmail compares without case.
func (s *Store) UserByEmail(ctx context.Context, email string) (coderunner.User, error) {
	row, err := s.q.UserByEmail(ctx, email)
	return user(row), translate(err, "account")
}

// UserByID returns an account.
func (s *Store) UserByID(ctx context.Context, id string) (coderunner.User, error) {
	row, err := s.q.UserByID(ctx, id)
	return user(row), translate(err, "account")
}

func user(r sqlc.User) coderunner.User {
	return coderunner.User{ID: r.ID, Email: r.Email, PasswordHash: r.PasswordHash, PlanType: r.PlanType, CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt}
}

// AuditEvent is one entry of the record of who did what.
type AuditEvent struct {
	UserID, ProjectID string // "" for none
	Action            string // "project.destroy"
	Peer              string // the client's address
	Detail            map[string]string
}

// Audit adds an entry. Detail must not hold a secret.
func (s *Store) Audit(ctx context.Context, e AuditEvent) error {
	if e.Detail == nil {
		e.Detail = map[string]string{}
	}
	detail, err := json.Marshal(e.Detail)
	if err != nil {
		return err
	}
	return translate(s.q.InsertAuditEvent(ctx, sqlc.InsertAuditEventParams{UserID: pointer(e.UserID), ProjectID: pointer(e.ProjectID), Action: e.Action, Peer: e.Peer, Detail: detail}), "")
}

// Session is a browser's session.
type Session struct {
	IDHash     []byte // SHA-256 of the random id in the cookie
	UserID     string // "" before log-in
	Data       []byte // JSON
	UserAgent  string
	Peer       string
	Handle     string // names the session on the account page; set by UserSessions
	CreatedAt  time.Time
	LastSeenAt time.Time
}

// CreateSession stores a session that ends after lifetime.
func (s *Store) CreateSession(ctx context.Context, n Session, lifetime time.Duration) error {
	return translate(s.q.InsertSession(ctx, sqlc.InsertSessionParams{IDHash: n.IDHash, UserID: pointer(n.UserID), Data: n.Data, UserAgent: n.UserAgent, Peer: n.Peer, LifetimeSeconds: lifetime.Seconds()}), "session")
}

// Session returns a session that has not expired, and notes that it was seen.
func (s *Store) Session(ctx context.Context, idHash []byte) (Session, error) {
	r, err := s.q.Session(ctx, idHash)
	if err != nil {
		return Session{}, translate(err, "session")
	}
	if time.Since(r.LastSeenAt) > time.Minute {
		if err := s.q.TouchSession(ctx, idHash); err != nil {
			return Session{}, translate(err, "session")
		}
	}
	return Session{IDHash: r.IDHash, UserID: deref(r.UserID), Data: r.Data, UserAgent: r.UserAgent, Peer: r.Peer, CreatedAt: r.CreatedAt, LastSeenAt: r.LastSeenAt}, nil
}

// SetSessionData replaces a session's data; NotFound if it was revoked meanwhile.
func (s *Store) SetSessionData(ctx context.Context, idHash, data []byte) error {
	n, err := s.q.UpdateSessionData(ctx, idHash, data)
	if err == nil && n == 0 {
		return notFound("session")
	}
	return translate(err, "session")
}

// DeleteSession ends a session; none with that hash is success.
func (s *Store) DeleteSession(ctx context.Context, idHash []byte) error {
	return translate(s.q.DeleteSession(ctx, idHash), "session")
}

// UserSessions lists a user's sessions, the one used last first.
func (s *Store) UserSessions(ctx context.Context, userID string) ([]Session, error) {
	rows, err := s.q.UserSessions(ctx, userID)
	out := make([]Session, len(rows))
	for i, r := range rows {
		out[i] = Session{IDHash: r.IDHash, UserID: userID, UserAgent: r.UserAgent, Peer: r.Peer, Handle: r.Handle, CreatedAt: r.CreatedAt, LastSeenAt: r.LastSeenAt}
	}
	return out, translate(err, "session")
}

// RevokeSession ends one session of a user by its handle.
func (s *Store) RevokeSession(ctx context.Context, userID, handle string) error {
	n, err := s.q.DeleteUserSession(ctx, &userID, handle)
	if err == nil && n == 0 {
		return notFound("session")
	}
	return translate(err, "session")
}

// RevokeUser ends all of a user's sessions and refresh tokens.
func (s *Store) RevokeUser(ctx context.Context, userID string) error {
	return s.InTx(ctx, func(s *Store) error {
		if err := s.q.DeleteUserSessions(ctx, &userID); err != nil {
			return translate(err, "account")
		}
		return translate(s.q.RevokeUserRefreshTokens(ctx, userID), "account")
	})
}

// DeleteExpired removes sessions and tokens that nobody can use any more.
func (s *Store) DeleteExpired(ctx context.Context) error {
	return translate(s.q.DeleteExpired(ctx), "")
}

// RefreshToken is one link of a family of rotating tokens.
type RefreshToken struct {
	ID, UserID, Family string
	Used, Revoked      bool
	ExpiresAt          time.Time
}

// AddRefreshToken stores a token's SHA-256.
func (s *Store) AddRefreshToken(ctx context.Context, userID, family string, hash []byte, lifetime time.Duration) error {
	return translate(s.q.InsertRefreshToken(ctx, sqlc.InsertRefreshTokenParams{UserID: userID, Family: family, TokenHash: hash, LifetimeSeconds: lifetime.Seconds()}), "token")
}

// LockRefreshToken returns a token and keeps others away from it until the
// transaction ends. Call it inside InTx.
func (s *Store) LockRefreshToken(ctx context.Context, hash []byte) (RefreshToken, error) {
	r, err := s.q.RefreshTokenForUpdate(ctx, hash)
	return RefreshToken{ID: r.ID, UserID: r.UserID, Family: r.Family, Used: r.UsedAt != nil, Revoked: r.RevokedAt != nil, ExpiresAt: r.ExpiresAt}, translate(err, "token")
}

// UseRefreshToken marks a token as spent.
func (s *Store) UseRefreshToken(ctx context.Context, id string) error {
	return translate(s.q.MarkRefreshTokenUsed(ctx, id), "token")
}

// RevokeRefreshFamily ends every token that came from one log-in.
func (s *Store) RevokeRefreshFamily(ctx context.Context, family string) error {
	return translate(s.q.RevokeRefreshFamily(ctx, family), "token")
}

// RefreshFamilyLive reports whether a log-in's tokens are still good; access
// tokens name their family and end with it.
func (s *Store) RefreshFamilyLive(ctx context.Context, family string) (bool, error) {
	live, err := s.q.RefreshFamilyLive(ctx, family)
	return live, translate(err, "token")
}
