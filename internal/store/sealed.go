package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// SealedValue is a ciphertext with what it is bound to.
type SealedValue struct {
	Place string   // "variables", "database connections", …
	ID    string   // of its row; together with Owner
	Owner string   // the project's id
	Names []string // what it may be sealed as: one of them
	Value []byte
}

// sealedColumn is a column that holds ciphertexts. These queries are no part of
// db/queries: they are the same question to each column.
type sealedColumn struct {
	place         string // what people call it
	table, column string
	sealed        string // the ciphertext as bytea
	id, names     string // SQL of a row's id and of the names
	replace       string // SQL that sets the column to the ciphertext $1
	row           string // SQL that finds the row by the id $3 and the owner $4
}

var sealedColumns = [...]sealedColumn{
	{place: "variables", table: "variables", column: "value", sealed: "t.value", id: "t.key", names: "ARRAY['variable/' || t.key]",
		replace: "value = $1", row: "t.project_id = $4::uuid AND t.key = $3"},
	{place: "database connections", table: "databases", column: "connection", sealed: "t.connection", id: "t.id::text", names: "ARRAY['database/' || t.id]",
		replace: "connection = $1", row: "t.project_id = $4::uuid AND t.id = $3::uuid"},
	{place: "connections of deployments", table: "deployments", column: "db_connection_info", sealed: "decode(t.db_connection_info ->> 'ciphertext', 'base64')", id: "t.id::text",
		names:   "ARRAY(SELECT 'database/' || d.id FROM databases d WHERE d.project_id = t.project_id)",
		replace: "db_connection_info = jsonb_build_object('ciphertext', translate(encode($1, 'base64'), E'\\n', ''))", row: "t.project_id = $4::uuid AND t.id = $3::uuid"},
	{place: "variables of deployments", table: "deployments", column: "variables", sealed: "t.variables", id: "t.id::text", names: "ARRAY['deployment/' || t.id || '/variables']",
		replace: "variables = $1", row: "t.project_id = $4::uuid AND t.id = $3::uuid"},
	{place: "variables of runs", table: "runs", column: "variables", sealed: "t.variables", id: "t.id::text", names: "ARRAY['run/' || t.id || '/variables']",
		replace: "variables = $1", row: "t.project_id = $4::uuid AND t.id = $3::uuid"},
}

// querier is what a pool and a transaction have in common.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

func (s *Store) db() querier {
	if s.tx != nil {
		return s.tx
	}
	return s.pool
}

// SealedCount is how many ciphertexts of a place begin alike: with their key's id.
type SealedCount struct {
	Place  string
	Header []byte
	Count  int
}

// SealedCounts counts every ciphertext of the database. headerBytes is the length of a header.
func (s *Store) SealedCounts(ctx context.Context, headerBytes int) ([]SealedCount, error) {
	var counts []SealedCount
	for _, c := range sealedColumns {
		rows, err := s.db().Query(ctx, fmt.Sprintf("SELECT substring(%[1]s FROM 1 FOR $1), count(*) FROM %[2]s t WHERE %[1]s IS NOT NULL GROUP BY 1 ORDER BY 1", c.sealed, c.table), headerBytes)
		if err != nil {
			return nil, translate(err, "")
		}
		found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (n SealedCount, err error) {
			n.Place = c.place
			return n, row.Scan(&n.Header, &n.Count)
		})
		if err != nil {
			return nil, translate(err, "")
		}
		counts = append(counts, found...)
	}
	return counts, nil
}

// SealAgain gives up to limit ciphertexts that do not begin with header to again, in
// one transaction, and keeps what it answers in their place; times of the rows stay
// as they are. A value that again has an error for stays as well. Rows that somebody
// is changing are left for another call: it waits for nobody. skip are values that are
// not to be tried. It answers those that were.
func (s *Store) SealAgain(ctx context.Context, header []byte, skip []SealedValue, limit int, again func(SealedValue) ([]byte, error)) (tried []SealedValue, err error) {
	err = s.InTx(ctx, func(s *Store) error {
		if _, err := s.tx.Exec(ctx, "SELECT set_config('coderunner.sealing_again', 'on', true)"); err != nil {
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
				if _, err := s.tx.Exec(ctx, fmt.Sprintf("UPDATE %s t SET %s WHERE %s AND %s = $2", c.table, c.replace, c.row, c.sealed), sealed, v.Value, v.ID, v.Owner); err != nil {
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
	rows, err := s.tx.Query(ctx, fmt.Sprintf(`SELECT %[1]s, t.project_id::text, %[2]s, %[3]s FROM %[4]s t
		WHERE %[3]s IS NOT NULL AND substring(%[3]s FROM 1 FOR %[5]d) <> $1 AND NOT (t.project_id::text || '/' || %[1]s = ANY($2)) LIMIT $3 FOR UPDATE OF t SKIP LOCKED`,
		c.id, c.names, c.sealed, c.table, len(header)), header, known, limit)
	if err != nil {
		return nil, translate(err, "")
	}
	values, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (v SealedValue, err error) {
		v.Place = c.place
		return v, row.Scan(&v.ID, &v.Owner, &v.Names, &v.Value)
	})
	return values, translate(err, "")
}

// HasSealed reports whether the database has any ciphertext.
func (s *Store) HasSealed(ctx context.Context) (bool, error) {
	counts, err := s.SealedCounts(ctx, 1)
	return len(counts) > 0, err
}
