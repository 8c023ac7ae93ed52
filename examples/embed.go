// Package examples holds small real apps: the dashboard's samples, the README's
// tour and the tests use them.
package examples

import "embed"

// FS has a directory for each example, without what installing it leaves behind.
//
//go:embed express-postgres/*.js express-postgres/*.json express-postgres/README.md express-postgres/public
//go:embed node-hello/*.js node-hello/*.json node-hello/README.md
var FS embed.FS
