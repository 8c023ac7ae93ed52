package api

import (
	"context"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// maxBody is what a request without an archive may have, in bytes.
const maxBody = 64 << 10

// bearer is the name of the security scheme.
const bearer = "bearer"

// description is the API's before any operation is registered.
func description() huma.Config {
	schemas := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	schemas.Schema(reflect.TypeFor[Problem](), true, "Problem")
	return huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title: "CodeRunner", Version: "1",
				Description: "Upload a source tree, deploy it with its databases, follow the run. Times are RFC 3339, identifiers are UUIDs, errors are RFC 9457 problem documents.",
			},
			Components: &huma.Components{
				Schemas: schemas,
				SecuritySchemes: map[string]*huma.SecurityScheme{
					bearer: {Type: "http", Scheme: "bearer", BearerFormat: "JWT", Description: "The access_token that auth/login answered. It is good for 15 minutes."},
				},
			},
		},
		Formats: huma.DefaultFormats, DefaultFormat: "application/json",
		Transformers: []huma.Transformer{asProblem},
	}
}

func get(path, id, summary string) huma.Operation {
	return operation(http.MethodGet, path, id, summary, http.StatusOK)
}

func post(path, id, summary string, status int) huma.Operation {
	return operation(http.MethodPost, path, id, summary, status)
}

func operation(method, path, id, summary string, status int) huma.Operation {
	return huma.Operation{
		Method: method, Path: Prefix + path, OperationID: id, Summary: summary, DefaultStatus: status,
		MaxBodyBytes: maxBody, BodyReadTimeout: 20 * time.Second,
		Responses: map[string]*huma.Response{"default": {
			Description: "What went wrong",
			Content:     map[string]*huma.MediaType{problemType: {Schema: &huma.Schema{Ref: "#/components/schemas/Problem"}}},
		}},
	}
}

// public registers an operation for anybody.
func public[I, O any](s *server, op huma.Operation, handler func(context.Context, *I) (*O, error)) {
	huma.Register(s.huma, op, func(ctx context.Context, input *I) (*O, error) {
		visitOf(ctx).endReadTimeout()
		output, err := handler(ctx, input)
		if err != nil {
			return nil, s.problem(ctx, err)
		}
		return output, nil
	})
}

// private registers an operation for who has an access token. The token is looked
// at before anything of the body is read.
func private[I, O any](s *server, op huma.Operation, handler func(ctx context.Context, userID string, input *I) (*O, error)) {
	op.Security = []map[string][]string{{bearer: {}}}
	op.Middlewares = append(op.Middlewares, s.authenticate)
	public(s, op, func(ctx context.Context, input *I) (*O, error) {
		return handler(ctx, visitOf(ctx).userID, input)
	})
}

// authenticate lets nobody through whose access token is not good.
func (s *server) authenticate(ctx huma.Context, next func(huma.Context)) {
	visit := visitOf(ctx.Context())
	token, err := bearerToken(ctx.Header("Authorization"))
	if err == nil {
		visit.userID, err = s.Auth.VerifyAccess(ctx.Context(), token)
	}
	if err != nil {
		r, w := humachi.Unwrap(ctx)
		s.write(w, r, err)
		return
	}
	visit.token = token
	next(ctx)
}

func bearerToken(header string) (string, error) {
	const scheme = "Bearer "
	if len(header) <= len(scheme) || !strings.EqualFold(header[:len(scheme)], scheme) {
		return "", coderunner.Errorf(coderunner.Unauthenticated, "The request has no access token. Log in at %s/auth/login and send the token as “Authorization: Bearer …”.", Prefix)
	}
	return header[len(scheme):], nil
}
