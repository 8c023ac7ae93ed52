package analyzer

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// goMarks are what is looked for in Go sources.
var goMarks = []mark{
	{"os.Getenv(", lookGoEnv("os.Getenv(")}, {"os.LookupEnv(", lookGoEnv("os.LookupEnv(")},
	{"ListenAndServe(", lookGoListen}, {"net.Listen(", lookGoListen}, {".Run(", lookGoListen}, {".Start(", lookGoListen}, {".Listen(", lookGoListen},
	{"Addr:", lookGoListen},
	{`"net/http"`, lookGoImport}, {`"github.com/`, lookGoImport}, {`"gorm.io/`, lookGoImport}, {`"modernc.org/`, lookGoImport}, {`"go.mongodb.org/`, lookGoImport},
	{":5432", lookPostgres},
}

var (
	goText    = regexp.MustCompile("^\\s*[\"`]([A-Za-z_]\\w{0,127})[\"`]")
	goAddress = regexp.MustCompile("^[^\"`\\n]{0,20}[\"`]([\\w.\\[\\]:]{0,60}):(\\d{2,5})[\"`]")
)

func lookGoEnv(call string) func([]byte, int, func(finding)) {
	return func(data []byte, at int, add func(finding)) {
		if m := goText.FindSubmatch(window(data, at+len(call), 150)); m != nil {
			addKey(m[1], add)
		}
	}
}

// lookGoListen reads http.ListenAndServe("127.0.0.1:8080", nil), router.Run(":8080") and Addr: ":8080".
func lookGoListen(data []byte, at int, add func(finding)) {
	text := window(data, at, 120)
	open := bytes.IndexAny(text, "(:")
	if m := goAddress.FindSubmatch(text[open+1:]); m != nil {
		if port, err := strconv.Atoi(string(m[2])); err == nil {
			add(finding{kind: listensOn, text: string(m[1]), port: port})
		}
	}
}

func lookGoImport(data []byte, at int, add func(finding)) {
	text := window(data, at+1, 120)
	end := bytes.IndexByte(text, '"')
	if end < 0 {
		return
	}
	name := string(text[:end])
	if name == "net/http" {
		add(finding{kind: imports, text: name})
		return
	}
	for _, driver := range goDrivers {
		if rest, ok := strings.CutPrefix(name, driver.name); ok && (rest == "" || rest[0] == '/') {
			add(finding{kind: imports, text: driver.name})
		}
	}
}

// goDrivers are the modules that talk to a database, without their major versions.
var goDrivers = []driver{
	{"github.com/lib/pq", postgres}, {"github.com/jackc/pgx", postgres}, {"gorm.io/driver/postgres", postgres}, {"github.com/go-pg/pg", postgres},
	{"github.com/go-sql-driver/mysql", mysql}, {"gorm.io/driver/mysql", mysql},
	{"go.mongodb.org/mongo-driver", mongo},
	{"github.com/redis/go-redis", redis}, {"github.com/go-redis/redis", redis}, {"github.com/gomodule/redigo", redis}, {"github.com/hibiken/asynq", redis},
	{"github.com/mattn/go-sqlite3", sqlite}, {"modernc.org/sqlite", sqlite}, {"gorm.io/driver/sqlite", sqlite},
}

// databaseUses lists each kind at most once, in the order of the drivers.
func (a *goApp) databaseUses() []use {
	var uses []use
	seen := map[string]int{}
	for _, driver := range goDrivers {
		f, ok := a.requires[driver.name]
		if !ok {
			continue
		}
		_, imported := a.source.imports(driver.name)
		if i, known := seen[driver.kind]; known {
			uses[i].imported = uses[i].imported || imported
			continue
		}
		seen[driver.kind] = len(uses)
		uses = append(uses, use{kind: driver.kind, why: fmt.Sprintf("require %s in go.mod:%d", driver.name, f.line), imported: imported})
	}
	return uses
}
