package containerd

import (
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	if Dispatch(os.Args) { // the engine keeps output with this binary
		return
	}
	os.Exit(m.Run())
}
