package auth

import (
	"context"
	"encoding/base64"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/store"
)

const (
	accessLifetime  = 15 * time.Minute
	refreshLifetime = 30 * 24 * time.Hour
	refreshPrefix   = "crr_" // lets people and secret scanners recognise a leaked one

	tokenIssuer   = "coderunner"
	tokenAudience = "coderunner-api"
	maxToken      = 4 << 10 // bytes; ours have some 300
)

// Tokens are what a program logs in with.
type Tokens struct {
	Access    string
	Refresh   string    // works once
	ExpiresAt time.Time // of Access
}

// claims are those of an access token. Family is the log-in that it came from and
// ends with.
type claims struct {
	Family string `json:"fam"`
	jwt.RegisteredClaims
}

// Tokens answers the first tokens of a log-in.
func (s *Service) Tokens(ctx context.Context, userID string) (Tokens, error) {
	return s.issue(ctx, s.store, userID, uuid.NewString())
}

// Refresh exchanges a refresh token for new ones. Unauthenticated when it is
// unknown, expired, revoked or was used before; in the last case somebody has a
// copy of it, and every token of the log-in ends.
func (s *Service) Refresh(ctx context.Context, refresh string) (Tokens, error) {
	var tokens Tokens
	var refused error
	err := s.store.InTx(ctx, func(st *store.Store) error {
		token, err := st.LockRefreshToken(ctx, hashOf(refresh))
		switch {
		case coderunner.KindOf(err) == coderunner.NotFound:
			refused = coderunner.Errorf(coderunner.Unauthenticated, "The refresh token is not valid. Log in again.")
			return nil
		case err != nil:
			return err
		case token.Revoked || !token.ExpiresAt.After(s.now()):
			refused = coderunner.Errorf(coderunner.Unauthenticated, "The refresh token has expired or was revoked. Log in again.")
			return nil
		case token.Used:
			refused = coderunner.Errorf(coderunner.Unauthenticated, "The refresh token was used before, so that all tokens of this log-in were revoked. Log in again.")
			if err := st.RevokeRefreshFamily(ctx, token.Family); err != nil {
				return err
			}
			return st.Audit(ctx, store.AuditEvent{UserID: token.UserID, Action: "token.reuse"})
		}
		if err := st.UseRefreshToken(ctx, token.ID); err != nil {
			return err
		}
		tokens, err = s.issue(ctx, st, token.UserID, token.Family)
		return err
	})
	if err != nil {
		return Tokens{}, err
	}
	return tokens, refused
}

// LogoutTokens ends every token of the log-in that the refresh token came from. A
// token that is not known is success: nothing of it is left.
func (s *Service) LogoutTokens(ctx context.Context, refresh string) error {
	return s.store.InTx(ctx, func(st *store.Store) error {
		token, err := st.LockRefreshToken(ctx, hashOf(refresh))
		if coderunner.KindOf(err) == coderunner.NotFound {
			return nil
		}
		if err != nil {
			return err
		}
		return st.RevokeRefreshFamily(ctx, token.Family)
	})
}

// VerifyAccess answers the id of the user that an access token was made for:
// Unauthenticated when it is not ours, has expired, or its log-in has ended.
func (s *Service) VerifyAccess(ctx context.Context, access string) (string, error) {
	refused := coderunner.Errorf(coderunner.Unauthenticated, "The access token is not valid or has expired. Refresh it, or log in again.")
	if len(access) > maxToken {
		return "", refused
	}
	var c claims
	_, err := jwt.ParseWithClaims(access, &c, func(*jwt.Token) (any, error) { return s.key, nil },
		jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}), jwt.WithIssuer(tokenIssuer), jwt.WithAudience(tokenAudience),
		jwt.WithExpirationRequired(), jwt.WithTimeFunc(s.now))
	if err != nil {
		refused.Err = err
		return "", refused
	}
	live, err := s.store.RefreshFamilyLive(ctx, c.Family)
	switch {
	case err != nil && coderunner.KindOf(err) != coderunner.NotFound:
		return "", err
	case !live || c.Subject == "":
		return "", refused
	}
	return c.Subject, nil
}

func (s *Service) issue(ctx context.Context, st *store.Store, userID, family string) (Tokens, error) {
	now := s.now()
	expires := now.Add(accessLifetime).Truncate(time.Second)
	access, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims{Family: family, RegisteredClaims: jwt.RegisteredClaims{
		Issuer: tokenIssuer, Audience: jwt.ClaimStrings{tokenAudience}, Subject: userID, ID: uuid.NewString(),
		IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(expires),
	}}).SignedString(s.key)
	if err != nil {
		return Tokens{}, err
	}
	refresh := refreshPrefix + base64.RawURLEncoding.EncodeToString(random(idLength))
	if err := st.AddRefreshToken(ctx, userID, family, hashOf(refresh), refreshLifetime); err != nil {
		return Tokens{}, err
	}
	return Tokens{Access: access, Refresh: refresh, ExpiresAt: expires}, nil
}
