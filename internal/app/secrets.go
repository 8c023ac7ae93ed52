package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/secret"
	"github.com/coderunner/coderunner/internal/store"
)

// RotateSecrets makes a new key and seals everything anew with it, also while a
// server works with the same data directory. Killed halfway, it goes on where it was
// when it is run again. Former keys stay until PruneSecrets. What it does goes to out.
func RotateSecrets(ctx context.Context, config Config, out io.Writer) error {
	return withSecrets(ctx, config, func(st *store.Store, keys *secret.KeyRing) error { return rotate(ctx, st, keys, out) })
}

// PruneSecrets removes the keys that nothing in the database is sealed with.
func PruneSecrets(ctx context.Context, config Config, out io.Writer) error {
	return withSecrets(ctx, config, func(st *store.Store, keys *secret.KeyRing) error { return prune(ctx, st, keys, out, time.Now()) })
}

// SecretsStatus writes which keys there are, how old they are and what each has sealed.
func SecretsStatus(ctx context.Context, config Config, out io.Writer) error {
	return withSecrets(ctx, config, func(st *store.Store, keys *secret.KeyRing) error { return status(ctx, st, keys, out, time.Now()) })
}

// withSecrets opens the database and the key ring of a data directory. A server that
// runs goes on; one that starts meanwhile is told that the directory is taken.
func withSecrets(ctx context.Context, config Config, do func(*store.Store, *secret.KeyRing) error) error {
	if err := config.check(); err != nil {
		return err
	}
	keys, err := secret.Read(keyRingFile(config.DataDir))
	if errors.Is(err, fs.ErrNotExist) {
		return coderunner.Wrap(err, coderunner.NotFound, "There is no key ring in %s. Name the server's data directory with --data-dir; the ring is made when the server first starts.", config.DataDir)
	}
	if err != nil {
		return err
	}
	return withDatabase(ctx, config, func(st *store.Store) error { return do(st, keys) })
}

// withDatabase opens the database of a data directory, likewise.
func withDatabase(ctx context.Context, config Config, do func(*store.Store) error) error {
	a := &App{config: config, log: slog.New(slog.DiscardHandler)}
	defer a.release()
	err := a.takeDataDir()
	if beside := coderunner.KindOf(err) == coderunner.Conflict; err != nil && !beside {
		return err
	} else if beside { // the server's database stays when we end, as it is
		a.beside = true
	}
	if err := a.sameDatabase(); err != nil {
		return err
	}
	st, err := a.openDatabase(ctx)
	if err != nil {
		return err
	}
	a.store = st
	return do(st)
}

// batch is how many values one transaction seals anew.
const batch = 100

// patience is how long a value that somebody is changing is waited for.
const patience = 30 * time.Second

func rotate(ctx context.Context, st *store.Store, keys *secret.KeyRing, out io.Writer) error {
	list, err := keys.Keys()
	if err != nil {
		return err
	}
	behind, err := behindPrimary(ctx, st, list)
	if err != nil {
		return err
	}
	if behind > 0 && len(list) > 1 {
		fmt.Fprintf(out, "Going on with the rotation to key %s: %s sealed with a former key.\n", primary(list).ID, are(behind))
	} else {
		key, err := keys.Rotate()
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "Key %s is made; what is saved from now on is sealed with it.\n", key.ID)
	}
	return sealAgain(ctx, st, keys, out)
}

