package analyzer

import (
	"slices"
	"strings"
	"testing"

	"github.com/coderunner/coderunner/internal/coderunner"
)

func TestDatabaseNeeds(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		dependencies, code string
		want               []coderunner.DatabaseNeed
		warning            string // "" for none
	}{
		"redis": {dependencies: `"ioredis": "5"`, code: "const r = new (require('ioredis'))(process.env.REDIS_URL);",
			want: []coderunner.DatabaseNeed{{Appliance: "redis-7", Why: "dependency ioredis in package.json:1; REDIS_URL read in index.js:1"}}},
		"a queue": {dependencies: `"bullmq": "5"`, want: []coderunner.DatabaseNeed{{Appliance: "redis-7", Why: "dependency bullmq in package.json:1"}}},
		"mysql": {dependencies: `"mysql2": "3"`, code: "require('mysql2/promise').createPool(process.env.DATABASE_URL);",
			want: []coderunner.DatabaseNeed{{Appliance: "mysql", Why: "dependency mysql2 in package.json:1; DATABASE_URL read in index.js:1"}}},
		"mariadb": {dependencies: `"mariadb": "3"`, want: []coderunner.DatabaseNeed{{Appliance: "mysql", Why: "dependency mariadb in package.json:1"}}},
		"two kinds": {dependencies: `"pg": "8", "redis": "4"`, code: "require('pg'); require('redis');", want: []coderunner.DatabaseNeed{
			{Appliance: "postgres-15", Why: "dependency pg in package.json:1"}, {Appliance: "redis-7", Why: "dependency redis in package.json:1"}}},
		"a choice that the code makes": {dependencies: `"pg": "8", "mysql2": "3"`, code: "require('mysql2');",
			want: []coderunner.DatabaseNeed{{Appliance: "mysql", Why: "dependency mysql2 in package.json:1"}}},
		"a choice that nobody makes, and a queue": {dependencies: `"pg": "8", "mysql2": "3", "bull": "4"`,
			want: []coderunner.DatabaseNeed{{Appliance: "redis-7", Why: "dependency bull in package.json:1"}}, warning: "Tick the one that the app needs."},
		"what is not offered": {dependencies: `"mongoose": "8"`, warning: "MongoDB (dependency mongoose in package.json:1), which is not offered yet"},
	} {
		plan, err := Analyze(files("package.json", `{"main": "index.js", "scripts": {"start": "node index.js"}, "dependencies": {`+test.dependencies+`}}`,
			"index.js", test.code+"\nrequire('http').createServer().listen(process.env.PORT);\n"))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !slices.Equal(plan.Databases, test.want) {
			t.Errorf("%s: needs %+v, want %+v", name, plan.Databases, test.want)
		}
		if warnings := strings.Join(plan.Warnings, "\n"); test.warning != "" && !strings.Contains(warnings, test.warning) || test.warning == "" && strings.Contains(warnings, "atabase") {
			t.Errorf("%s: warns %q, want %q", name, warnings, test.warning)
		}
	}
}
