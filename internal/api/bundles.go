package api

import (
	"context"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// An upload may be slow, but not silent for longer than patience. What is left of a
// refused one is read for at most lastWords, since a program that is still sending
// may not look at the answer.
const (
	patience  = time.Minute
	lastWords = 20 * time.Second
)

// formOverhead is what a form may have around its file, in bytes.
const formOverhead = 64 << 10

// Bundle is one uploaded source tree; it never changes.
type Bundle struct {
	ID            string          `json:"id" format:"uuid"`
	ProjectID     string          `json:"project_id" format:"uuid"`
	SHA256        string          `json:"sha256" doc:"Of the tree; the same tree has the same one whatever archive it came in."`
	Filename      string          `json:"filename"`
	SizeBytes     int64           `json:"size_bytes" doc:"As stored."`
	ExpandedBytes int64           `json:"expanded_bytes" doc:"The sum of its files."`
	Files         int             `json:"files"`
	Omitted       []string        `json:"omitted" nullable:"false" doc:"What the upload left out."`
	Plan          coderunner.Plan `json:"plan" doc:"What the analyzer says about it, and why."`
	CreatedAt     time.Time       `json:"created_at"`
}

func bundleBody(b coderunner.Bundle) Bundle {
	return Bundle{ID: b.ID, ProjectID: b.ProjectID, SHA256: b.SHA256, Filename: b.Filename, SizeBytes: b.SizeBytes, ExpandedBytes: b.ExpandedBytes,
		Files: b.Files, Omitted: append([]string{}, b.Omitted...), Plan: planBody(b.Plan), CreatedAt: b.CreatedAt}
}

func uploadOperation() huma.Operation {
	op := post("/projects/{id}/bundles", "upload-bundle", "Upload a source tree", http.StatusCreated)
	op.Description = "The archive (.zip, .tar, .tar.gz or .tar.zst) is the body itself, or the first file of a form. It is told by its first bytes. The answer has the plan to deploy it with."
	return op
}

// describeUpload adds the body to what is said about the operation. Said before it
// was registered, huma would read the body into memory.
func describeUpload(document *huma.OpenAPI) {
	archive := &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}
	content := map[string]*huma.MediaType{
		"multipart/form-data": {Schema: &huma.Schema{Type: huma.TypeObject, Required: []string{"archive"}, Properties: map[string]*huma.Schema{"archive": archive.Schema}}},
	}
	for _, kind := range []string{"application/octet-stream", "application/zip", "application/gzip", "application/x-tar", "application/zstd"} {
		content[kind] = archive
	}
	document.Paths[Prefix+"/projects/{id}/bundles"].Post.RequestBody = &huma.RequestBody{Required: true, Content: content}
}

// uploadInput has the request itself, since the body must not be read ahead.
type uploadInput struct {
	ID       string   `path:"id" maxLength:"100"`
	Filename string   `query:"filename" maxLength:"1000" doc:"What the archive is called; else the form's."`
	Omitted  []string `query:"omitted,explode" maxItems:"100" doc:"What the sender left out itself."`

	r *http.Request
	w http.ResponseWriter
}

// Resolve implements huma.Resolver.
func (in *uploadInput) Resolve(ctx huma.Context) []error {
	in.r, in.w = humachi.Unwrap(ctx)
	return nil
}

type bundleOutput struct{ Body Bundle }

func (s *server) upload(ctx context.Context, userID string, in *uploadInput) (*bundleOutput, error) {
	body := &patientBody{ReadCloser: in.r.Body, control: http.NewResponseController(in.w)}
	in.r.Body = body
	bundle, err := s.receive(ctx, userID, in)
	if err != nil {
		body.drain(in.r, s.UploadLimit)
		return nil, err
	}
	drops, err := s.Engine.Drops(ctx, userID, in.ID, bundle.ID, bundle.Plan)
	if err != nil {
		return nil, err
	}
	out := bundleBody(bundle)
	for _, d := range drops {
		out.Plan.Warnings = append(out.Plan.Warnings, d.Sentence())
	}
	return &bundleOutput{Body: out}, nil
}

func (s *server) receive(ctx context.Context, userID string, in *uploadInput) (coderunner.Bundle, error) {
	if s.UploadLimit > 0 && in.r.ContentLength > s.UploadLimit+formOverhead {
		return coderunner.Bundle{}, coderunner.Errorf(coderunner.TooLarge, "The upload has %d bytes, and the limit is %d. Leave out what the app does not need.", in.r.ContentLength, s.UploadLimit)
	}
	var archive io.Reader = in.r.Body
	filename := in.Filename
	if kind, _, err := mime.ParseMediaType(in.r.Header.Get("Content-Type")); err == nil && kind == "multipart/form-data" {
		file, err := firstFile(in.r)
		if err != nil {
			return coderunner.Bundle{}, err
		}
		archive = file
		if filename == "" {
			filename = file.FileName()
		}
	}
	return s.Projects.Upload(ctx, userID, in.ID, archive, filename, in.Omitted)
}

// firstFile passes over the fields before the file.
func firstFile(r *http.Request) (*multipart.Part, error) {
	reader, err := r.MultipartReader()
	for range 100 {
		if err != nil {
			break
		}
		var part *multipart.Part
		if part, err = reader.NextPart(); err == nil && part.FileName() != "" {
			return part, nil
		}
	}
	if err == nil {
		err = errors.New("a hundred fields and no file")
	}
	return nil, coderunner.Wrap(err, coderunner.Invalid, "The form has no file in it. Send the archive as its first file, or as the body itself.")
}

// patientBody gives each read of a request's body its own time.
type patientBody struct {
	io.ReadCloser
	control     *http.ResponseController
	begun, over bool
}

func (b *patientBody) Read(p []byte) (int, error) {
	b.begun = true
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

// drain reads what is still coming, at most limit bytes. A sender that waits to be
// asked is not asked.
func (b *patientBody) drain(r *http.Request, limit int64) {
	if b.over || !b.begun && strings.EqualFold(r.Header.Get("Expect"), "100-continue") {
		return
	}
	b.over = true
	_ = b.control.SetReadDeadline(time.Now().Add(lastWords))
	_, _ = io.CopyN(io.Discard, b.ReadCloser, limit)
	_ = b.control.SetReadDeadline(time.Time{})
}
