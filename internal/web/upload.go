package web

import (
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// An upload may be slow, but not silent for longer than patience. What is left of a
// refused one is read for at most lastWords, since a browser that is still sending
// does not look at the answer.
const (
	patience  = time.Minute
	lastWords = 20 * time.Second
)

// received is an upload on its way.
type received struct {
	name, project, filename string
	omitted                 []string
	body                    io.Reader
}

// upload takes an archive, as the raw body or as a form's file, for a new project or
// as a new version of one, and answers where its plan is.
func (s *site) upload(w http.ResponseWriter, r *http.Request) error {
	body := &patientBody{ReadCloser: r.Body, control: http.NewResponseController(w)}
	r.Body = body
	plan, err := s.receive(r)
	if err != nil {
		body.drain(s.UploadLimit)
		return err
	}
	if !wantsJSON(r) {
		return redirect(w, r, plan)
	}
	w.Header().Set("Location", plan)
	return renderJSON(w, http.StatusCreated, map[string]string{"location": plan})
}

// receive stores the upload and answers the path of its plan.
func (s *site) receive(r *http.Request) (string, error) {
	user, err := s.Auth.CurrentUser(r)
	if err != nil {
		return "", err
	}
	remember(r, user)
	up, err := readUpload(r)
	if err != nil {
		return "", err
	}
	if up.project != "" {
		bundle, err := s.Projects.Upload(r.Context(), user.ID, up.project, up.body, up.filename, up.omitted)
		return planPath(bundle), err
	}
	_, bundle, err := s.Projects.NewFromUpload(r.Context(), user.ID, up.name, up.filename, up.body, up.omitted)
	return planPath(bundle), err
}

func planPath(bundle coderunner.Bundle) string {
	return "/projects/" + bundle.ProjectID + "/bundles/" + bundle.ID
}

// isForm reports whether the body is a form with files in it.
func isForm(r *http.Request) bool {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && kind == "multipart/form-data"
}

// readUpload finds the archive and what is said about it.
func readUpload(r *http.Request) (received, error) {
	query := r.URL.Query()
	up := received{body: r.Body}
	if isForm(r) {
		file, err := readFields(r, query)
		if err != nil {
			return up, err
		}
		up.body = file
		if query.Get("filename") == "" {
			query.Set("filename", file.FileName())
		}
	}
	up.name, up.project, up.filename, up.omitted = query.Get("name"), query.Get("project"), query.Get("filename"), query["omitted"]
	return up, nil
}

// readFields reads a form up to its file, adding the fields before it to values.
func readFields(r *http.Request, values url.Values) (*multipart.Part, error) {
	reader, err := r.MultipartReader()
	if err != nil {
		return nil, noFile(err)
	}
	for range 100 {
		part, err := reader.NextPart()
		if err != nil {
			return nil, noFile(err)
		}
		if part.FileName() != "" {
			return part, nil
		}
		value, err := io.ReadAll(io.LimitReader(part, 4096))
		if err != nil {
			return nil, noFile(err)
		}
		values.Add(part.FormName(), strings.TrimSpace(string(value)))
	}
	return nil, noFile(errors.New("a hundred fields and no file"))
}

func noFile(err error) error {
	return coderunner.Wrap(err, coderunner.Invalid, "The form has no file in it. Choose a .zip or .tar.gz of your folder and send it again.")
}

// patientBody gives each read of a request's body its own time.
type patientBody struct {
	io.ReadCloser
	control *http.ResponseController
	over    bool
}

func (b *patientBody) Read(p []byte) (int, error) {
	if !b.over {
		_ = b.control.SetReadDeadline(time.Now().Add(patience)) // a connection that has no deadlines waits
	}
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.over = true
		_ = b.control.SetReadDeadline(time.Time{})
	}
	return n, err
}

// drain reads what is still coming, at most limit bytes.
func (b *patientBody) drain(limit int64) {
	if b.over {
		return
	}
	b.over = true
	_ = b.control.SetReadDeadline(time.Now().Add(lastWords))
	_, _ = io.CopyN(io.Discard, b.ReadCloser, limit)
	_ = b.control.SetReadDeadline(time.Time{})
}