// sealAgain seals with the newest key what is not.
func sealAgain(ctx context.Context, st *store.Store, keys *secret.KeyRing, out io.Writer) error {
	list, err := keys.Keys()
	if err != nil {
		return err
	}
	var failed []store.SealedValue
	done, waited := 0, time.Now()
	again := func(v store.SealedValue) ([]byte, error) {
		sealed, err := reseal(keys, v)
		if err != nil {
			fmt.Fprintf(out, "  ✗ %s: %s of project %s cannot be decrypted and stays as it is.\n", v.Place, v.ID, v.Owner)
			failed = append(failed, v)
			return nil, err
		}
		done++
		return sealed, nil
	}
	for {
		tried, err := st.SealAgain(ctx, secret.Header(primary(list).ID), failed, batch, again)
		if err != nil {
			return err
		}
		if len(tried) > 0 {
			waited = time.Now()
			continue
		}
		behind, err := behindPrimary(ctx, st, list)
		if err != nil {
			return err
		}
		if behind <= len(failed) {
			break
		}
		if time.Since(waited) > patience {
			return coderunner.Errorf(coderunner.Unavailable, "%s being changed by somebody and could not be sealed anew within %s. Run this again.", are(behind-len(failed)), patience)
		}
		select { // somebody is changing the rest
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	fmt.Fprintf(out, "%s sealed anew.\n", are(done))
	if len(failed) > 0 {
		return coderunner.Errorf(coderunner.Unavailable, "%d values could not be decrypted. Put back the key ring that they were sealed with, or set them anew. All keys are kept.", len(failed))
	}
	fmt.Fprintln(out, "Back the key ring up now. The former keys open older backups of the database: keep a copy before you remove them with coderunner secrets prune.")
	return nil
}

// reseal opens a value under the name that it was sealed as, and seals it under the same.
func reseal(keys *secret.KeyRing, v store.SealedValue) ([]byte, error) {
	err := secret.ErrCannotOpen
	for _, name := range v.Names {
		var plain []byte
		if plain, err = keys.Open(v.Owner, name, v.Value); err == nil {
			return keys.Seal(v.Owner, name, plain)
		}
	}
	return nil, err
}

func prune(ctx context.Context, st *store.Store, keys *secret.KeyRing, out io.Writer, now time.Time) error {
	uses, err := usesOf(ctx, st)
	if err != nil {
		return err
	}
	used := map[secret.KeyID]bool{}
	for _, u := range uses {
		used[u.key] = true
	}
	gone, err := keys.Prune(used, now)
	if err != nil {
		return err
	}
	for _, key := range gone {
		fmt.Fprintf(out, "Key %s of %s is removed.\n", key.ID, key.MadeAt.Format(time.DateOnly))
	}
	if len(gone) == 0 {
		fmt.Fprintln(out, "Every key but the newest has sealed something that is still there, or there is one only. Nothing was removed.")
	}
	return nil
}

func status(ctx context.Context, st *store.Store, keys *secret.KeyRing, out io.Writer, now time.Time) error {
	list, err := keys.Keys()
	if err != nil {
		return err
	}
	uses, err := usesOf(ctx, st)
	if err != nil {
		return err
	}
	has := map[secret.KeyID]bool{}
	for _, key := range list {
		has[key.ID] = true
		word := "former"
		if key.Primary {
			word = "newest; seals what is saved now"
		}
		fmt.Fprintf(out, "  %s  made %s (%s)  %s\n", key.ID, key.MadeAt.UTC().Format(time.DateTime), age(now.Sub(key.MadeAt)), word)
		found := false
		for _, u := range uses {
			if u.key == key.ID {
				found = true
				fmt.Fprintf(out, "            %s: %d\n", u.place, u.count)
			}
		}
		if !found && !key.Primary {
			fmt.Fprintln(out, "            seals nothing any more; coderunner secrets prune removes it")
		}
	}
	lost := 0
	for _, u := range uses {
		if !has[u.key] {
			lost += u.count
			fmt.Fprintf(out, "  %s  NOT IN THE KEY RING  %s: %d\n", u.key, u.place, u.count)
		}
	}
	if lost > 0 {
		return coderunner.Errorf(coderunner.Unavailable, "%s sealed with keys that the key ring does not have. Put the key ring's backup back.", are(lost))
	}
	return nil
}

// behindPrimary counts the values that are sealed with another key than the newest.
func behindPrimary(ctx context.Context, st *store.Store, list []secret.Key) (int, error) {
	uses, err := usesOf(ctx, st)
	n := 0
	for _, u := range uses {
		if u.key != primary(list).ID {
			n += u.count
		}
	}
	return n, err
}

func primary(list []secret.Key) secret.Key {
	for _, key := range list {
		if key.Primary {
			return key
		}
	}
	return secret.Key{}
}

// are goes before what values are.
func are(values int) string {
	if values == 1 {
		return "1 value is"
	}
	return fmt.Sprintf("%d values are", values)
}

func age(d time.Duration) string {
	switch days := int(d.Hours() / 24); days {
	case 0:
		return "within a day"
	case 1:
		return "1 day old"
	default:
		return fmt.Sprintf("%d days old", days)
	}
}
