package analyzer

import (
	"fmt"
	"path"
	"regexp"
	"strings"

	"github.com/coderunner/coderunner/internal/coderunner"
)

var (
	djangoSettings = regexp.MustCompile(`DJANGO_SETTINGS_MODULE["']\s*,\s*["']([\w.]{1,200})["']`)
	allowsNobody   = regexp.MustCompile(`(?m)^ALLOWED_HOSTS\s*(?::[^=\n]{0,60})?=\s*(?:\[\s*\]|\(\s*\))`)
	staticRoot     = regexp.MustCompile(`(?m)^\s*STATIC_ROOT\s*(?::[^=\n]{0,60})?=`)
)

// django starts a project with a manage.py, here or in a folder below.
func (a *pythonApp) django(p *coderunner.Plan) bool {
	dir, ok := a.djangoDir()
	if !ok {
		return false
	}
	manage := a.head(path.Join(dir, "manage.py"), maxSourceFile)
	m := djangoSettings.FindSubmatch(manage)
	if m == nil && !a.has("django") {
		return false
	}
	file := path.Join(dir, "manage.py")
	p.Framework = coderunner.Choice{Value: "Django", Why: file}
	if r, ok := a.requirement("django"); ok {
		p.Framework.Why = fmt.Sprintf("dependency django in %s", r.at())
	} else {
		a.needs = append(a.needs, "django")
	}
	settings := ""
	if m != nil {
		settings = string(m[1])
	}
	a.djangoServer(p, dir, file, settings)
	a.djangoSettings(p, dir, settings)
	p.Processes = map[string]string{"release": inDir(dir, "python3 manage.py migrate --noinput")}
	return true
}

// djangoDir is the folder of manage.py: the top, or the only one below that has one.
func (a *pythonApp) djangoDir() (string, bool) {
	if a.hasFile("manage.py") {
		return ".", true
	}
	found, ok := "", false
	for _, name := range a.top.dirs {
		if !isOutside(name) && a.hasFile(path.Join(name, "manage.py")) {
			if ok {
				return "", false
			}
			found, ok = name, true
		}
	}
	return found, ok
}

// djangoServer finds the WSGI module, or ASGI where the project has Channels.
func (a *pythonApp) djangoServer(p *coderunner.Plan, dir, manage, settings string) {
	var packages []string // shop.settings.prod: shop.settings and shop
	for name := settings; strings.Contains(name, "."); {
		name = name[:strings.LastIndex(name, ".")]
		packages = append(packages, name)
	}
	if l, err := a.tree.list(path.Join(a.root, dir)); err == nil {
		packages = append(packages, l.dirs...)
	}
	for _, name := range packages {
		base := path.Join(dir, strings.ReplaceAll(name, ".", "/"))
		if !identifierPath.MatchString(name) {
			continue
		}
		if file := path.Join(base, "asgi.py"); a.has("channels", "daphne") && a.hasFile(file) {
			a.runWith("daphne")
			p.Start = coderunner.Choice{Value: inDir(dir, "daphne -b 0.0.0.0 -p $PORT "+name+".asgi:application"), Why: "the file " + file}
			return
		}
		if file := path.Join(base, "wsgi.py"); a.hasFile(file) {
			a.runWith("gunicorn")
			p.Start = coderunner.Choice{Value: inDir(dir, "gunicorn "+name+".wsgi:application --bind 0.0.0.0:$PORT"), Why: "the file " + file}
			return
		}
	}
	a.warn("There is no wsgi.py beside %s, so that Django's development server is started. Add the wsgi.py that django-admin startproject writes.", manage)
	p.Start = coderunner.Choice{Value: inDir(dir, "python3 manage.py runserver 0.0.0.0:$PORT --noreload"), Why: "the file " + manage}
}

// djangoSettings reads what the settings say about hosts and static files.
func (a *pythonApp) djangoSettings(p *coderunner.Plan, dir, settings string) {
	base := path.Join(dir, strings.ReplaceAll(settings, ".", "/"))
	for _, name := range []string{base + ".py", base + "/base.py", base + "/__init__.py", path.Join(path.Dir(base), "base.py")} {
		data := a.head(name, maxSourceFile)
		if data == nil {
			continue
		}
		if at := allowsNobody.FindIndex(data); at != nil {
			a.warn("ALLOWED_HOSTS in %s:%d is empty: with DEBUG off, Django then answers 400 to everybody. Add the address that the project gets.",
				printable(name), 1+strings.Count(string(data[:at[0]]), "\n"))
		}
		if at := staticRoot.FindIndex(data); at != nil && p.Build.Value == "" && strings.Contains(string(data), "django.contrib.staticfiles") {
			p.Build = coderunner.Choice{Value: inDir(dir, "python3 manage.py collectstatic --noinput"),
				Why: fmt.Sprintf("STATIC_ROOT in %s:%d", printable(name), 1+strings.Count(string(data[:at[0]]), "\n"))}
		}
	}
}

// migrations offers what brings the database up to date before a new version serves.
func (a *pythonApp) migrations(p *coderunner.Plan) {
	if p.Processes != nil {
		return
	}
	if a.has("flask-migrate") && p.Framework.Value == "Flask" && a.hasFile("migrations/env.py") {
		_, app, _ := strings.Cut(p.Start.Value, "gunicorn ")
		if app, _, ok := strings.Cut(app, " "); ok {
			dir, _, _ := strings.Cut(p.Start.Value, "gunicorn ")
			p.Processes = map[string]string{"release": dir + "flask --app " + app + " db upgrade"}
		}
		return
	}
	if a.has("alembic") && a.hasFile("alembic.ini") {
		p.Processes = map[string]string{"release": "alembic upgrade head"}
	}
}
