package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// Sample is a small app that comes with CodeRunner.
type Sample struct {
	Name        string   `json:"name" example:"express-postgres"`
	Title       string   `json:"title" example:"Guest book"`
	Description string   `json:"description"`
	Parts       []string `json:"parts" nullable:"false" doc:"What it is made of." example:"[\"Express\",\"PostgreSQL\"]"`
}

// SampleList is all samples.
type SampleList struct {
	Items []Sample `json:"items" nullable:"false"`
}

// SampleProject is a project made of a sample.
type SampleProject struct {
	Project Project `json:"project"`
	Bundle  Bundle  `json:"bundle" doc:"The sample's files, with the plan to deploy them with."`
}

type sampleListOutput struct{ Body SampleList }

func (s *server) listSamples(context.Context, string, *struct{}) (*sampleListOutput, error) {
	list := SampleList{Items: make([]Sample, len(s.Samples))}
	for i, sample := range s.Samples {
		list.Items[i] = Sample{Name: sample.Name, Title: sample.Title, Description: sample.Description, Parts: append([]string{}, sample.Parts...)}
	}
	return &sampleListOutput{Body: list}, nil
}

func sampleOperation() huma.Operation {
	op := post("/samples/{name}/projects", "create-project-from-sample", "Create a project from a sample", http.StatusCreated)
	op.Description = "The project is called as the sample is, with a number where that name is taken. It has the sample's files as its bundle; deploy that next."
	return op
}

type sampleInput struct {
	Name string `path:"name" maxLength:"100"`
}

type sampleProjectOutput struct {
	Location string `header:"Location"`
	Body     SampleProject
}

func (s *server) createFromSample(ctx context.Context, userID string, in *sampleInput) (*sampleProjectOutput, error) {
	sample, err := coderunner.FindSample(s.Samples, in.Name)
	if err != nil {
		return nil, err
	}
	project, bundle, err := s.Projects.NewFromSample(ctx, userID, sample)
	if err != nil {
		return nil, err
	}
	return &sampleProjectOutput{Location: Prefix + "/projects/" + project.ID, Body: SampleProject{Project: projectBody(project), Bundle: bundleBody(bundle)}}, nil
}
