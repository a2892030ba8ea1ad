package storetest

// PostgreSQL's frontend/backend protocol, version 3: PostgreSQL documentation,
// chapters "Message Flow" and "Message Formats".

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
)

// A Proxy stands between clients and a PostgreSQL server and knows where each
// message begins and ends, so that it can break a connection at a chosen point
// of a transaction. Connections must not use TLS.
type Proxy struct {
	listener net.Listener
	network  string // of the server
	address  string
	url      url.URL

	mu      sync.Mutex
	changed sync.Cond // frozen or closed
	links   map[*link]bool
	armed   *Cut
	frozen  bool
	refuse  bool
	closed  bool

	running sync.WaitGroup
}

// A CutPoint is a moment in the exchange that ends a transaction. A client
// that sends statements without BEGIN and COMMIT has them committed by the
// server when the server reads Sync, and learns of it by the answer.
type CutPoint int

// The points at which a connection can be cut.
const (
	// BeforeSync: the server has the statements and never sees the Sync, so
	// nothing is committed.
	BeforeSync CutPoint = iota
	// AfterSync: the Sync is on its way to the server; nobody waits for what
	// comes of it.
	AfterSync
	// AfterCommit: the server has answered to the last byte, so it has
	// committed, unless it refused; the client sees nothing of the answer.
	AfterCommit
	// InAnswer: the client gets the first Bytes of the answer.
	InAnswer
)

func (p CutPoint) String() string {
	return [...]string{"before Sync", "after Sync", "after the commit", "in the answer"}[p]
}

// A Cut is a connection broken once, at the next transaction that fits. Every
// Proxy.Arm needs a Cut of its own.
type Cut struct {
	At CutPoint
	// Bytes of the answer that are passed on, at InAnswer.
	Bytes int
	// Fits says which transactions are meant, by the SQL texts that it runs;
	// nil means those that begin with INSERT, UPDATE or DELETE.
	Fits func(sql []string) bool

	done chan struct{}
}

// Done is closed when the cut was made.
func (c *Cut) Done() <-chan struct{} { return c.done }

func (c *Cut) fits(sql []string) bool {
	if c.Fits != nil {
		return len(sql) > 0 && c.Fits(sql)
	}
	for _, text := range sql {
		verb, _, _ := strings.Cut(strings.TrimSpace(text), " ")
		switch strings.ToUpper(strings.TrimSpace(verb)) {
		case "INSERT", "UPDATE", "DELETE":
			return true
		}
	}
	return false
}

// StartProxy listens on a port of its own, on loopback, for the server that
// the url names by a TCP address or by the directory of its Unix socket.
func StartProxy(server string) (*Proxy, error) {
	u, err := url.Parse(server)
	if err != nil {
		return nil, errors.New("storetest: the server's url is not a url")
	}
	p := &Proxy{url: *u, links: map[*link]bool{}}
	p.changed.L = &p.mu
	query := u.Query()
	host, port := u.Hostname(), u.Port()
	if query.Has("host") {
		host = query.Get("host")
	}
	if query.Has("port") {
		port = query.Get("port")
	}
	if port == "" {
		port = "5432"
	}
	p.network, p.address = "tcp", net.JoinHostPort(host, port)
	if strings.HasPrefix(host, "/") {
		p.network, p.address = "unix", filepath.Join(host, ".s.PGSQL."+port)
	}
	if p.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	query.Del("host")
	query.Del("port")
	query.Set("sslmode", "disable")
	p.url.Host, p.url.RawQuery = p.listener.Addr().String(), query.Encode()
	p.running.Go(p.accept)
	return p, nil
}

// URL is the server's url, by way of the proxy.
func (p *Proxy) URL() string { return p.url.String() }

// Arm breaks the next connection that comes to c's point; c.Done tells when. It
// replaces a cut that was not made yet.
func (p *Proxy) Arm(c *Cut) {
	c.done = make(chan struct{})
	p.mu.Lock()
	defer p.mu.Unlock()
	p.armed = c
}

// Disarm forgets a cut that was not made.
func (p *Proxy) Disarm() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.armed = nil
}

