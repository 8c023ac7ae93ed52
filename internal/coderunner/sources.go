package coderunner

import (
	"encoding/base64"
	"maps"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// Sources is where packages come from, and the way there. A value is "" for what the tools
// do by themselves. Addresses may have a user and a password: Environment gives those to
// sandboxes, nothing else shows them.
type Sources struct {
	NPMRegistry string // the root of a registry of npm packages
	PythonIndex string // of PyPI's kind, with its path: https://pypi.org/simple
	AptMirror   string // of Debian's main archive; the security archive is beside it, named with -security
	GoProxy     string // as GOPROXY is written: addresses, direct, off
	HTTPProxy   string // for requests to http addresses
	HTTPSProxy  string // likewise https
	NoProxy     string // hosts, domains and networks that are reached without a proxy, with commas between
}

// Source is one of Sources as it may be shown.
type Source struct {
	Name    string // in words: "npm registry"
	Address string // without user and password
}

type sourceSetting struct {
	flag, name, value, example string
}

func (s Sources) settings() []sourceSetting {
	return []sourceSetting{
		{"--npm-registry", "npm registry", s.NPMRegistry, "https://npm.example.com"},
		{"--python-index", "Python index", s.PythonIndex, "https://pypi.example.com/simple"},
		{"--apt-mirror", "Debian mirror", s.AptMirror, "http://mirror.example.com/debian"},
		{"--go-proxy", "Go proxy", s.GoProxy, "https://go.example.com,direct"},
		{"--http-proxy", "Proxy for http", s.HTTPProxy, "http://proxy.example.com:3128"},
		{"--https-proxy", "Proxy for https", s.HTTPSProxy, "http://proxy.example.com:3128"},
		{"--no-proxy", "Without a proxy", s.NoProxy, "example.com,10.0.0.0/8"},
	}
}

// Checked answers the sources in one form, addresses without a slash at the end. It is
// Invalid for what can never work, with the flag that gave it.
func (s Sources) Checked() (Sources, error) {
	for _, value := range []*string{&s.NPMRegistry, &s.PythonIndex, &s.AptMirror, &s.GoProxy, &s.HTTPProxy, &s.HTTPSProxy, &s.NoProxy} {
		*value = strings.TrimRight(strings.TrimSpace(*value), "/")
	}
	for _, setting := range s.settings() {
		for _, address := range addressesOf(setting) {
			if trouble := addressTrouble(address); trouble != "" {
				return s, Errorf(Invalid, "%s cannot be used: %s. Write it like %s.", setting.flag, trouble, setting.example)
			}
		}
	}
	for _, host := range strings.Split(s.NoProxy, ",") {
		if strings.ContainsAny(host, "/@") && !isNetwork(host) || !isPlain(strings.TrimSpace(host)) {
			return s, Errorf(Invalid, "--no-proxy cannot be used: each part of it is a host, a domain or a network. Write it like example.com,10.0.0.0/8.")
		}
	}
	return s, nil
}

func isNetwork(text string) bool {
	_, err := netip.ParsePrefix(strings.TrimSpace(text))
	return err == nil
}

// addressesOf are the setting's URLs: several or none of --go-proxy.
func addressesOf(setting sourceSetting) []string {
	switch {
	case setting.value == "" || setting.flag == "--no-proxy":
		return nil
	case setting.flag == "--go-proxy":
		words := strings.FieldsFunc(setting.value, func(c rune) bool { return c == ',' || c == '|' })
		return slices.DeleteFunc(words, func(word string) bool { return word == "direct" || word == "off" })
	}
	return []string{setting.value}
}

// isPlain reports whether text goes into files and environments as it is.
func isPlain(text string) bool {
	return strings.IndexFunc(text, func(c rune) bool { return c <= ' ' || c > '~' || strings.ContainsRune("\"'`\\<>{}", c) }) < 0
}

// addressTrouble is why an address cannot be used, "" if it can. What has credentials is not repeated.
func addressTrouble(address string) string {
	u, err := url.Parse(address)
	if err != nil || !isPlain(address) || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return "it is not an address that begins with http:// or https:// and names a host; special characters of a password are written as %XX"
	}
	if u.RawQuery != "" || u.Fragment != "" {
		return "the address of " + u.Hostname() + " has more than a path"
	}
	host := strings.ToLower(u.Hostname())
	ip, err := netip.ParseAddr(host)
	if host == "localhost" || strings.HasSuffix(host, ".localhost") || err == nil && (ip.IsLoopback() || ip.IsUnspecified() || ip.IsLinkLocalUnicast()) {
		return host + " is another machine for each sandbox, its own; give an address that sandboxes reach, which are those of other machines"
	}
	return ""
}

