package coderunner

import (
	"maps"
	"slices"
)

// VariableChangeKind is what happened to a variable.
type VariableChangeKind string

const (
	VariableAdded   VariableChangeKind = "added"
	VariableRemoved VariableChangeKind = "removed"
	VariableChanged VariableChangeKind = "changed"
)

// VariableChange is one difference between two lists of variables. It has no value.
type VariableChange struct {
	Key    string
	Kind   VariableChangeKind
	Before VariableScope // "" when it was added
	After  VariableScope // "" when it was removed
	Build  bool          // build commands would see the difference, so that only a redeploy applies it
	Run    bool          // the app would see it
}

// VariableChanges are by key.
type VariableChanges []VariableChange

// Rebuild reports whether a restart is not enough to apply them.
func (c VariableChanges) Rebuild() bool {
	return slices.ContainsFunc(c, func(c VariableChange) bool { return c.Build })
}

// Restart reports whether a restart gives the app what it has not yet.
func (c VariableChanges) Restart() bool {
	return slices.ContainsFunc(c, func(c VariableChange) bool { return c.Run })
}

// Of answers the change of one variable; ok is false if it has none.
func (c VariableChanges) Of(key string) (change VariableChange, ok bool) {
	i := slices.IndexFunc(c, func(c VariableChange) bool { return c.Key == key })
	if i < 0 {
		return change, false
	}
	return c[i], true
}

// CompareVariables tells in what after differs from before, as far as any command
// would notice: times, and whether a value is a secret, do not count.
func CompareVariables(before, after Variables) VariableChanges {
	was, is := before.given(), after.given()
	var changes VariableChanges
	for _, key := range slices.Sorted(maps.Keys(merged(was, is))) {
		old, now := was[key], is[key]
		change := VariableChange{Key: key, Kind: VariableChanged, Before: old.scope(), After: now.scope()}
		change.Build, change.Run = !same(old.build, now.build), !same(old.run, now.run)
		switch {
		case change.Before == "":
			change.Kind = VariableAdded
		case change.After == "":
			change.Kind = VariableRemoved
		}
		if change.Build || change.Run {
			changes = append(changes, change)
		}
	}
	return changes
}

// Restarted is what a version has that was built with vs and started again with
// saved. A key whose values differ for the two is in it twice, once for each scope.
func (vs Variables) Restarted(saved Variables) Variables {
	built, started := vs.given(), saved.given()
	var list Variables
	for _, key := range slices.Sorted(maps.Keys(merged(built, started))) {
		build, run := built[key].build, started[key].run
		if build != nil && run != nil && build.Value == run.Value && build.Secret == run.Secret {
			list = append(list, run.forScope(BothScopes))
			continue
		}
		if build != nil {
			list = append(list, build.forScope(BuildScope))
		}
		if run != nil {
			list = append(list, run.forScope(RunScope))
		}
	}
	return list
}

func (v Variable) forScope(scope VariableScope) Variable {
	v.Scope = scope
	return v
}

// given is what of a key the commands of each phase are given; nil for nothing.
type given struct{ build, run *Variable }

func (vs Variables) given() map[string]given {
	all := make(map[string]given, len(vs))
	for i, v := range vs {
		g := all[v.Key]
		if v.Scope.covers(BuildScope) {
			g.build = &vs[i]
		}
		if v.Scope.covers(RunScope) {
			g.run = &vs[i]
		}
		all[v.Key] = g
	}
	return all
}

func merged(a, b map[string]given) map[string]given {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

func (g given) scope() VariableScope {
	switch {
	case g.build != nil && g.run != nil:
		return BothScopes
	case g.build != nil:
		return BuildScope
	case g.run != nil:
		return RunScope
	}
	return ""
}

// same reports whether a command sees no difference.
func same(a, b *Variable) bool {
	return a == nil && b == nil || a != nil && b != nil && a.Value == b.Value
}
