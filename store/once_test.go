package store_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	osexec "os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/store"
	"gatehouse/store/storetest"
)

// A contest is something that may happen once only.
type contest struct {
	prepare func(t *testing.T, db *store.DB, id string)
	attempt func(ctx context.Context, db *store.DB, id string, n int) error
	lost    error
	after   func(t *testing.T, db *store.DB, id string)
}

var contests = map[string]contest{
	"Consume": {
		prepare: func(*testing.T, *store.DB, string) {},
		attempt: func(ctx context.Context, db *store.DB, id string, _ int) error {
			return db.Consume(ctx, "", gatehouse.ConsumeAssertion, id, now, now.Add(time.Minute), now)
		},
		lost:  gatehouse.ErrSpent,
		after: func(*testing.T, *store.DB, string) {},
	},
	"ExchangeCode": {
		prepare: func(t *testing.T, db *store.DB, id string) { approved(t, db, "alpha", id) },
		attempt: func(ctx context.Context, db *store.DB, id string, _ int) error {
			token := gatehouse.NewID(now)
			return db.ExchangeCode(ctx, "alpha", id, anAccessToken("alpha", token, id), aRefreshToken("alpha", token, id), now)
		},
		lost: gatehouse.ErrSpent,
		after: func(t *testing.T, db *store.DB, id string) {
			_, g, err := db.AuthorizationByCode(t.Context(), "alpha", codeHash(id))
			must(t, err)
			if g.RevokedAt.IsZero() {
				t.Errorf("%s: the grant is in force after a replay", id)
			}
		},
	},
	"SetCode": {
		prepare: func(t *testing.T, db *store.DB, id string) { codeless(t, db, "alpha", id) },
		attempt: func(ctx context.Context, db *store.DB, id string, _ int) error {
			return db.SetCode(ctx, "alpha", id, gatehouse.HashSecret(gatehouse.NewSecret()), now.Add(time.Minute))
		},
		lost:  gatehouse.ErrSpent,
		after: func(*testing.T, *store.DB, string) {},
	},
	// Of a token's two possible successors one comes to be.
	"Rotate": {
		prepare: func(t *testing.T, db *store.DB, id string) { granted(t, db, "alpha", id) },
		attempt: func(ctx context.Context, db *store.DB, id string, _ int) error {
			token := gatehouse.NewID(now)
			err := db.Refresh(ctx, "alpha", id, anAccessToken("alpha", token, id), aRefreshToken("alpha", token, id), time.Minute, now)
			if err != nil {
				return err
			}
			old, _, err := db.RefreshToken(ctx, "alpha", id)
			if err == nil && old.SuccessorID != token {
				return errOvertaken
			}
			return err
		},
		lost: errOvertaken,
		after: func(t *testing.T, db *store.DB, id string) {
			_, g, err := db.RefreshToken(t.Context(), "alpha", id)
			must(t, err)
			if !g.RevokedAt.IsZero() {
				t.Errorf("%s: a retry within the grace ended the grant", id)
			}
		},
	},
	"EnterPSUSession": {
		prepare: func(t *testing.T, db *store.DB, id string) { linked(t, db, "alpha", id) },
		attempt: func(ctx context.Context, db *store.DB, id string, _ int) error {
			return db.EnterPSUSession(ctx, "alpha", linkHash(id), gatehouse.HashSecret(gatehouse.NewSecret()), now.Add(time.Hour), now)
		},
		lost:  gatehouse.ErrNotFound,
		after: func(*testing.T, *store.DB, string) {},
	},
	"ClaimNotices": {
		prepare: func(t *testing.T, db *store.DB, id string) { lodged(t, db, "alpha", id) },
		attempt: func(ctx context.Context, db *store.DB, _ string, _ int) error {
			return claimNotices(ctx, db, gatehouse.NewID(now), 1)
		},
		lost:  errNotices,
		after: func(*testing.T, *store.DB, string) {},
	},
	"Decide": {
		prepare: func(t *testing.T, db *store.DB, id string) { pending(t, db, "alpha", id) },
		attempt: func(ctx context.Context, db *store.DB, id string, n int) error {
			if n%2 == 0 {
				return db.DenyAuthorization(ctx, "alpha", id, now)
			}
			return db.ApproveAuthorization(ctx, "alpha", id, aGrant("alpha", gatehouse.NewID(now)), now)
		},
		lost:  gatehouse.ErrConflict,
		after: func(*testing.T, *store.DB, string) {},
	},
}

var errOvertaken = errors.New("another successor")

// contestants is how many goroutines of each process take part.
const contestants = 64

