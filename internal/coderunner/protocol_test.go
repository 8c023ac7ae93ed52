package coderunner_test

import (
	"maps"
	"net/url"
	"slices"
	"testing"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// TestConnectionHasTheKeysThatAreTold, in every project that has such a database.
func TestConnectionHasTheKeysThatAreTold(t *testing.T) {
	t.Parallel()
	for _, p := range coderunner.Protocols() {
		c := p.Connection(p.DatabaseName(), "a/b", p.Port())
		c.Host = "10.0.0.2"
		for _, beside := range [][]coderunner.Protocol{{p}, {p, coderunner.PostgreSQL}, coderunner.Protocols()} {
			env := p.Environment(c, beside...)
			if got, want := slices.Sorted(maps.Keys(env)), slices.Sorted(slices.Values(p.Keys(beside...))); !slices.Equal(got, want) {
				t.Errorf("%s beside %v: set are %v, told %v", p, beside, got, want)
			}
			if u, err := url.Parse(env[p.URLKey()]); err != nil || u.Hostname() != c.Host || u.User.Username() != c.User || env[p.PasswordKey()] != "a/b" {
				t.Errorf("%s: %s is %q (%v), and %s %q", p, p.URLKey(), env[p.URLKey()], err, p.PasswordKey(), env[p.PasswordKey()])
			}
		}
	}
}

func TestAddressesOfDatabases(t *testing.T) {
	t.Parallel()
	const postgres, mysql, redis = "postgres://app:a%2Fb@10.0.0.2:5432/app", "mysql://app:a%2Fb@10.0.0.2:3306/app", "redis://default:a%2Fb@10.0.0.2:6379"
	for _, test := range []struct {
		has  []coderunner.Protocol
		want map[string]string
	}{
		{[]coderunner.Protocol{coderunner.PostgreSQL}, map[string]string{"DATABASE_URL": postgres}},
		{[]coderunner.Protocol{coderunner.MySQL}, map[string]string{"DATABASE_URL": mysql, "MYSQL_URL": mysql}},
		{[]coderunner.Protocol{coderunner.Redis}, map[string]string{"REDIS_URL": redis}},
		{[]coderunner.Protocol{coderunner.Redis, coderunner.MySQL}, map[string]string{"DATABASE_URL": mysql, "MYSQL_URL": mysql, "REDIS_URL": redis}},
		{[]coderunner.Protocol{coderunner.MySQL, coderunner.Redis, coderunner.PostgreSQL}, map[string]string{"DATABASE_URL": postgres, "MYSQL_URL": mysql, "REDIS_URL": redis}},
	} {
		got := map[string]string{}
		for _, p := range test.has {
			c := p.Connection(p.DatabaseName(), "a/b", p.Port())
			c.Host = "10.0.0.2"
			for key, value := range p.Environment(c, test.has...) {
				if _, twice := got[key]; twice {
					t.Errorf("%v: %s is set by two", test.has, key)
				}
				got[key] = value
			}
		}
		if keys := coderunner.DatabaseKeys(test.has...); !slices.Equal(slices.Sorted(slices.Values(keys)), slices.Sorted(maps.Keys(got))) {
			t.Errorf("%v: set are %v, told %v", test.has, got, keys)
		}
		maps.DeleteFunc(got, func(key, _ string) bool { return len(key) < 4 || key[len(key)-4:] != "_URL" })
		if !maps.Equal(got, test.want) {
			t.Errorf("%v: the addresses are %v, want %v", test.has, got, test.want)
		}
		for _, key := range coderunner.URLKeys(test.has...) {
			if got[key] == "" {
				t.Errorf("%v: nobody sets %s", test.has, key)
			}
		}
	}
}

func TestProtocolOfAnAppliance(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]coderunner.Protocol{"postgres-15": coderunner.PostgreSQL, "postgres-9": coderunner.PostgreSQL, "mysql": coderunner.MySQL, "mariadb-11": coderunner.MySQL, "redis-7": coderunner.Redis, "nodejs-18": "", "": ""} {
		if got := coderunner.ProtocolOf(name); got != want {
			t.Errorf("%s speaks %q, want %q", name, got, want)
		}
	}
	if got := coderunner.Protocol("").Environment(coderunner.Connection{Password: "x"}); len(got) > 0 {
		t.Errorf("a database of an unknown kind gives %v", got)
	}
}
