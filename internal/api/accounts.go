package api

import (
	"context"
	"time"

	"github.com/coderunner/coderunner/internal/auth"
	"github.com/coderunner/coderunner/internal/coderunner"
)

// User is an account.
type User struct {
	ID        string    `json:"id" format:"uuid"`
	Email     string    `json:"email"`
	PlanType  string    `json:"plan_type" enum:"free,personal,team"`
	CreatedAt time.Time `json:"created_at"`
}

// Tokens are what a program goes on with.
type Tokens struct {
	AccessToken  string    `json:"access_token" doc:"For the Authorization header of further requests."`
	TokenType    string    `json:"token_type" enum:"Bearer"`
	ExpiresAt    time.Time `json:"expires_at" doc:"Of the access token."`
	RefreshToken string    `json:"refresh_token" doc:"Works once, at auth/refresh. Used twice, it ends the whole log-in."`
}

func tokensBody(t auth.Tokens) Tokens {
	return Tokens{AccessToken: t.Access, TokenType: "Bearer", ExpiresAt: t.ExpiresAt, RefreshToken: t.Refresh}
}

// LoggedIn is an account with its first tokens.
type LoggedIn struct {
	User User `json:"user"`
	Tokens
}

type credentialsInput struct {
	Body struct {
		Email    string `json:"email" example:"name@example.com"`
		Password string `json:"password" doc:"At least 10 characters."`
	} `nameHint:"Credentials"`
}

type refreshInput struct {
	Body struct {
		RefreshToken string `json:"refresh_token"`
	} `nameHint:"RefreshToken"`
}

type loggedInOutput struct{ Body LoggedIn }

type tokensOutput struct{ Body Tokens }

func (s *server) register(ctx context.Context, in *credentialsInput) (*loggedInOutput, error) {
	user, err := s.Auth.Register(ctx, in.Body.Email, in.Body.Password, visitOf(ctx).peer)
	if err != nil {
		return nil, err
	}
	return s.loggedIn(ctx, user)
}

func (s *server) logIn(ctx context.Context, in *credentialsInput) (*loggedInOutput, error) {
	user, err := s.Auth.Login(ctx, in.Body.Email, in.Body.Password, visitOf(ctx).peer)
	if err != nil {
		return nil, err
	}
	return s.loggedIn(ctx, user)
}

func (s *server) loggedIn(ctx context.Context, user coderunner.User) (*loggedInOutput, error) {
	visitOf(ctx).userID = user.ID
	tokens, err := s.Auth.Tokens(ctx, user.ID)
	if err != nil {
		return nil, err
	}
	return &loggedInOutput{Body: LoggedIn{
		User:   User{ID: user.ID, Email: user.Email, PlanType: user.PlanType, CreatedAt: user.CreatedAt},
		Tokens: tokensBody(tokens),
	}}, nil
}

func (s *server) refresh(ctx context.Context, in *refreshInput) (*tokensOutput, error) {
	tokens, err := s.Auth.Refresh(ctx, in.Body.RefreshToken)
	if err != nil {
		return nil, err
	}
	return &tokensOutput{Body: tokensBody(tokens)}, nil
}

// logOut succeeds with a token that is no longer good as well: the log-in has ended.
func (s *server) logOut(ctx context.Context, in *refreshInput) (*struct{}, error) {
	if err := s.Auth.LogoutTokens(ctx, in.Body.RefreshToken); err != nil {
		return nil, err
	}
	return &struct{}{}, nil
}
