package coderunner

// Backend is what a project on Manifest has beside its deployments. It goes with the project.
type Backend struct {
	ProjectID string
	Volume    string // provider's volume name: the SQLite file, unless there is another database, and the uploads
	Admin     AdminState
}

// AdminState says whether CodeRunner's login opens the backend's admin panel, as of its last start.
type AdminState string

const (
	AdminPending AdminState = ""        // it has not been started yet
	AdminCreated AdminState = "created" // it does
	AdminForeign AdminState = "foreign" // it does not: somebody made another administrator, or changed the password
)

// BackendSecrets are made once for a project and kept encrypted.
type BackendSecrets struct {
	TokenKey      string `json:"token_key"` // signs the log-ins of the backend's users
	AdminEmail    string `json:"admin_email"`
	AdminPassword string `json:"admin_password"`
}

// AdminLogin opens a backend's admin panel.
type AdminLogin struct {
	Email, Password string
}

// Drop is a column that a new version of a Manifest backend does away with when it starts.
type Drop struct {
	Entity   string `json:"entity"`
	Property string `json:"property"`
	Retyped  string `json:"retyped,omitempty"` // the type that it has now, "" if it is gone
}

// Sentence says what becomes of its data.
func (d Drop) Sentence() string {
	if d.Retyped != "" {
		return "The property " + d.Property + " of " + d.Entity + " is now of the type " + d.Retyped + ": its column is made anew in PostgreSQL and MySQL, and its data goes at the next start."
	}
	return "The property " + d.Property + " of " + d.Entity + " is not in the file any more: its column and its data go at the next start. A renamed one is another to Manifest."
}
