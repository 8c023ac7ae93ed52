package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode"

	"github.com/coderunner/coderunner/internal/analyzer"
	"github.com/coderunner/coderunner/internal/bundle"
	"github.com/coderunner/coderunner/internal/coderunner"
)

// Analyze writes the plan of a folder or an archive, as the dashboard would make
// it, without a server. An archive goes through the checks of an upload and leaves nothing behind.
func Analyze(ctx context.Context, name string, asJSON bool, out io.Writer) error {
	info, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return coderunner.Errorf(coderunner.NotFound, "There is no %s. Name a folder, or a .zip, .tar, .tar.gz or .tar.zst.", name)
	}
	if err != nil {
		return err
	}
	analyze := analyzeArchive
	if info.IsDir() {
		analyze = analyzeFolder
	}
	plan, err := analyze(ctx, name)
	if err != nil {
		return err
	}
	if asJSON {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		encoder.SetEscapeHTML(false)
		return encoder.Encode(plan)
	}
	return printPlan(plan, out)
}

func analyzeFolder(_ context.Context, name string) (coderunner.Plan, error) {
	root, err := os.OpenRoot(name)
	if err != nil {
		return coderunner.Plan{}, err
	}
	defer root.Close()
	return analyzer.Analyze(root.FS())
}

func analyzeArchive(ctx context.Context, name string) (plan coderunner.Plan, err error) {
	archive, err := os.Open(name)
	if err != nil {
		return plan, err
	}
	defer archive.Close()
	dir, err := os.MkdirTemp("", "coderunner-analyze-")
	if err != nil {
		return plan, err
	}
	defer os.RemoveAll(dir)
	store, err := bundle.Open(dir, bundle.Limits{})
	if err != nil {
		return plan, err
	}
	saved, err := store.Save(ctx, archive, bundle.Options{Filename: filepath.Base(name)})
	if err != nil {
		return plan, err
	}
	tree, err := store.FS(saved.SHA256)
	if err != nil {
		return plan, err
	}
	defer tree.Close()
	return analyzer.Analyze(tree)
}

// printPlan writes what is in a plan, a line for each value with its reason.
func printPlan(p coderunner.Plan, out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(name, value, why string) {
		if value != "" {
			fmt.Fprintf(table, "%s\t%s\t%s\n", name, harmless(value), harmless(why))
		}
	}
	choice := func(name string, c coderunner.Choice) { row(name, c.Value, c.Why) }
	row("type", p.Type, p.TypeWhy)
	choice("framework", p.Framework)
	row("root", p.Root, map[bool]string{true: "the top", false: "where the project was found"}[p.Root == "."])
	row("runs on", p.Runtime.Appliance, p.Runtime.Why)
	choice("package manager", p.PackageManager)
	choice("install", p.Install)
	choice("build", p.Build)
	choice("start", p.Start)
	choice("static folder", p.StaticDir)
	if p.Port != 0 {
		row("port", strconv.Itoa(p.Port), p.PortWhy)
	}
	choice("health path", p.HealthPath)
	for _, need := range p.Databases {
		row("database", need.Appliance, need.Why)
	}
	for _, key := range p.EnvKeys {
		row("variable", key.Key, "read in "+key.Why)
	}
	for _, name := range slices.Sorted(maps.Keys(p.Processes)) {
		row("process "+harmless(name), p.Processes[name], "of the plan")
	}
	for _, candidate := range p.Candidates {
		row("candidate", candidate.Root, candidate.Type+": "+candidate.Why)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, warning := range p.Warnings {
		if _, err := fmt.Fprintf(out, "\n! %s\n", harmless(warning)); err != nil {
			return err
		}
	}
	return nil
}

// harmless takes out what a terminal would obey: the text comes from the project.
func harmless(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' {
			return ' '
		}
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, text)
}
