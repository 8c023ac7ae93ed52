package main

import (
	"os"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// TestReadmeListsFlags: the table of the README has every flag of serve, with its
// variable and its default.
func TestReadmeListsFlags(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if cells := strings.Split(line, "|"); len(cells) == 6 {
			for _, flag := range strings.Split(cells[1], ",") {
				rows[strings.Trim(flag, " `")] = line
			}
		}
	}
	serve, _, err := command().Find([]string{"serve"})
	if err != nil {
		t.Fatal(err)
	}
	serve.InheritedFlags() // merges them into Flags
	serve.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Name == "help" {
			return
		}
		row, listed := rows["--"+f.Name]
		if !listed {
			t.Errorf("the README does not list --%s", f.Name)
			return
		}
		variable := strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_")) + "`"
		if !strings.Contains(row, "_"+variable) && !strings.Contains(row, "`"+variable) {
			t.Errorf("the README does not name the variable of --%s: %s", f.Name, row)
		}
		if f.DefValue != "" && f.DefValue != "false" && !strings.Contains(row, "`"+f.DefValue+"`") {
			t.Errorf("the README does not say that --%s is %s when not given: %s", f.Name, f.DefValue, row)
		}
	})
}
