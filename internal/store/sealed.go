package store

import (
	"context"

	"github.com/coderunner/coderunner/internal/store/sqlc"
)

// SealedValue is a ciphertext with what it is bound to.
type SealedValue struct {
	Place string   // "variables", "database connections", …
	ID    string   // of its row; together with Owner
	Owner string   // the project's id
	Names []string // what it may be sealed as: one of them
	Value []byte
}

// sealedColumn is a column that holds ciphertexts: the queries that find those with
// another header, and that put another in the place of one.
type sealedColumn struct {
	place   string // as SealedCounts calls it
	find    func(q *sqlc.Queries, ctx context.Context, header []byte, known []string, batch int32) ([]sealedRow, error)
	replace func(q *sqlc.Queries, ctx context.Context, change replacement) error
}

// sealedRow and replacement are what the queries of every column answer and take.
type (
	sealedRow   sqlc.SealedVariablesRow
	replacement sqlc.ReplaceSealedVariableParams
)

var sealedColumns = [...]sealedColumn{
	{"variables", finder((*sqlc.Queries).SealedVariables), replacer((*sqlc.Queries).ReplaceSealedVariable)},
	{"database connections", finder((*sqlc.Queries).SealedDatabases), replacer((*sqlc.Queries).ReplaceSealedDatabase)},
	{"connections of deployments", finder((*sqlc.Queries).SealedDeploymentConnections), replacer((*sqlc.Queries).ReplaceSealedDeploymentConnection)},
	{"variables of deployments", finder((*sqlc.Queries).SealedDeploymentVariables), replacer((*sqlc.Queries).ReplaceSealedDeploymentVariables)},
	{"variables of runs", finder((*sqlc.Queries).SealedRunVariables), replacer((*sqlc.Queries).ReplaceSealedRunVariables)},
	{"secrets of backends", finder((*sqlc.Queries).SealedBackends), replacer((*sqlc.Queries).ReplaceSealedBackend)},
}

func finder[R ~struct {
	ID, ProjectID string
	Names         []string
	Sealed        []byte
}](query func(*sqlc.Queries, context.Context, []byte, []string, int32) ([]R, error)) func(*sqlc.Queries, context.Context, []byte, []string, int32) ([]sealedRow, error) {
	return func(q *sqlc.Queries, ctx context.Context, header []byte, known []string, batch int32) ([]sealedRow, error) {
		rows, err := query(q, ctx, header, known, batch)
		return each(rows, func(r R) sealedRow { return sealedRow(r) }), err
	}
}

func replacer[P ~struct {
	Sealed        []byte
	ProjectID, ID string
	Former        []byte
}](query func(*sqlc.Queries, context.Context, P) error) func(*sqlc.Queries, context.Context, replacement) error {
	return func(q *sqlc.Queries, ctx context.Context, change replacement) error { return query(q, ctx, P(change)) }
}

// SealedCount is how many ciphertexts of a place begin alike: with their key's id.
type SealedCount struct {
	Place  string
	Header []byte
	Count  int
}

// SealedCounts counts every ciphertext of the database. headerBytes is the length of a header.
func (s *Store) SealedCounts(ctx context.Context, headerBytes int) ([]SealedCount, error) {
	rows, err := s.q.SealedCounts(ctx, int32(headerBytes))
	return each(rows, func(r sqlc.SealedCountsRow) SealedCount {
		return SealedCount{Place: r.Place, Header: r.Header, Count: int(r.Count)}
	}), translate(err, "")
}

// SealAgain gives up to limit ciphertexts that do not begin with header to again, in
// one transaction, and keeps what it answers in their place; times of the rows stay
// as they are. A value that again has an error for stays as well. Rows that somebody
// is changing are left for another call: it waits for nobody. skip are values that are
// not to be tried. It answers those that were.
func (s *Store) SealAgain(ctx context.Context, header []byte, skip []SealedValue, limit int, again func(SealedValue) ([]byte, error)) (tried []SealedValue, err error) {
	err = s.InTx(ctx, func(s *Store) error {
		if err := s.q.BeginSealingAgain(ctx); err != nil {
			return translate(err, "")
		}
		for _, c := range sealedColumns {
			values, err := s.sealedWithout(ctx, c, header, skip, limit-len(tried))
			if err != nil {
				return err
			}
			for _, v := range values {
				tried = append(tried, v)
				sealed, err := again(v)
				if err != nil {
					continue
				}
				if err := c.replace(s.q, ctx, replacement{Sealed: sealed, ProjectID: v.Owner, ID: v.ID, Former: v.Value}); err != nil {
					return translate(err, "")
				}
			}
		}
		return nil
	})
	return tried, err
}

func (s *Store) sealedWithout(ctx context.Context, c sealedColumn, header []byte, skip []SealedValue, limit int) ([]SealedValue, error) {
	if limit <= 0 {
		return nil, nil
	}
	known := []string{}
	for _, v := range skip {
		if v.Place == c.place {
			known = append(known, v.Owner+"/"+v.ID)
		}
	}
	rows, err := c.find(s.q, ctx, header, known, int32(limit))
	return each(rows, func(r sealedRow) SealedValue {
		return SealedValue{Place: c.place, ID: r.ID, Owner: r.ProjectID, Names: r.Names, Value: r.Sealed}
	}), translate(err, "")
}

// HasSealed reports whether the database has any ciphertext.
func (s *Store) HasSealed(ctx context.Context) (bool, error) {
	counts, err := s.SealedCounts(ctx, 1)
	return len(counts) > 0, err
}
