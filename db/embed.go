// Package db holds the schema's migrations, embedded, in goose's format.
package db

import "embed"

// Migrations has the files under "migrations".
//
//go:embed migrations/*.sql
var Migrations embed.FS
