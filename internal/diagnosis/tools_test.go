package diagnosis

import (
	"strings"
	"testing"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// offered is what a server has.
var offered = []string{"nodejs-18", "nodejs-20", "nodejs-22", "nodejs-24", "python-3.11", "postgres-15", "mysql", "redis-7", "static"}

// TestTools has what the tools themselves printed, shortened.
func TestTools(t *testing.T) {
	for name, c := range map[string]struct {
		step, log string
		want      expectation
	}{
		"lockfile, npm 9": {"install", `npm ERR! code EUSAGE
npm ERR! 
npm ERR! ` + "`npm ci` can only install packages when your package.json and package-lock.json or npm-shrinkwrap.json are in sync. Please update your lock file with `npm install` before continuing." + `
npm ERR! 
npm ERR! Missing: lodash@4.17.21 from lock file
npm ERR! Missing: zod@3.0.0 from lock file
npm ERR! 
npm ERR! Clean install a project`, expectation{id: "install.lockfile", title: "The lockfile does not match package.json.", detail: "lodash@4.17.21 from lock file", next: "npm install"}},
		"lockfile, only the end of the help": {"install", "npm error     When set file: protocol dependencies will be packed\nnpm error\nnpm error Run \"npm help ci\" for more info",
			expectation{id: "install.lockfile", title: "does not match", next: "npm install in place of npm ci"}},
		"no lockfile": {"install", "npm error code EUSAGE\nnpm error The `npm ci` command can only install with an existing package-lock.json or\nnpm error npm-shrinkwrap.json with lockfileVersion >= 1.",
			expectation{id: "install.lockfile", title: "needs a package-lock.json, and the upload has none", next: "upload package-lock.json"}},
		"pnpm's lockfile": {"install", " ERR_PNPM_OUTDATED_LOCKFILE  Cannot install with \"frozen-lockfile\" because pnpm-lock.yaml is not up to date",
			expectation{id: "install.lockfile", title: "does not match"}},
		"missing script": {"build", "npm error Missing script: \"build\"\nnpm error\nnpm error To see a list of scripts, run:\nnpm error   npm run",
			expectation{id: "npm.script_missing", title: `package.json has no script "build".`, next: "change the build command"}},
		"missing start script": {"start", "npm ERR! Missing script: \"start\"", expectation{id: "npm.script_missing", title: `no script "start"`, next: "change the start command"}},
		"no such registry": {"install", "npm error code ENOTFOUND\nnpm error syscall getaddrinfo\nnpm error errno ENOTFOUND\nnpm error network request to https://packages.example/lodash failed, reason: getaddrinfo ENOTFOUND packages.example",
			expectation{id: "install.registry_unreachable", title: "The package registry packages.example could not be reached (ENOTFOUND).", next: "Deploy again", blame: coderunner.Upstream}},
		"registry does not answer": {"install", "npm ERR! code ETIMEDOUT\nnpm ERR! network request to https://packages.example/x failed, reason: connect ETIMEDOUT 104.16.0.35:443",
			expectation{id: "install.registry_unreachable", title: "(ETIMEDOUT)", blame: coderunner.Upstream}},
		"registry on the user's computer": {"install", "npm ERR! code ECONNREFUSED\nnpm ERR! errno ECONNREFUSED\nnpm ERR! FetchError: request to http://127.0.0.1:4873/lodash failed, reason: connect ECONNREFUSED 127.0.0.1:4873",
			expectation{id: "install.registry_unreachable", title: "127.0.0.1 could not be reached", next: ".npmrc"}},
		"certificate of the registry": {"install", "npm ERR! code SELF_SIGNED_CERT_IN_CHAIN\nnpm ERR! errno SELF_SIGNED_CERT_IN_CHAIN\nnpm ERR! request to https://packages.example/x failed, reason: self-signed certificate in certificate chain",
			expectation{id: "install.certificate", title: "packages.example shows a certificate that is not trusted", next: "authority", blame: coderunner.Ours}},
		"certificate of a service": {"start", "Error: self-signed certificate\n    at TLSSocket.onConnectSecure (node:_tls_wrap:1674:34)", expectation{id: "node.certificate", title: "does not trust"}},
		"unknown package": {"install", "npm ERR! code E404\nnpm ERR! 404 Not Found - GET https://packages.example/@acme%2fsecret - Not found\nnpm ERR! 404 \nnpm ERR! 404  '@acme/secret@^1.0.0' is not in this registry.",
			expectation{id: "install.unknown_package", title: "packages.example does not know @acme/secret@^1.0.0", next: ".npmrc"}},
		"unknown version": {"install", "npm ERR! code ETARGET\nnpm ERR! notarget No matching version found for lodash@99.0.0.",
			expectation{id: "install.version_missing", title: "no version lodash@99.0.0.", next: "npm view lodash versions"}},
		"refused": {"install", "npm ERR! code E401\nnpm ERR! Unable to authenticate, need: Basic realm", expectation{id: "install.refused", title: "(E401)", next: "NPM_TOKEN"}},
		"contradiction": {"install", "npm ERR! code ERESOLVE\nnpm ERR! ERESOLVE unable to resolve dependency tree\nnpm ERR! \nnpm ERR! Found: react@18.2.0\nnpm ERR! \nnpm ERR! Could not resolve dependency:\nnpm ERR! peer react@\"^16\" from old@1.0.0",
			expectation{id: "install.conflict", title: "ERESOLVE", detail: "peer react@\"^16\" from old@1.0.0", next: "--legacy-peer-deps"}},
		"engine": {"install", "npm ERR! code EBADENGINE\nnpm ERR! engine Unsupported engine\nnpm ERR! notsup Not compatible with your version of node/npm: vite@7.0.0\nnpm ERR! notsup Required: {\"node\":\"^20.19.0 || >=22.12.0\"}",
			expectation{id: "runtime.version", title: "vite@7.0.0 does not run on this version", detail: "Node.js 18. Wanted: ^20.19.0 || >=22.12.0.", next: "another runtime"}},
		"package.json": {"install", "npm error code EJSONPARSE\nnpm error JSON.parse Invalid package.json: JSONParseError: Expected ',' or '}'", expectation{id: "npm.package_json", title: "not valid JSON"}},
		"disk full":    {"install", "npm ERR! code ENOSPC\nnpm ERR! syscall write\nnpm ERR! nospc ENOSPC: no space left on device, write", expectation{id: "install.disk_full", title: "The disk is full", next: "free space", blame: coderunner.Ours}},
		"watchers":     {"start", "Error: ENOSPC: System limit for number of file watchers reached, watch '/app'", expectation{id: "node.file_watchers", next: "nodemon"}},
		"native package": {"install", "npm ERR! code 1\nnpm ERR! path /app/node_modules/canvas\nnpm ERR! command failed\nnpm ERR! command sh -c node-gyp rebuild\nnpm ERR! ../src/x.cc:3:10: fatal error: cairo.h: No such file or directory\nnpm ERR! gyp ERR! build error \nnpm ERR! gyp ERR! not ok",
			expectation{id: "native.compile", title: "canvas could not be compiled.", detail: "cairo.h", next: "plain JavaScript"}},
		"native package without headers of Node.js": {"install", "npm ERR! path /app/node_modules/bcrypt\nnpm ERR! gyp ERR! stack FetchError: request to https://nodejs.org/x failed, reason: getaddrinfo EAI_AGAIN nodejs.org\nnpm ERR! gyp ERR! not ok",
			expectation{id: "install.registry_unreachable", title: "bcrypt could not be compiled: the headers", blame: coderunner.Upstream}},
		"git": {"install", "npm ERR! code 128\nnpm ERR! An unknown git error occurred\nnpm ERR! command git --no-replace-objects ls-remote ssh://git@github.com/a/b.git", expectation{id: "npm.git", title: "Git repository", next: "https"}},

		"missing package": {"start", "node:internal/modules/cjs/loader:1210\n  throw err;\n  ^\n\nError: Cannot find module 'express'\nRequire stack:\n- /app/index.js\n    at Module._resolveFilename (node:internal/modules/cjs/loader:1207:15) {\n  code: 'MODULE_NOT_FOUND',\n  requireStack: [ '/app/index.js' ]\n}",
			expectation{id: "module.missing", title: "The package express is not installed.", detail: "loaded by index.js", next: "Add express to dependencies in package.json (npm install express)"}},
		"missing package, part of it": {"start", "Error: Cannot find module '@acme/kit/server'\nRequire stack:\n- /app/index.js", expectation{id: "module.missing", title: "The package @acme/kit is not installed."}},
		"missing package, import":     {"start", "Error [ERR_MODULE_NOT_FOUND]: Cannot find package 'fastify' imported from /app/src/main.js", expectation{id: "module.missing", title: "fastify", detail: "src/main.js", next: "devDependencies"}},
		"missing package, bundler":    {"build", "Module not found: Error: Can't resolve 'left-pad' in '/app/src'", expectation{id: "module.missing", title: "left-pad", next: "npm install left-pad"}},
		"missing package, vite":       {"build", "[vite]: Rollup failed to resolve import \"zod\" from \"/app/src/a.ts\".", expectation{id: "module.missing", title: "zod"}},
		"missing file":                {"start", "Error: Cannot find module './lib/Header'\nRequire stack:\n- /app/index.js", expectation{id: "module.file_missing", title: "“./lib/Header” does not exist", detail: "index.js", next: "capital letters"}},
		"missing file, import":        {"start", "Error [ERR_MODULE_NOT_FOUND]: Cannot find module '/app/lib/x.js' imported from /app/f.mjs", expectation{id: "module.file_missing", title: "“lib/x.js”", detail: "f.mjs"}},
		"missing entry":               {"start", "Error: Cannot find module '/app/server.js'\n    at x {\n  code: 'MODULE_NOT_FOUND',\n  requireStack: []\n}", expectation{id: "start.entry_missing", title: "The file to start, server.js, does not exist.", next: "start command"}},
		"missing entry of a build":    {"start", "Error: Cannot find module '/app/dist/main.js'\n    at x {\n  requireStack: []\n}", expectation{id: "start.entry_missing", title: "dist/main.js", next: "npm run build"}},
		"newer Node.js":               {"start", "Error [ERR_UNKNOWN_BUILTIN_MODULE]: No such built-in module: node:sqlite", expectation{id: "runtime.version", title: "Node.js (18) has no module node:sqlite"}},
		"port taken":                  {"start", "Error: listen EADDRINUSE: address already in use :::3000\n    at Server.setupListenHandle\n  code: 'EADDRINUSE',", expectation{id: "port.in_use", title: ":::3000 is already in use (EADDRINUSE)", next: "second listen()"}},
		"port 80":                     {"start", "Error: listen EACCES: permission denied 0.0.0.0:80", expectation{id: "port.forbidden", title: "may not listen on 0.0.0.0:80", next: "process.env.PORT, which is 3000"}},
		"database on localhost":       {"start", "Error: connect ECONNREFUSED 127.0.0.1:5432\n    at TCPConnectWrap.afterConnect [as oncomplete]", expectation{id: "database.localhost", title: "looks for PostgreSQL on 127.0.0.1:5432, in its own sandbox, instead of at DATABASE_URL", next: "the variable DATABASE_URL"}},
		"database on localhost, IPv6": {"start", "AggregateError [ECONNREFUSED]: \nError: connect ECONNREFUSED ::1:5432", expectation{id: "database.localhost", title: "::1:5432"}},
		"database of Prisma":          {"start", "PrismaClientInitializationError: Can't reach database server at `localhost:5432`", expectation{id: "database.localhost", title: "localhost:5432"}},
		"redis on localhost":          {"start", "Error: connect ECONNREFUSED 127.0.0.1:6379", expectation{id: "database.localhost", title: "Redis on 127.0.0.1:6379, in its own sandbox, instead of at REDIS_URL", next: "the variable REDIS_URL (or REDIS_HOST, REDIS_PORT …)"}},
		"mysql on localhost":          {"start", "Error: connect ECONNREFUSED ::1:3306", expectation{id: "database.localhost", title: "MySQL on ::1:3306", next: "tick MySQL"}},
		"mongodb on localhost":        {"start", "MongooseServerSelectionError: connect ECONNREFUSED 127.0.0.1:27017", expectation{id: "service.localhost", title: "MongoDB on 127.0.0.1:27017", next: "variable"}},
		"container of compose, redis": {"start", "Error: getaddrinfo ENOTFOUND redis\n    at GetAddrInfoReqWrap", expectation{id: "service.unknown_host", title: "host “redis”", next: "REDIS_URL"}},
		"login at MySQL":              {"start", "Error: Access denied for user 'root'@'10.0.0.3' (using password: NO)", expectation{id: "database.login", detail: "root", next: "MYSQL_URL"}},
		"login at Redis":              {"start", "ReplyError: NOAUTH Authentication required.", expectation{id: "database.login", detail: "NOAUTH", next: "REDIS_URL"}},
		"table of MySQL":              {"start", "Error: Table 'app.users' doesn't exist", expectation{id: "database.no_table", title: "no table users yet", next: "migrations"}},
		"container of compose":        {"start", "Error: getaddrinfo ENOTFOUND db\n    at GetAddrInfoReqWrap", expectation{id: "service.unknown_host", title: "host “db”", next: "docker-compose"}},
		"login":                       {"start", `error: password authentication failed for user "postgres"`, expectation{id: "database.login", detail: "postgres", next: "DATABASE_URL"}},
		"syntax":                      {"start", "/app/routes/a.js:12\nconst x = ;\n          ^\n\nSyntaxError: Unexpected token ';'\n    at wrapSafe (node:internal/modules/cjs/loader:1464:18)", expectation{id: "node.syntax", title: "syntax error in routes/a.js:12.", detail: "Unexpected token ';'", next: "newer than 18"}},
		"syntax, bundler":             {"build", "SyntaxError: /app/src/x.js: Unexpected token (3:4)", expectation{id: "node.syntax", detail: "src/x.js: Unexpected token (3:4)"}},
		"JSON that was read":          {"start", "SyntaxError: Unexpected token < in JSON at position 0\n    at JSON.parse (<anonymous>)", expectation{id: "start.exited", detail: "nothing caught: SyntaxError: Unexpected token < in JSON"}},
		"JSON file":                   {"start", "SyntaxError: Error parsing /app/package.json: Expected ',' or '}' after property value in JSON at position 7", expectation{id: "node.json", title: "package.json is not valid JSON"}},
		"import in CommonJS":          {"start", "/app/index.js:1\nimport x from 'x'\n^^^^^^\n\nSyntaxError: Cannot use import statement outside a module", expectation{id: "node.module_kind", title: "in index.js:1", next: `"type": "module"`}},
		"require in a module":         {"start", "file:///app/l.mjs:1\nawait 1; require('x')\n         ^\n\nReferenceError: require is not defined in ES module scope, you can use import instead", expectation{id: "node.module_kind", title: "in l.mjs:1", next: ".cjs"}},
		"require of a module":         {"start", "Error [ERR_REQUIRE_ESM]: require() of ES Module /app/node_modules/chalk/source/index.js from /app/index.js not supported.", expectation{id: "node.module_kind", next: "import()"}},
		"missing variable":            {"start", "/app/pay.js:3\nError: STRIPE_KEY is not set\n    at Object.<anonymous> (/app/pay.js:3:9)\nNode.js v18, no value", expectation{id: "variable.missing", title: "needs the variable STRIPE_KEY", detail: "pay.js:3", next: "Variables page"}},
		"missing database":            {"start", "Error: DATABASE_URL is required", expectation{id: "variable.missing", title: "DATABASE_URL", next: "Tick PostgreSQL"}},
		"another variable":            {"start", "Error: MY_STRIPE_KEY_2 is not set", expectation{id: "start.exited", detail: "MY_STRIPE_KEY_2 is not set"}},
		"colours":                     {"start", "\x1b[31m\x1b[1mError: Cannot find module 'express'\x1b[0m\nRequire stack:\n- /app/index.js", expectation{id: "module.missing", title: "express"}},
	} {
		t.Run(name, func(t *testing.T) {
			ev := Evidence{Step: c.step, Command: "npm run x", ExitCode: 1, Exited: c.step == "start", Lines: strings.Split(c.log, "\n"), Plan: plan(), Offered: offered}
			c.want.check(t, ev)
		})
	}
}

func TestRootIsLeftOutOfPaths(t *testing.T) {
	p := plan()
	p.Root = "server"
	expectation{id: "node.syntax", title: "in a.js:12."}.check(t, Evidence{Step: "start", ExitCode: 1, Exited: true, Plan: p, Lines: []string{"/app/server/a.js:12", "x", "SyntaxError: Unexpected identifier"}})
}

func TestNothingWasInstalled(t *testing.T) {
	p := plan()
	p.Install.Value = ""
	expectation{id: "module.missing", title: "express", next: "no install command"}.check(t, Evidence{Step: "start", ExitCode: 1, Exited: true, Plan: p, Lines: []string{"Error: Cannot find module 'express'", "Require stack:", "- /app/a.js"}})
}
