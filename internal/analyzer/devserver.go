package analyzer

import (
	"path"
	"slices"
	"strings"
)

// devServer is what a start script does that belongs on a developer's machine.
type devServer struct {
	tool      string // "nodemon"
	command   string // what runs the app instead, "" if that is not known
	build     string // what has to be built first, unless scripts.build does it
	staticDir string // the built site, for tools that leave nothing to run but files
	oneFile   bool   // every unknown path of the site is answered by its index.html
}

// findDevServer recognises a development server in a script. main is the program
// that nodemon would run when it is not told one.
func findDevServer(script, main string) (devServer, bool) {
	parts := chain(script)
	last := parts[len(parts)-1]
	if strings.ContainsAny(last, ";|&") {
		return devServer{}, false
	}
	words := strings.Fields(last)
	skip := 0
	for skip < len(words) && isPrefixWord(words[skip]) {
		skip++
	}
	if skip == len(words) {
		return devServer{}, false
	}
	dev, ok := recognise(path.Base(words[skip]), words[skip+1:], main)
	if !ok {
		return devServer{}, false
	}
	if strings.ContainsAny(last, "\"'`\\$()") {
		dev.command = "" // taken apart it might mean something else
	}
	if dev.command != "" {
		prefix := slices.DeleteFunc(slices.Clone(words[:skip]), func(w string) bool { return w == "npx" || w == "--yes" || w == "-y" })
		parts[len(parts)-1] = strings.Join(append(prefix, dev.command), " ")
		dev.command = strings.Join(parts, " && ")
	}
	return dev, true
}

// isPrefixWord reports whether a word stands before the program's name.
func isPrefixWord(word string) bool {
	switch word {
	case "npx", "--yes", "-y", "cross-env", "cross-env-shell", "env", "exec":
		return true
	}
	name, _, ok := strings.Cut(word, "=")
	return ok && name != "" && strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") == ""
}

func recognise(tool string, args []string, main string) (devServer, bool) {
	first := ""
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		first = args[0]
	}
	built := func(dir, build string, oneFile bool) (devServer, bool) {
		return devServer{tool: strings.TrimSpace(tool + " " + first), build: build, staticDir: dir, oneFile: oneFile}, true
	}
	switch tool {
	case "nodemon":
		return devServer{tool: tool, command: withoutNodemon(args, main)}, true
	case "node-dev", "supervisor":
		if first != "" {
			return devServer{tool: tool, command: "node " + strings.Join(args, " ")}, true
		}
		return devServer{tool: tool}, true
	case "node":
		kept := slices.DeleteFunc(slices.Clone(args), func(arg string) bool {
			return arg == "--watch" || strings.HasPrefix(arg, "--watch-path=") || arg == "--watch-preserve-output"
		})
		if len(kept) == len(args) || slices.Contains(kept, "--watch-path") {
			return devServer{}, false
		}
		return devServer{tool: "node --watch", command: "node " + strings.Join(kept, " ")}, true
	case "tsx":
		if first == "watch" && len(args) > 1 {
			return devServer{tool: "tsx watch", command: "tsx " + strings.Join(args[1:], " ")}, true
		}
		return devServer{}, false
	case "ts-node-dev", "tsnd":
		return devServer{tool: tool}, true
	case "next":
		if first == "" || first == "dev" {
			return devServer{tool: "next dev", command: "next start", build: "next build"}, true
		}
	case "nuxt", "nuxi":
		if first == "" || first == "dev" {
			return devServer{tool: tool + " dev", command: "node .output/server/index.mjs", build: tool + " build"}, true
		}
	case "nest":
		if first == "start" {
			return devServer{tool: "nest start", command: "node dist/main", build: "nest build"}, true
		}
	case "vite":
		if first == "" || first == "dev" || first == "serve" || first == "preview" {
			return built("dist", "vite build", true)
		}
	case "react-scripts":
		if first == "start" {
			return built("build", "react-scripts build", true)
		}
	case "vue-cli-service":
		if first == "serve" {
			return built("dist", "vue-cli-service build", true)
		}
	case "astro":
		if first == "" || first == "dev" || first == "preview" {
			return built("dist", "astro build", false)
		}
	case "gatsby":
		if first == "develop" || first == "serve" {
			return built("public", "gatsby build", false)
		}
	case "docusaurus":
		if first == "start" || first == "serve" {
			return built("build", "docusaurus build", false)
		}
	case "vitepress":
		if first == "" || first == "dev" || first == "preview" {
			return devServer{tool: strings.TrimSpace(tool + " " + first)}, true
		}
	case "eleventy":
		if slices.Contains(args, "--serve") || slices.Contains(args, "--watch") {
			return built("_site", "eleventy", false)
		}
	case "strapi":
		if first == "develop" || first == "dev" {
			return devServer{tool: tool + " " + first, command: "strapi start", build: "strapi build"}, true
		}
	case "turbo", "vinxi":
		if first == "dev" || first == "run" && slices.Contains(args, "dev") {
			return devServer{tool: tool + " dev"}, true
		}
	case "webpack-dev-server":
		return devServer{tool: tool}, true
	case "webpack", "ng":
		if first == "serve" || first == "s" {
			return devServer{tool: tool + " serve"}, true
		}
	case "expo", "remix", "react-router":
		if first == "start" && tool == "expo" || first == "dev" {
			return devServer{tool: tool + " " + first}, true
		}
	case "parcel":
		if first != "build" && first != "watch" {
			return devServer{tool: tool}, true
		}
	}
	return devServer{}, false
}

// withoutNodemon is what nodemon with these arguments would run, or "" if that is unclear.
func withoutNodemon(args []string, main string) string {
	for i := 0; i < len(args); i++ {
		switch arg := args[i]; {
		case arg == "-w" || arg == "--watch" || arg == "-e" || arg == "--ext" || arg == "-i" || arg == "--ignore" ||
			arg == "-d" || arg == "--delay" || arg == "-s" || arg == "--signal" || arg == "--config":
			i++
		case arg == "-x" || arg == "--exec":
			return ""
		case arg == "--inspect" || arg == "--trace-warnings" || !strings.HasPrefix(arg, "-"):
			if strings.HasPrefix(arg, "-") {
				continue
			}
			if ext := path.Ext(arg); ext == ".ts" || ext == ".tsx" {
				return ""
			}
			return "node " + strings.Join(args[i:], " ")
		}
	}
	if main == "" {
		return ""
	}
	return "node " + shellQuote(main)
}
