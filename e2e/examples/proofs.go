package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/coderunner/coderunner/e2e/demo/platform"
)

// app is a deployed example, as the world reaches it.
type app struct {
	client *platform.Client
	host   string
}

// proof asks an app for something that works only if all of it does, and answers what that was.
type proof func(context.Context, app) (string, error)

var proofs = map[string]proof{
	"astro": func(ctx context.Context, a app) (string, error) {
		return "a page made of Markdown answers", a.shows(ctx, "/entries/kingfisher/", "a line of blue")
	},
	"django-postgres": func(ctx context.Context, a app) (string, error) {
		token, err := a.field(ctx, "/", "csrfmiddlewaretoken")
		if err == nil {
			err = a.form(ctx, "/", url.Values{"csrfmiddlewaretoken": {token}, "name": {"Basil"}, "place": {"kitchen"}})
		}
		if err == nil {
			err = a.form(ctx, "/plants/1/water", url.Values{"csrfmiddlewaretoken": {token}})
		}
		return "a plant was added and watered", errors.Join(err, a.shows(ctx, "/", "Basil", "watered 1 time,"))
	},
	"express-postgres": func(ctx context.Context, a app) (string, error) {
		err := a.json(ctx, http.MethodPost, "/entries", http.StatusCreated, map[string]any{"name": "Ada", "message": "still here"})
		return "a row was written and read", errors.Join(err, a.shows(ctx, "/api/entries", "still here"))
	},
	"fastapi-postgres": func(ctx context.Context, a app) (string, error) {
		err := a.json(ctx, http.MethodPost, "/api/books", http.StatusCreated, map[string]any{"title": "Emma", "author": "Jane Austen"})
		if err == nil {
			err = a.json(ctx, http.MethodPatch, "/api/books/1", http.StatusOK, map[string]any{"read": true})
		}
		return "a row was written, changed and read", errors.Join(err, a.shows(ctx, "/api/books", `"title":"Emma"`, `"read":true`), a.shows(ctx, "/", "/static/books.js"))
	},
	"fastify-redis": func(ctx context.Context, a app) (string, error) {
		err := a.shows(ctx, "/api/votes", `{"name":"Tea","count":0}`)
		for range 2 {
			err = errors.Join(err, a.form(ctx, "/votes", url.Values{"choice": {"Tea"}}))
		}
		return "the counter counted two", errors.Join(err, a.shows(ctx, "/api/votes", `{"name":"Tea","count":2}`))
	},
	"flask": func(ctx context.Context, a app) (string, error) {
		return "a maze was drawn", errors.Join(a.shows(ctx, "/?word=harbour&size=9", "The maze of harbour", "9 by 9"), a.shows(ctx, "/maze.svg?word=harbour&size=9", "<svg", "M1 0H9"))
	},
	"go": func(ctx context.Context, a app) (string, error) {
		return "a badge was drawn", errors.Join(a.shows(ctx, "/?name=Ada", "A badge for Ada"), a.shows(ctx, "/badges/Ada.svg", "<svg", "hsl("))
	},
	"manifest-postgres": func(ctx context.Context, a app) (string, error) {
		err := a.json(ctx, http.MethodPost, "/api/collections/books", http.StatusCreated, map[string]any{"title": "Emma", "author": "Jane Austen", "pages": 474})
		return "a row was written and read", errors.Join(err, a.shows(ctx, "/api/collections/books", `"title":"Emma"`, `"total":1`))
	},
	"manifest-sqlite": func(ctx context.Context, a app) (string, error) {
		err := a.json(ctx, http.MethodPost, "/api/collections/items", http.StatusCreated, map[string]any{"name": "A red glove", "place": "stairs", "state": "waiting"})
		return "a row was written and read", errors.Join(err, a.shows(ctx, "/api/collections/items", `"name":"A red glove"`, `"total":1`))
	},
	"nest": func(ctx context.Context, a app) (string, error) {
		err := a.json(ctx, http.MethodPost, "/api/tasks", http.StatusCreated, map[string]any{"title": "Water the basil"})
		if err == nil {
			err = a.json(ctx, http.MethodPatch, "/api/tasks/3", http.StatusOK, map[string]any{"column": "doing"})
		}
		return "a task was added and moved", errors.Join(err, a.shows(ctx, "/api/tasks", `{"id":3,"title":"Water the basil","column":"doing"}`), a.shows(ctx, "/", "Task board"))
	},
	"next": func(ctx context.Context, a app) (string, error) {
		return "the page was rendered for its word", errors.Join(a.shows(ctx, "/?word=moss", "moss", "#"), a.shows(ctx, "/api/palette/moss", `"word":"moss"`))
	},
	"node-hello": func(ctx context.Context, a app) (string, error) {
		return "it said hello", a.shows(ctx, "/", "Hello from node-hello 1.0.0 on Node.js v")
	},
	"pnpm-workspace": func(ctx context.Context, a app) (string, error) {
		return "the shared package threw dice", errors.Join(a.shows(ctx, "/api/roll/3d8+2", `"notation":"3d8+2"`, `"total":`), a.answers(ctx, "/api/roll/none", http.StatusBadRequest), a.shows(ctx, "/", "Dice table"))
	},
	"procfile-worker": func(ctx context.Context, a app) (string, error) {
		err := a.form(ctx, "/texts", url.Values{"text": {"the sea, the sea"}})
		return "the worker counted a text", errors.Join(err, a.comesToShow(ctx, "/api/texts", `"words":4,"different":2`))
	},
	"static": func(ctx context.Context, a app) (string, error) {
		return "its files answer, and nothing else does", errors.Join(a.shows(ctx, "/about.html", "Why breathe slowly"), a.shows(ctx, "/breathe.js", "BREATHS"), a.answers(ctx, "/nothing", http.StatusNotFound))
	},
	"vite-react": func(ctx context.Context, a app) (string, error) {
		return "a deep link answers with the page", a.shows(ctx, "/recipes/lentil-soup", `<main id="root">`, "/assets/")
	},
}

