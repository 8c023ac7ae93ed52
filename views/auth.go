package views

// LandingPage is what a visitor sees first.
type LandingPage struct {
	Frame
}

// AuthPage is the sign-up and the log-in page. The form posts "email",
// "password" and "next" to the page's own address.
type AuthPage struct {
	Frame
	Email  string // as typed
	Next   string // local path to go to afterwards; "" for the projects page
	Errors FieldErrors
}
