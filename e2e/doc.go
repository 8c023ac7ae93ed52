// Package e2e has the tests of the whole program: a real Chromium in front of
// bin/coderunner, which is started as anybody would start it. Run them with
// make e2e.
package e2e
