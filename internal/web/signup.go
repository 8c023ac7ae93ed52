package web

import (
	"net/http"

	"github.com/coderunner/coderunner/views"
)

func (s *site) signUpPage(w http.ResponseWriter, r *http.Request) error {
	return s.authPage(w, r, views.SignUp, "Create account")
}

// signUp makes an account and logs it in.
func (s *site) signUp(w http.ResponseWriter, r *http.Request) error {
	return s.enter(w, r, views.SignUp, "Create account", s.Auth.Register)
}
