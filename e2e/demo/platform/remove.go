package platform

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Remove stops what runs on dir/data, whose server may be nil, removes dir, and looks
// whether anything is left on the machine.
func Remove(ctx context.Context, program, dir string, server *Server) error {
	dataDir := filepath.Join(dir, "data")
	var errs []error
	if _, err := os.Stat(dataDir); err == nil {
		errs = append(errs, Command(ctx, program, dataDir, io.Discard, "down"))
	}
	if server != nil {
		errs = append(errs, server.Stop())
	}
	left, err := Leftovers(dataDir)
	errs = append(errs, err)
	running, err := Processes(dir)
	errs = append(errs, err)
	if left = append(left, running...); len(left) > 0 {
		errs = append(errs, fmt.Errorf("these are left:\n  %s", strings.Join(left, "\n  ")))
	}
	errs = append(errs, ForgetEngine(filepath.Join(dataDir, "engine")))
	if err := os.RemoveAll(dir); err != nil {
		errs = append(errs, fmt.Errorf("removing the data directory: %w", err))
	}
	return errors.Join(errs...)
}