// Freeze lets no byte pass in either direction, and keeps every connection:
// what a network does that loses all packets. New connections are accepted and
// hear nothing.
func (p *Proxy) Freeze() { p.set(func() { p.frozen = true }) }

// Thaw ends Freeze; what was held back passes.
func (p *Proxy) Thaw() { p.set(func() { p.frozen = false }) }

// Refuse breaks every connection, and new ones at once, until Accept.
func (p *Proxy) Refuse() {
	p.set(func() { p.refuse = true })
	p.Break()
}

// Accept ends Refuse.
func (p *Proxy) Accept() { p.set(func() { p.refuse = false }) }

func (p *Proxy) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	p.changed.Broadcast()
}

// Break breaks every connection there is.
func (p *Proxy) Break() {
	p.mu.Lock()
	links := make([]*link, 0, len(p.links))
	for l := range p.links {
		links = append(links, l)
	}
	p.mu.Unlock()
	for _, l := range links {
		l.cut()
	}
}

// Close breaks every connection, stops listening and waits until nothing runs.
func (p *Proxy) Close() error {
	p.set(func() { p.closed = true })
	err := p.listener.Close()
	p.Break()
	p.running.Wait()
	return err
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.running.Go(func() { p.serve(client.(*net.TCPConn)) })
	}
}

func (p *Proxy) serve(client *net.TCPConn) {
	server, err := net.Dial(p.network, p.address)
	if err != nil {
		reset(client)
		return
	}
	l := &link{proxy: p, client: client, server: server, statements: map[string]string{}, portals: map[string]string{}, allowed: unlimited}
	p.mu.Lock()
	welcome := !p.closed && !p.refuse
	if welcome {
		p.links[l] = true
	}
	p.mu.Unlock()
	if !welcome {
		l.cut()
		return
	}
	var directions sync.WaitGroup
	directions.Go(func() { l.end(l.forth()) })
	directions.Go(func() { l.end(l.back()) })
	directions.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, l)
}

// pass waits while the proxy is frozen.
func (p *Proxy) pass() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.frozen && !p.closed {
		p.changed.Wait()
	}
}

// trigger takes the armed cut if it fits.
func (p *Proxy) trigger(sql []string) *Cut {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.armed
	if c == nil || !c.fits(sql) {
		return nil
	}
	p.armed = nil
	return c
}

// A link is one client's connection and the one to the server behind it.
type link struct {
	proxy  *Proxy
	client *net.TCPConn
	server net.Conn

	// What the client has prepared, bound, and executed since the last Sync.
	// Only forth uses these.
	statements map[string]string // SQL by the statement's name
	portals    map[string]string // SQL by the portal's name
	batch      []string

	mu      sync.Mutex
	pending *Cut // to be made in the answer
	allowed int  // bytes of the answer that may still pass
}

const unlimited = -1

var errCut = errors.New("cut")

// end ends the link in the manner of the direction that ended: nil is the end
// of one side, which the other may answer.
func (l *link) end(err error) {
	if err != nil {
		l.cut()
	}
}

// cut resets both connections: the server and the client each see a peer that
// is gone.
func (l *link) cut() {
	reset(l.client)
	if tcp, ok := l.server.(*net.TCPConn); ok {
		reset(tcp)
		return
	}
	l.server.Close()
}

func reset(c *net.TCPConn) {
	c.SetLinger(0)
	c.Close()
}

// Numbers in place of a protocol version in the first message of a connection.
const (
	sslRequest = 80877103
	gssRequest = 80877104
)

