package coderunner

import (
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Protocol is what a database's server speaks. What differs from one kind of
// database to the next follows from it; a project has at most one database of each.
type Protocol string

const (
	PostgreSQL Protocol = "postgresql"
	MySQL      Protocol = "mysql" // MariaDB too
	Redis      Protocol = "redis"
)

// Protocols are all that there are.
func Protocols() []Protocol { return []Protocol{PostgreSQL, MySQL, Redis} }

// ProtocolOf is what a database made from an appliance speaks, by the appliance's
// name; an older catalogue's too. The catalogue takes no definition that says otherwise.
func ProtocolOf(appliance string) Protocol {
	server, _, _ := strings.Cut(appliance, "-")
	switch server {
	case "postgres":
		return PostgreSQL
	case "mysql", "mariadb":
		return MySQL
	case "redis", "valkey":
		return Redis
	}
	return ""
}

// Port is where such a server usually listens.
func (p Protocol) Port() int {
	return map[Protocol]int{PostgreSQL: 5432, MySQL: 3306, Redis: 6379}[p]
}

// Title is the protocol's name as people write it.
func (p Protocol) Title() string {
	return map[Protocol]string{PostgreSQL: "PostgreSQL", MySQL: "MySQL", Redis: "Redis"}[p]
}

// DatabaseName is what a new database is called within its server. Those of Redis have numbers.
func (p Protocol) DatabaseName() string {
	if p == Redis {
		return "0"
	}
	return "app"
}

// Connection is how a new database will be reached, but for its host.
func (p Protocol) Connection(database, password string, port int) Connection {
	user := database
	if p == Redis {
		user = "default"
	}
	return Connection{User: user, Database: database, Password: password, Port: port}
}

// InitEnvironment is what an appliance's init command makes of a connection.
func (p Protocol) InitEnvironment(c Connection) map[string]string {
	switch p {
	case PostgreSQL:
		return map[string]string{"POSTGRES_USER": c.User, "POSTGRES_PASSWORD": c.Password, "POSTGRES_DB": c.Database}
	case MySQL:
		return map[string]string{"MYSQL_USER": c.User, "MYSQL_PASSWORD": c.Password, "MYSQL_DATABASE": c.Database}
	case Redis:
		return map[string]string{"REDIS_PASSWORD": c.Password}
	}
	return nil
}

// URLKey is the variable that has all of a connection.
func (p Protocol) URLKey() string {
	return map[Protocol]string{PostgreSQL: "DATABASE_URL", MySQL: "MYSQL_URL", Redis: "REDIS_URL"}[p]
}

// PasswordKey is the variable that has the password alone.
func (p Protocol) PasswordKey() string {
	return map[Protocol]string{PostgreSQL: "PGPASSWORD", MySQL: "MYSQL_PASSWORD", Redis: "REDIS_PASSWORD"}[p]
}

// Keys are the variables that commands and app of a project get from its database:
// the names that clients and frameworks read. DATABASE_URL is PostgreSQL's, and
// MySQL's in a project that has no PostgreSQL beside it.
func (p Protocol) Keys(beside ...Protocol) []string {
	switch p {
	case PostgreSQL:
		return []string{"DATABASE_URL", "PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE"}
	case MySQL:
		keys := []string{"MYSQL_URL", "MYSQL_HOST", "MYSQL_PORT", "MYSQL_USER", "MYSQL_PASSWORD", "MYSQL_DATABASE"}
		if !slices.Contains(beside, PostgreSQL) {
			keys = slices.Insert(keys, 1, "DATABASE_URL")
		}
		return keys
	case Redis:
		return []string{"REDIS_URL", "REDIS_HOST", "REDIS_PORT", "REDIS_USERNAME", "REDIS_PASSWORD"}
	}
	return nil
}

// Environment gives the connection the names of Keys.
func (p Protocol) Environment(c Connection, beside ...Protocol) map[string]string {
	port := strconv.Itoa(c.Port)
	dsn := url.URL{User: url.UserPassword(c.User, c.Password), Host: net.JoinHostPort(c.Host, port)}
	switch p {
	case PostgreSQL:
		dsn.Scheme, dsn.Path = "postgres", "/"+c.Database
		return map[string]string{"DATABASE_URL": dsn.String(), "PGHOST": c.Host, "PGPORT": port, "PGUSER": c.User, "PGPASSWORD": c.Password, "PGDATABASE": c.Database}
	case MySQL:
		dsn.Scheme, dsn.Path = "mysql", "/"+c.Database
		env := map[string]string{"MYSQL_URL": dsn.String(), "MYSQL_HOST": c.Host, "MYSQL_PORT": port, "MYSQL_USER": c.User, "MYSQL_PASSWORD": c.Password, "MYSQL_DATABASE": c.Database}
		if !slices.Contains(beside, PostgreSQL) {
			env["DATABASE_URL"] = dsn.String()
		}
		return env
	case Redis:
		dsn.Scheme = "redis"
		return map[string]string{"REDIS_URL": dsn.String(), "REDIS_HOST": c.Host, "REDIS_PORT": port, "REDIS_USERNAME": c.User, "REDIS_PASSWORD": c.Password}
	}
	return nil
}

// DatabaseKeys are the variables that a project with databases of these protocols gets.
func DatabaseKeys(has ...Protocol) (keys []string) {
	for _, p := range Protocols() {
		if slices.Contains(has, p) {
			keys = append(keys, p.Keys(has...)...)
		}
	}
	return keys
}

// URLKeys are those of them that have all of a connection, one for each database.
func URLKeys(has ...Protocol) (keys []string) {
	for _, p := range Protocols() {
		if slices.Contains(has, p) {
			keys = append(keys, p.URLKey())
		}
	}
	return keys
}