// Shown lists what is set, for people.
func (s Sources) Shown() (shown []Source) {
	for _, setting := range s.settings() {
		if setting.value != "" {
			shown = append(shown, Source{Name: setting.name, Address: s.Hide(setting.value)})
		}
	}
	return shown
}

// Environment is what the tools in a sandbox read, for all that is set. Local are the networks
// that no proxy is asked for, beside those of NoProxy and the sandbox itself.
func (s Sources) Environment(local ...string) map[string]string {
	env := map[string]string{}
	set := func(value string, names ...string) {
		for _, name := range names {
			if value != "" {
				env[name] = value
			}
		}
	}
	registry, user := apart(s.NPMRegistry)
	set(registry, "npm_config_registry", "YARN_NPM_REGISTRY_SERVER")
	set(unencrypted(s.NPMRegistry, (*url.URL).Hostname), "YARN_UNSAFE_HTTP_WHITELIST")
	if user != "" { // npm sends what an address has to that address only, and not to where its archives are
		set(npmrcPath, "npm_config_userconfig")
		set(s.NPMRegistry, "BUN_CONFIG_REGISTRY")
		set(user, "YARN_NPM_AUTH_IDENT")
		set("true", "YARN_NPM_ALWAYS_AUTH")
	}
	set(s.PythonIndex, "PIP_INDEX_URL", "UV_DEFAULT_INDEX")
	set(unencrypted(s.PythonIndex, func(u *url.URL) string { return u.Host }), "PIP_TRUSTED_HOST")
	set(s.GoProxy, "GOPROXY")
	set(s.HTTPProxy, "HTTP_PROXY", "http_proxy")
	set(s.HTTPSProxy, "HTTPS_PROXY", "https_proxy")
	if s.HTTPProxy != "" || s.HTTPSProxy != "" {
		set(strings.Join(slices.DeleteFunc(append([]string{s.NoProxy, "localhost", "127.0.0.1", "::1"}, local...), func(host string) bool { return host == "" }), ","), "NO_PROXY", "no_proxy")
	}
	return env
}

// npmrcPath is where sandboxes find the credentials of the npm registry.
const npmrcPath = "/etc/coderunner/npmrc"

// Files are what the tools in a sandbox read beside Environment, by path. They have credentials.
func (s Sources) Files() map[string]string {
	registry, user := apart(s.NPMRegistry)
	if user == "" {
		return nil
	}
	_, place, _ := strings.Cut(registry, ":")
	return map[string]string{npmrcPath: "registry=" + registry + "/\nalways-auth=true\n" + place + "/:_auth=" + base64.StdEncoding.EncodeToString([]byte(user)) + "\n"}
}

// apart answers an address without credentials, and those: "user:password", "" for none.
func apart(address string) (without, user string) {
	u, err := url.Parse(address)
	if err != nil || u.User == nil {
		return address, ""
	}
	password, _ := u.User.Password()
	user = u.User.Username() + ":" + password
	u.User = nil
	return u.String(), user
}

// unencrypted answers a part of an address that begins with http, which tools want to
// have named before they use it; "" of any other.
func unencrypted(address string, part func(*url.URL) string) string {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" {
		return ""
	}
	return part(u)
}

// Secrets are the credentials in the addresses, as they are and as URLs write them.
func (s Sources) Secrets() []string {
	secrets := map[string]bool{}
	for _, setting := range s.settings() {
		for _, address := range addressesOf(setting) {
			u, err := url.Parse(address)
			if err != nil || u.User == nil {
				continue
			}
			secret, has := u.User.Password()
			if !has {
				secret = u.User.Username() // a token
			}
			written := u.User.String()
			secrets[secret], secrets[written[strings.IndexByte(written, ':')+1:]] = true, true
		}
	}
	delete(secrets, "")
	return slices.Sorted(maps.Keys(secrets))
}

// Hide takes the credentials out of a text that may name the sources.
func (s Sources) Hide(text string) string {
	for _, setting := range s.settings() {
		for _, address := range addressesOf(setting) {
			_, rest, _ := strings.Cut(address, "://")
			authority, _, _ := strings.Cut(rest, "/")
			if at := strings.LastIndexByte(authority, '@'); at >= 0 {
				text = strings.ReplaceAll(text, authority[:at+1], "")
			}
		}
	}
	for _, secret := range s.Secrets() {
		text = strings.ReplaceAll(text, secret, "••••••")
	}
	return text
}