// forth passes messages from the client to the server.
func (l *link) forth() error {
	from, to := bufio.NewReader(l.client), bufio.NewWriter(l.server)
	first, version, err := readFirst(from)
	if err != nil {
		return err
	}
	if version == sslRequest || version == gssRequest {
		return errors.New("storetest: the proxy does not speak TLS")
	}
	l.proxy.pass()
	if _, err := l.server.Write(first); err != nil {
		return err
	}
	for {
		kind, message, err := readMessage(from)
		if err != nil {
			return err
		}
		l.proxy.pass()
		l.note(kind, message)
		var c *Cut
		if kind == 'S' || kind == 'Q' {
			c = l.proxy.trigger(l.batch)
			l.batch = nil
		}
		if c != nil {
			if c.At == BeforeSync {
				if err := to.Flush(); err != nil {
					return err
				}
				l.cut()
				close(c.done)
				return errCut
			}
			l.expect(c)
		}
		if _, err := to.Write(message); err != nil {
			return err
		}
		if from.Buffered() > 0 && kind != 'S' {
			continue
		}
		if err := to.Flush(); err != nil {
			return err
		}
		if c != nil && c.At == AfterSync {
			l.cut()
			close(c.done)
			return errCut
		}
	}
}

// expect tells back what to do with the answer that is about to come.
func (l *link) expect(c *Cut) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch c.At {
	case InAnswer:
		l.pending, l.allowed = c, c.Bytes
	case AfterSync, AfterCommit:
		l.pending, l.allowed = c, 0
	}
}

// note follows which SQL the client runs: Parse, Bind, Execute, Query.
func (l *link) note(kind byte, message []byte) {
	body := message[5:]
	switch kind {
	case 'P':
		name, rest := cutString(body)
		l.statements[name], _ = cutString(rest)
	case 'B':
		portal, rest := cutString(body)
		name, _ := cutString(rest)
		l.portals[portal] = l.statements[name]
	case 'E':
		portal, _ := cutString(body)
		l.batch = append(l.batch, l.portals[portal])
	case 'Q':
		text, _ := cutString(body)
		l.batch = append(l.batch, text)
	}
}

// cutString splits a message at the end of a string.
func cutString(body []byte) (text string, rest []byte) {
	before, after, _ := bytes.Cut(body, []byte{0})
	return string(before), after
}

// back passes messages from the server to the client.
func (l *link) back() error {
	from := bufio.NewReader(l.server)
	for {
		kind, message, err := readMessage(from)
		if err != nil {
			return err
		}
		l.proxy.pass()
		l.mu.Lock()
		c, allowed := l.pending, l.allowed
		if allowed != unlimited {
			l.allowed = max(0, allowed-len(message))
		}
		l.mu.Unlock()
		if allowed == unlimited || allowed >= len(message) {
			if _, err := l.client.Write(message); err != nil {
				return err
			}
		} else if allowed > 0 {
			l.client.Write(message[:allowed])
		}
		// The point is reached when no more may pass. AfterSync is the other
		// direction's; for AfterCommit the server must have said that it is
		// ready, which it is after the commit alone. An answer shorter than
		// Bytes ends the connection behind itself.
		if c != nil && (c.At == AfterCommit && kind == 'Z' || c.At == InAnswer && (allowed < len(message) || kind == 'Z')) {
			hangUp(l)
			close(c.done)
			return errCut
		}
	}
}

// hangUp ends the connections behind what was written: a reset could overtake
// it.
func hangUp(l *link) {
	l.client.Close()
	l.server.Close()
}

// readFirst reads a connection's first message, which has no type.
func readFirst(r *bufio.Reader) (message []byte, version uint32, err error) {
	head, err := r.Peek(8)
	if err != nil {
		return nil, 0, err
	}
	length := binary.BigEndian.Uint32(head)
	if length < 8 || length > 1<<16 {
		return nil, 0, errors.New("storetest: not PostgreSQL's protocol")
	}
	message = make([]byte, length)
	_, err = io.ReadFull(r, message)
	return message, binary.BigEndian.Uint32(head[4:]), err
}

// readMessage reads a message: its type, its length without the type, its
// body.
func readMessage(r *bufio.Reader) (kind byte, message []byte, err error) {
	head, err := r.Peek(5)
	if err != nil {
		return 0, nil, err
	}
	length := binary.BigEndian.Uint32(head[1:])
	if length < 4 || length > 64<<20 {
		return 0, nil, fmt.Errorf("storetest: a message of %d bytes", length)
	}
	message = make([]byte, 1+length)
	_, err = io.ReadFull(r, message)
	return message[0], message, err
}
