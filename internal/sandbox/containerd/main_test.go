package containerd

import (
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	if Dispatch(os.Args) { // it is the keeper of a process then
		return
	}
	os.Exit(m.Run())
}
