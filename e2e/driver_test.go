package e2e

import (
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/playwright-community/playwright-go"
)

// The driver that playwright-go speaks to is a package of npm's registry. It is
// fetched once, and only as the file that this hash names.
const (
	driverPackage   = "playwright-core@1.52.0"
	driverIntegrity = "l2osTgLXSMeuLZOML9qYODUQoPPnUsKsb5/P6LJ2e6uPKXUdPK5WYhN4z03G+YNbWmGDY4YENauNu4ZKczreHg=="
	driverDir       = "/var/cache/coderunner/playwright-1.52.0"
	chromium        = "/usr/bin/chromium"
)

// startBrowser answers a Chromium and how to end it.
func startBrowser() (playwright.Browser, func() error, error) {
	node, err := exec.LookPath("node")
	if err != nil {
		return nil, nil, errors.New("node is not installed; tools/deps.sh test installs it")
	}
	if err := installDriver(); err != nil {
		return nil, nil, fmt.Errorf("install %s: %w", driverPackage, err)
	}
	if err := os.Setenv("PLAYWRIGHT_NODEJS_PATH", node); err != nil {
		return nil, nil, err
	}
	driver, err := playwright.Run(&playwright.RunOptions{DriverDirectory: driverDir, SkipInstallBrowsers: true})
	if err != nil {
		return nil, nil, err
	}
	browser, err := driver.Chromium.Launch(playwright.BrowserTypeLaunchOptions{
		ExecutablePath: playwright.String(chromium),
		Args: []string{"--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
			"--disable-sync", "--no-first-run"},
	})
	if err != nil {
		return nil, nil, errors.Join(err, driver.Stop())
	}
	return browser, func() error { return errors.Join(browser.Close(), driver.Stop()) }, nil
}

// installDriver puts the package where playwright-go looks for it. Of several
// processes that do it at once, one wins.
func installDriver() error {
	place := filepath.Join(driverDir, "package")
	if _, err := os.Stat(place); err == nil {
		return nil
	}
	if err := os.MkdirAll(driverDir, 0o755); err != nil {
		return err
	}
	work, err := os.MkdirTemp(driverDir, "new-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	pack := exec.Command("npm", "pack", "--silent", driverPackage)
	pack.Dir = work
	said, err := pack.Output()
	if err != nil {
		return fmt.Errorf("npm pack: %w", err)
	}
	archive := filepath.Join(work, filepath.Base(strings.TrimSpace(string(said))))
	content, err := os.ReadFile(archive)
	if err != nil {
		return err
	}
	if sum := sha512.Sum512(content); base64.StdEncoding.EncodeToString(sum[:]) != driverIntegrity {
		return errors.New("the registry gave another file than the one these tests were written with")
	}
	if out, err := exec.Command("tar", "-xzf", archive, "-C", work).CombinedOutput(); err != nil {
		return fmt.Errorf("tar: %w: %s", err, out)
	}
	err = os.Rename(filepath.Join(work, "package"), place)
	if _, there := os.Stat(place); there == nil {
		return nil
	}
	return err
}
