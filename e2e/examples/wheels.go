package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
)

// debianPackages are what the examples in Python need, of Debian 12, whose Python is 3.11.
var debianPackages = []string{
	"python3-anyio", "python3-asgiref", "python3-click", "python3-colorama", "python3-django", "python3-fastapi", "python3-flask", "python3-gunicorn", "python3-h11",
	"python3-idna", "python3-itsdangerous", "python3-jinja2", "python3-markupsafe", "python3-psycopg2", "python3-pydantic", "python3-sniffio", "python3-sqlparse",
	"python3-starlette", "python3-typing-extensions", "python3-tz", "python3-uvicorn", "python3-werkzeug",
}

// otherNames are those of PyPI's projects that have the same modules.
var otherNames = map[string]string{"psycopg2": "psycopg2-binary"}

// wheel is a package as pip installs it.
type wheel struct {
	project, file string // "markupsafe", "markupsafe-2.1.2-cp311-cp311-linux_x86_64.whl"
	content       []byte
}

// debianWheels downloads the packages into dir and makes a wheel of each.
func debianWheels(ctx context.Context, dir string) ([]wheel, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "apt-get", append([]string{"-q", "-o", "APT::Sandbox::User=root", "download"}, debianPackages...)...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("apt-get download: %w\n%s", err, bytes.TrimSpace(out))
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil {
		return nil, err
	}
	return wheelsIn(ctx, files)
}

// wheelsIn makes a wheel of each of the packages.
func wheelsIn(ctx context.Context, files []string) ([]wheel, error) {
	packages := map[string]*debian{}
	for _, file := range files {
		p, err := readDebian(ctx, file)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", filepath.Base(file), err)
		}
		packages[p.name] = p
	}
	var wheels []wheel
	for _, p := range packages {
		made, err := p.wheel(packages)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
		wheels = append(wheels, made)
	}
	return wheels, nil
}

// debian is a package with Python modules.
type debian struct {
	name             string            // "python3-jinja2"
	depends          string            // the field of the package: what upstream says of it, Debian often leaves out
	project, version string            // as upstream names them: "jinja2", "3.1.2"
	files            map[string][]byte // the modules, by their names in dist-packages
	entryPoints      []byte
}

// readDebian reads a package's file.
func readDebian(ctx context.Context, deb string) (*debian, error) {
	name, err := dpkg(ctx, "--field", deb, "Package")
	if err != nil {
		return nil, err
	}
	depends, err := dpkg(ctx, "--field", deb, "Depends")
	if err != nil {
		return nil, err
	}
	packed, err := dpkg(ctx, "--fsys-tarfile", deb)
	if err != nil {
		return nil, err
	}
	p := &debian{name: string(bytes.TrimSpace(name)), depends: string(depends), files: map[string][]byte{}}
	return p, p.readFiles(tar.NewReader(bytes.NewReader(packed)))
}

func dpkg(ctx context.Context, args ...string) ([]byte, error) {
	var complaint bytes.Buffer
	cmd := exec.CommandContext(ctx, "dpkg-deb", args...)
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("dpkg-deb: %w %s", err, &complaint)
	}
	return out, nil
}

// distPackages is where Debian has Python's modules.
const distPackages = "./usr/lib/python3/dist-packages/"

// readFiles takes the modules, and what is said about them.
func (p *debian) readFiles(in *tar.Reader) error {
	for {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name, is := strings.CutPrefix(header.Name, distPackages)
		if !is || header.Typeflag != tar.TypeReg {
			continue
		}
		content, err := io.ReadAll(in)
		if err != nil {
			return err
		}
		dir, file := path.Split(name)
		switch about := strings.HasSuffix(dir, ".dist-info/") || strings.HasSuffix(dir, ".egg-info/"); {
		case strings.HasSuffix(name, ".egg-info") || about && (file == "METADATA" || file == "PKG-INFO"):
			p.readHeaders(content)
		case about && file == "entry_points.txt":
			p.entryPoints = content
		case !about:
			p.files[name] = content
		}
	}
}

func (p *debian) readHeaders(content []byte) {
	head, _, _ := strings.Cut(string(content), "\n\n")
	for line := range strings.Lines(head) {
		switch key, value, _ := strings.Cut(strings.TrimSpace(line), ": "); key {
		case "Name":
			p.project = projectName(value)
			if other := otherNames[p.project]; other != "" {
				p.project = other
			}
		case "Version":
			p.version = value
		}
	}
}

// wheel packs the modules for pip. What they need is what the package depends on, of those beside it.
func (p *debian) wheel(beside map[string]*debian) (wheel, error) {
	if p.project == "" || p.version == "" {
		return wheel{}, errors.New("it says nowhere which project and version it is")
	}
	tag, pure := "py3-none-any", "true"
	for name := range p.files {
		if strings.HasSuffix(name, ".so") {
			tag, pure = "cp311-cp311-linux_"+map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH], "false"
		}
	}
	metadata := fmt.Appendf(nil, "Metadata-Version: 2.1\nName: %s\nVersion: %s\n", p.project, p.version)
	for _, name := range packageName.FindAllString(p.depends, -1) {
		if needed := beside[name]; needed != nil {
			metadata = fmt.Appendf(metadata, "Requires-Dist: %s\n", needed.project)
		}
	}
	files := maps.Clone(p.files)
	escaped := strings.ReplaceAll(p.project, "-", "_") + "-" + p.version
	info := escaped + ".dist-info/"
	files[info+"METADATA"] = metadata
	files[info+"WHEEL"] = fmt.Appendf(nil, "Wheel-Version: 1.0\nGenerator: coderunner\nRoot-Is-Purelib: %s\nTag: %s\n", pure, tag)
	if len(p.entryPoints) > 0 {
		files[info+"entry_points.txt"] = p.entryPoints
	}
	content, err := zipped(files, info+"RECORD")
	return wheel{project: p.project, file: escaped + "-" + tag + ".whl", content: content}, err
}

var packageName = regexp.MustCompile(`python3-[a-z0-9.+-]+`)

var separators = regexp.MustCompile(`[-_.]+`)

// projectName is a name as PEP 503 compares names.
func projectName(name string) string {
	return strings.ToLower(separators.ReplaceAllString(name, "-"))
}

// zipped packs the files with their record, as a wheel has it.
func zipped(files map[string][]byte, record string) ([]byte, error) {
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	var lines []byte
	add := func(name string, content []byte) error {
		file, err := w.Create(name)
		if err == nil {
			_, err = file.Write(content)
		}
		return err
	}
	for name, content := range files {
		if err := add(name, content); err != nil {
			return nil, err
		}
		sum := sha256.Sum256(content)
		lines = fmt.Appendf(lines, "%s,sha256=%s,%d\n", name, base64.RawURLEncoding.EncodeToString(sum[:]), len(content))
	}
	if err := add(record, append(lines, record+",,\n"...)); err != nil {
		return nil, err
	}
	err := w.Close()
	return out.Bytes(), err
}