// get reads a page, whatever its status.
func (a app) get(ctx context.Context, path string) (int, string, error) {
	return a.client.Get(ctx, a.host, path)
}

// shows is an error unless the page is there and has the words in it.
func (a app) shows(ctx context.Context, path string, words ...string) error {
	status, body, err := a.get(ctx, path)
	if err != nil {
		return err
	}
	for _, word := range words {
		if status != http.StatusOK || !strings.Contains(body, word) {
			return fmt.Errorf("%s answers %d without %q: %.300s", path, status, word, body)
		}
	}
	return nil
}

// comesToShow asks again until the page has the words, for 20 s at most.
func (a app) comesToShow(ctx context.Context, path, words string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := a.shows(ctx, path, words)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return err
		}
	}
}

func (a app) answers(ctx context.Context, path string, want int) error {
	if status, _, err := a.get(ctx, path); err != nil || status != want {
		return errors.Join(fmt.Errorf("%s answers %d, not %d", path, status, want), err)
	}
	return nil
}

// json sends a value and wants the status.
func (a app) json(ctx context.Context, method, path string, want int, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return a.send(ctx, method, path, want, string(text), "application/json")
}

// form posts fields, as a page's form does, and wants to be sent on.
func (a app) form(ctx context.Context, path string, fields url.Values) error {
	return a.send(ctx, http.MethodPost, path, 0, fields.Encode(), "application/x-www-form-urlencoded")
}

// send wants the status, or one of redirects for 0.
func (a app) send(ctx context.Context, method, path string, want int, text, kind string) error {
	res, err := a.client.Do(ctx, method, a.host, path, strings.NewReader(text), "Content-Type", kind)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	said, err := io.ReadAll(res.Body)
	if res.StatusCode != want && (want != 0 || res.StatusCode/100 != 3) {
		return errors.Join(fmt.Errorf("%s %s answers %d: %.300s", method, path, res.StatusCode, said), err)
	}
	return err
}

// field answers the value of a form's hidden field.
func (a app) field(ctx context.Context, path, name string) (string, error) {
	_, body, err := a.get(ctx, path)
	if err != nil {
		return "", err
	}
	_, rest, _ := strings.Cut(body, `name="`+name+`" value="`)
	value, _, found := strings.Cut(rest, `"`)
	if !found {
		return "", fmt.Errorf("%s has no field %s: %.300s", path, name, body)
	}
	return value, nil
}
