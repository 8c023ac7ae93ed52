package pglocal

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/coderunner/coderunner/internal/testdisk"
)

// TestDatabaseWorksOnADiskThatOthersHaveFilled: what the file system keeps back for
// the system is the database's as well.
func TestDatabaseWorksOnADiskThatOthersHaveFilled(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 || !mayGive(unix.CAP_SYS_RESOURCE) {
		t.Skip("this machine does not let us hand on the right to a file system's reserve")
	}
	dir := testdisk.New(t, 400<<20, 15)
	c := start(t, Config{Dir: filepath.Join(dir, "pg")})
	testdisk.Fill(t, dir)
	query(t, c.DSN(Database), "CREATE TABLE notes AS SELECT n, repeat('x', 1000) AS text FROM generate_series(1, 10000) AS n")
	if got := query(t, c.DSN(Database), "SELECT count(*) FROM notes"); got != "10000" {
		t.Errorf("%s rows were kept", got)
	}
	if n := c.Restarts(); n != 0 {
		t.Errorf("the server had to be started again %d times", n)
	}
}
