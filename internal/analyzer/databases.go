package analyzer

import (
	"fmt"
	"path"
	"regexp"
	"strings"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// Kinds of database that packages talk to.
const (
	postgres = "PostgreSQL"
	mysql    = "MySQL"
	mongo    = "MongoDB"
	redis    = "Redis"
	sqlite   = "SQLite"
)

// driver is a package that talks to a database.
type driver struct{ name, kind string }

var drivers = []driver{
	{"pg", postgres}, {"pg-promise", postgres}, {"postgres", postgres}, {"slonik", postgres}, {"pg-native", postgres},
	{"@prisma/adapter-pg", postgres}, {"connect-pg-simple", postgres},
	{"mysql2", mysql}, {"mysql", mysql}, {"mariadb", mysql}, {"@prisma/adapter-mariadb", mysql}, {"@fastify/mysql", mysql}, {"express-mysql-session", mysql},
	{"mongodb", mongo}, {"mongoose", mongo},
	{"redis", redis}, {"ioredis", redis}, {"bullmq", redis}, {"bull", redis}, {"connect-redis", redis}, {"@redis/client", redis},
	{"@fastify/redis", redis}, {"@keyv/redis", redis}, {"@socket.io/redis-adapter", redis}, {"bee-queue", redis},
	{"better-sqlite3", sqlite}, {"sqlite3", sqlite}, {"sqlite", sqlite},
}

// offered are the appliances that meet a need.
var offered = map[string]string{postgres: "postgres-15", mysql: "mysql", redis: "redis-7"}

// addresses are the variables by which apps are told where a database is.
var addresses = map[string][]string{
	postgres: {"DATABASE_URL", "POSTGRES_URL", "POSTGRESQL_URL", "PG_URL", "PG_CONNECTION_STRING", "PGHOST", "PGDATABASE",
		"PGUSER", "POSTGRES_HOST", "POSTGRES_DB", "POSTGRES_USER", "DB_HOST", "DB_URL"},
	mysql: {"MYSQL_URL", "DATABASE_URL", "MYSQL_HOST", "MYSQL_DATABASE", "MYSQL_USER", "DB_HOST", "DB_URL"},
	redis: {"REDIS_URL", "REDIS_HOST", "REDIS_PORT", "REDIS_URI"},
}

var prismaProvider = regexp.MustCompile(`(?s)datasource\s+\w+\s*\{[^}]*?provider\s*=\s*"(\w+)"`)

// use is one kind of database that the project seems to need.
type use struct {
	kind     string
	why      string // "dependency pg in package.json:9"
	imported bool   // the code itself uses it
}

// databases are the needs that an appliance can meet; the others become warnings.
//
// A driver among the dependencies suggests a database. Where several kinds of SQL
// driver are listed, as by libraries that offer a choice, one counts only if the code imports it.
func (a *app) databases(uses []use) []coderunner.DatabaseNeed {
	var needs []coderunner.DatabaseNeed
	var rivals []string
	for _, u := range uses {
		if u.kind == postgres || u.kind == mysql || u.kind == sqlite {
			rivals = append(rivals, u.kind)
		}
	}
	var unused []string
	for _, u := range uses {
		sql := u.kind == postgres || u.kind == mysql || u.kind == sqlite
		if sql && len(rivals) > 1 && !u.imported {
			unused = append(unused, u.why)
			continue
		}
		switch u.kind {
		case postgres, mysql, redis:
			why := u.why
			if f, ok := a.source.reads(addresses[u.kind]...); ok {
				why += fmt.Sprintf("; %s read in %s", f.text, f.at())
			}
			needs = append(needs, coderunner.DatabaseNeed{Appliance: offered[u.kind], Why: why})
			if u.kind != postgres {
				continue
			}
			if f, ok := a.source.first(func(f finding) bool { return f.kind == dialsPostgres }); ok {
				a.warn("%s looks for PostgreSQL on this machine, port 5432. The project's database is somewhere else: read its address from DATABASE_URL.", f.at())
			}
		case sqlite:
			a.warn("The project keeps data in a SQLite file (%s). Files that the app writes are lost at the next deployment; use PostgreSQL for what must stay.", u.why)
		default:
			a.warn("The project uses %s (%s), which is not offered yet. Set the address of one of your own as a variable.", u.kind, u.why)
		}
	}
	if len(unused) > 1 && len(unused) == len(rivals) {
		a.warn("Drivers for several databases are listed (%s), and the code imports none of them. Tick the one that the app needs.", strings.Join(unused, "; "))
	}
	return needs
}

// databaseUses lists each kind at most once, in the order of drivers.
func (a *nodeApp) databaseUses() []use {
	var uses []use
	seen := map[string]int{}
	for _, driver := range drivers {
		f, ok := a.pkg.dependencies.get(driver.name)
		if !ok {
			f, ok = a.pkg.optionalDependencies.get(driver.name)
		}
		if !ok {
			continue
		}
		_, imported := a.source.imports(driver.name)
		if i, known := seen[driver.kind]; known {
			uses[i].imported = uses[i].imported || imported
			continue
		}
		seen[driver.kind] = len(uses)
		uses = append(uses, use{kind: driver.kind, why: fmt.Sprintf("dependency %s in %s", driver.name, f.at()), imported: imported})
	}
	if kind, why := a.prisma(); kind != "" {
		if i, known := seen[kind]; known {
			uses[i].imported = true
		} else {
			uses = append(uses, use{kind: kind, why: why, imported: true})
		}
	}
	return uses
}

// prisma reads the database kind from Prisma's schema.
func (a *nodeApp) prisma() (kind, why string) {
	if _, ok := a.pkg.dependency("@prisma/client"); !ok {
		return "", ""
	}
	for _, name := range []string{"prisma/schema.prisma", "schema.prisma"} {
		if !a.hasFile(name) {
			continue
		}
		data, err := a.tree.read(path.Join(a.root, name), maxSourceFile)
		if err != nil {
			return "", ""
		}
		m := prismaProvider.FindSubmatchIndex(data)
		if m == nil {
			return "", ""
		}
		kinds := map[string]string{"postgresql": postgres, "postgres": postgres, "mysql": mysql, "mongodb": mongo, "sqlite": sqlite}
		line := 1 + strings.Count(string(data[:m[2]]), "\n")
		return kinds[string(data[m[2]:m[3]])], fmt.Sprintf("the provider in %s:%d", name, line)
	}
	return "", ""
}
