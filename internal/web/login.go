package web

import (
	"context"
	"errors"
	"net/http"

	"github.com/a-h/templ"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/views"
)

func (s *site) logInPage(w http.ResponseWriter, r *http.Request) error {
	return s.authPage(w, r, views.LogIn, "Log in")
}

func (s *site) logIn(w http.ResponseWriter, r *http.Request) error {
	return s.enter(w, r, views.LogIn, "Log in", s.Auth.Login)
}

// authPage shows the form, except to who is logged in already.
func (s *site) authPage(w http.ResponseWriter, r *http.Request, show func(views.AuthPage) templ.Component, title string) error {
	next := localPath(r.URL.Query().Get("next"))
	_, err := s.Auth.CurrentUser(r)
	switch {
	case err == nil:
		return redirect(w, r, orProjects(next))
	case coderunner.KindOf(err) != coderunner.Unauthenticated:
		return err
	}
	return s.render(w, r, http.StatusOK, show(views.AuthPage{Frame: s.frame(title, "", coderunner.User{}), Next: next}))
}

// enter checks e-mail and password with who and starts a session, or shows the form
// again with the sentence beside the field.
func (s *site) enter(w http.ResponseWriter, r *http.Request, show func(views.AuthPage) templ.Component, title string,
	who func(ctx context.Context, email, password, peer string) (coderunner.User, error)) error {
	form, err := readForm(w, r, maxForm)
	if err != nil {
		return err
	}
	next := localPath(form.Get("next"))
	user, err := who(r.Context(), form.Get("email"), form.Get("password"), peer(r))
	if err == nil {
		if err := s.Auth.StartSession(w, r, user.ID); err != nil {
			return err
		}
		remember(r, user)
		return redirect(w, r, orProjects(next))
	}
	var sentence *coderunner.Error
	if !errors.As(err, &sentence) || sentence.Kind == coderunner.Internal {
		return err
	}
	field := sentence.Field
	if field != "email" && field != "password" {
		field = ""
	}
	retryAfter(w, statusOf(err), err)
	page := views.AuthPage{Frame: s.frame(title, "", coderunner.User{}), Email: form.Get("email"), Next: next, Errors: views.FieldErrors{field: sentence.Message}}
	return s.render(w, r, statusOf(err), show(page))
}

// logOut ends the browser's session; none is as good as ended.
func (s *site) logOut(w http.ResponseWriter, r *http.Request) error {
	if err := s.Auth.EndSession(w, r); err != nil {
		return err
	}
	return redirect(w, r, "/")
}

// logOutEverywhere ends all of the user's sessions, on every device.
func (s *site) logOutEverywhere(w http.ResponseWriter, r *http.Request, user coderunner.User) error {
	if err := s.Store.RevokeUser(r.Context(), user.ID); err != nil {
		return err
	}
	if err := s.Auth.EndSession(w, r); err != nil {
		return err
	}
	return redirect(w, r, "/login")
}

func orProjects(next string) string {
	if next == "" || next == "/" {
		return "/projects"
	}
	return next
}