// Proves: S4
func TestOnce(t *testing.T) {
	// The long form is 200, half a minute; with the race detector ten times
	// as much, nearly all of it in SQLite.
	rounds := storetest.Rounds(t, 10)
	storetest.Each(t, func(t *testing.T, url string) {
		db := open(t, url)
		second := startSecond(t, url)
		for name, c := range contests {
			t.Run(name, func(t *testing.T) {
				for round := range rounds {
					id := fmt.Sprintf("%s-%d", name, round)
					c.prepare(t, db, id)
					second.say(t, name+" "+id)
					second.hear(t, "ready")
					result := compete(db, c, id, func() { second.say(t, "go") })
					result.add(second.tally(t))
					if result.Won != 1 || result.Lost != 2*contestants-1 {
						t.Fatalf("%s: %+v, want one winner and %d losers", id, result, 2*contestants-1)
					}
					c.after(t, db, id)
				}
			})
		}
	})
}

// A tally counts how the attempts of a contest ended.
type tally struct {
	Won, Lost int
	Other     []string
}

func (a *tally) add(b tally) {
	a.Won += b.Won
	a.Lost += b.Lost
	a.Other = append(a.Other, b.Other...)
}

// compete makes all attempts of one process at once, as soon as start returns.
func compete(db *store.DB, c contest, id string, start func()) tally {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	results, ready, begin := make(chan error, contestants), sync.WaitGroup{}, make(chan struct{})
	for n := range contestants {
		ready.Add(1)
		go func() {
			ready.Done()
			<-begin
			results <- c.attempt(ctx, db, id, n)
		}()
	}
	ready.Wait()
	start()
	close(begin)
	var sum tally
	for range contestants {
		switch err := <-results; {
		case err == nil:
			sum.Won++
		case errors.Is(err, c.lost):
			sum.Lost++
		default:
			sum.Other = append(sum.Other, err.Error())
		}
	}
	return sum
}

// envSecondProcess makes the test binary the second process of TestOnce, on
// the database it names.
const envSecondProcess = "GATEHOUSE_TEST_SECOND_PROCESS"

// secondProcess reads "contest id", answers "ready", takes part when it reads
// "go", and answers with its tally; until its input ends.
func secondProcess() int {
	db, err := store.Open(context.Background(), os.Getenv(envSecondProcess))
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer db.Close()
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		name, id, _ := strings.Cut(lines.Text(), " ")
		result := compete(db, contests[name], id, func() {
			fmt.Println("ready")
			lines.Scan()
		})
		if err := json.NewEncoder(os.Stdout).Encode(result); err != nil {
			return 1
		}
	}
	return 0
}

// A second is the other process.
type second struct {
	stdin  io.WriteCloser
	stdout *bufio.Scanner
}

func startSecond(t *testing.T, url string) *second {
	t.Helper()
	cmd := osexec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envSecondProcess+"="+url)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	must(t, err)
	stdout, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() {
		stdin.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("second process: %v", err)
		}
	})
	return &second{stdin, bufio.NewScanner(stdout)}
}

func (s *second) say(t *testing.T, line string) {
	t.Helper()
	_, err := fmt.Fprintln(s.stdin, line)
	must(t, err)
}

func (s *second) hear(t *testing.T, want string) {
	t.Helper()
	s.stdout.Scan()
	if got := s.stdout.Text(); got != want {
		t.Fatalf("second process says %q, want %q", got, want)
	}
}

func (s *second) tally(t *testing.T) (result tally) {
	t.Helper()
	s.stdout.Scan()
	must(t, json.Unmarshal(s.stdout.Bytes(), &result))
	return result
}

// A hundred goroutines count up in one row, through two handles.
// Proves: S25
func TestNoLostUpdate(t *testing.T) {
	const writers = 100
	forEachDB(t, func(t *testing.T, open func() *store.DB) {
		handles, ctx := []*store.DB{open(), open()}, t.Context()
		zero := aProvider("alpha")
		zero.Name = "0"
		must(t, handles[0].CreateProvider(ctx, zero, nil))
		client := aClient("tpp")
		client.Name = "0"
		must(t, handles[0].CreateClient(ctx, client))

		// count repeats read and update until no other got in between.
		count := func(update func() error) error {
			for {
				if err := update(); !errors.Is(err, gatehouse.ErrConflict) {
					return err
				}
			}
		}
		var done sync.WaitGroup
		for n := range writers {
			db := handles[n%2]
			done.Go(func() {
				err := count(func() error {
					p, err := db.Provider(ctx, "alpha")
					if err != nil {
						return err
					}
					p.Name = increment(p.Name)
					return db.UpdateProvider(ctx, p)
				})
				if err != nil {
					t.Errorf("provider: %v", err)
				}
				err = count(func() error {
					c, err := db.Client(ctx, "tpp")
					if err != nil {
						return err
					}
					c.Name = increment(c.Name)
					return db.UpdateClient(ctx, c)
				})
				if err != nil {
					t.Errorf("client: %v", err)
				}
			})
		}
		done.Wait()
		p, err := handles[0].Provider(ctx, "alpha")
		must(t, err)
		c, err := handles[0].Client(ctx, "tpp")
		must(t, err)
		equal(t, []any{p.Name, p.Version, c.Name, c.Version}, []any{"100", int64(writers + 1), "100", int64(writers + 1)})
	})
}

func increment(text string) string {
	n, _ := strconv.Atoi(text)
	return strconv.Itoa(n + 1)
}
