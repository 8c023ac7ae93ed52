package views

import "testing"

func TestEachStepHasTheIconOfWhatItDoes(t *testing.T) {
	for step, want := range map[string]string{
		"database": "database", "databases": "database", "sandbox": "server", "upload": "upload", "install": "package",
		"build": "hammer", "start": "play", "health": "heart-pulse", "route": "route", "unroute": "route", "drain": "unplug",
		"volumes": "hard-drive", "bundles": "archive", "something": "circle-dot",
	} {
		if got := stepIcon(step); got != want {
			t.Errorf("%s has the icon %s, want %s", step, got, want)
		}
	}
}
