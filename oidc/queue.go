package oidc

import (
	"context"
	"runtime"
	"sync"
	"time"

	"gatehouse"
	"gatehouse/jose"
)

// A queue lets as much work be done at once as there are processors. What has
// to wait for its turn waits in a line of its owner, and the lines take turns:
// who asks for more waits behind himself. Once maxWaiting wait, the longest
// lane loses its last, who is told to come again. The zero value is ready.
type queue struct {
	mu      sync.Mutex
	working int
	waiting lane
}

// maxWaiting bounds how many wait in a queue, and so how long anybody does: 256
// signatures with RSA-2048 take two processors a fifth of a second.
const maxWaiting = 256

// A turn is somebody's place in a queue.
type turn struct {
	come chan bool // with false: there is no more room
	left bool      // nobody waits for it any more
}

// do runs work when its turn has come. The owner's names go from the general to
// the special: lanes of the first name take turns, and within each those of the
// second. It returns an error that is gatehouse.Unavailable when there is no
// room, and when ctx ends first; then work has not run.
func (q *queue) do(ctx context.Context, work func(), owner ...string) error {
	if err := q.enter(ctx, owner); err != nil {
		return err
	}
	defer q.leave()
	work()
	return nil
}

func (q *queue) enter(ctx context.Context, owner []string) error {
	q.mu.Lock()
	if q.working < runtime.GOMAXPROCS(0) {
		q.working++
		q.mu.Unlock()
		return nil
	}
	own := &turn{come: make(chan bool, 1)}
	q.waiting.join(own, owner)
	if q.waiting.length > maxWaiting {
		q.waiting.loseLast().come <- false
	}
	q.mu.Unlock()
	select {
	case room := <-own.come:
		if !room {
			return busy()
		}
		return nil
	case <-ctx.Done():
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	own.left = true
	select {
	case room := <-own.come: // at the same moment
		if room {
			q.next()
		}
	default:
	}
	return busy()
}

func (q *queue) leave() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.next()
}

// next gives the place of one who is done to the first who still waits.
func (q *queue) next() {
	for q.waiting.length > 0 {
		if first := q.waiting.first(); !first.left {
			first.come <- true
			return
		}
	}
	q.working--
}

func busy() *gatehouse.Error {
	fault := gatehouse.NewError(gatehouse.Unavailable, "the server is busy, please try again")
	fault.RetryAfter = time.Second
	return fault
}

// A lane has either turns, in the order in which they came, or lanes by name, in
// the order in which they are next.
type lane struct {
	length int // in turns, here and below
	turns  []*turn
	names  []string
	lanes  map[string]*lane
}

func (l *lane) join(t *turn, owner []string) {
	l.length++
	if len(owner) == 0 {
		l.turns = append(l.turns, t)
		return
	}
	below := l.lanes[owner[0]]
	if below == nil {
		if l.lanes == nil {
			l.lanes = map[string]*lane{}
		}
		below = &lane{}
		l.lanes[owner[0]] = below
		l.names = append(l.names, owner[0])
	}
	below.join(t, owner[1:])
}

// first takes out the turn that is next. There must be one.
func (l *lane) first() *turn {
	l.length--
	if len(l.names) == 0 {
		t := l.turns[0]
		l.turns = l.turns[1:]
		return t
	}
	name := l.names[0]
	l.names = l.names[1:]
	below := l.lanes[name]
	t := below.first()
	if below.length > 0 {
		l.names = append(l.names, name)
	} else {
		delete(l.lanes, name)
	}
	return t
}

// loseLast takes out the last of the longest lane. There must be one.
func (l *lane) loseLast() *turn {
	l.length--
	if len(l.names) == 0 {
		t := l.turns[len(l.turns)-1]
		l.turns = l.turns[:len(l.turns)-1]
		return t
	}
	longest := 0
	for i, name := range l.names {
		if l.lanes[name].length >= l.lanes[l.names[longest]].length { // of equals the one whose turn is later
			longest = i
		}
	}
	name := l.names[longest]
	t := l.lanes[name].loseLast()
	if l.lanes[name].length == 0 {
		delete(l.lanes, name)
		l.names = append(l.names[:longest:longest], l.names[longest+1:]...)
	}
	return t
}

// verify runs token.Verify in the turn of the address that sent the token, for
// nobody knows yet whose token it is, at the provider, "" for none. It returns
// what is wrong with the token; or err, when that could not be found out.
func (s *Server) verify(ctx context.Context, provider string, token *jose.JWT, keys []*jose.PublicKey, algs ...string) (wrong, err error) {
	err = s.verifying.do(ctx, func() { wrong = token.Verify(keys, algs...) }, provider, addressOf(ctx))
	return wrong, err
}

// sign runs key.Sign in the turn of the owner at the provider.
func (s *Server) sign(ctx context.Context, p *provider, owner string, key *jose.PrivateKey, typ string, claims any) (token string, err error) {
	var fault error
	if err := s.signing.do(ctx, func() { token, fault = key.Sign(typ, claims) }, p.Code, owner); err != nil {
		return "", err
	}
	return token, fault
}
