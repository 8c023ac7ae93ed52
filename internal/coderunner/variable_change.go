package coderunner

import (
	"slices"
	"strings"
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
	was, is := byKey(before), byKey(after)
	var changes VariableChanges
	for key, v := range is {
		old, existed := was[key]
		change := VariableChange{Key: key, Kind: VariableChanged, After: v.Scope.named()}
		if existed {
			change.Before = old.Scope.named()
		} else {
			change.Kind = VariableAdded
		}
		change.Build = differs(old, existed, v, true, BuildScope)
		change.Run = differs(old, existed, v, true, RunScope)
		if change.Build || change.Run {
			changes = append(changes, change)
		}
	}
	for key, old := range was {
		if _, exists := is[key]; !exists {
			changes = append(changes, VariableChange{Key: key, Kind: VariableRemoved, Before: old.Scope.named(), Build: old.Scope.covers(BuildScope), Run: old.Scope.covers(RunScope)})
		}
	}
	slices.SortFunc(changes, func(a, b VariableChange) int { return strings.Compare(a.Key, b.Key) })
	return changes
}

func byKey(vs Variables) map[string]Variable {
	m := make(map[string]Variable, len(vs))
	for _, v := range vs {
		m[v.Key] = v
	}
	return m
}

// differs reports whether commands of a phase see another value, or one where
// there was none.
func differs(a Variable, hasA bool, b Variable, hasB bool, phase VariableScope) bool {
	hasA, hasB = hasA && a.Scope.covers(phase), hasB && b.Scope.covers(phase)
	return hasA != hasB || hasA && a.Value != b.Value
}

func (s VariableScope) named() VariableScope {
	if s == "" {
		return BothScopes
	}
	return s
}
