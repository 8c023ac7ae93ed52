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
