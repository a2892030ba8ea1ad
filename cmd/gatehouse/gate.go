package main

import (
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
)

// A gate is a listener with a bounded number of open connections. Beyond it
// they wait in the backlog of the kernel. One address may have a part of them:
// what it opens beyond that is closed at once, so that it cannot have all.
type gate struct {
	net.Listener
	perAddress int
	anyNumber  func(netip.Addr) bool // from there
	log        *slog.Logger
	places     chan struct{} // has a value for each open connection
	closed     chan struct{}
	close      func() error

	mu     sync.Mutex
	guests map[netip.Prefix]*guest
}

// A guest is an address with open connections.
type guest struct {
	open    int
	refused bool // and logged
}

func newGate(listener net.Listener, config *config, log *slog.Logger) *gate {
	proxies, _ := config.trustedProxies() // validated
	g := &gate{
		Listener:   listener,
		perAddress: config.Limits.ConnectionsPerAddress,
		anyNumber: func(peer netip.Addr) bool {
			peer = peer.Unmap().WithZone("")
			return config.BehindProxy || slices.ContainsFunc(proxies, func(p netip.Prefix) bool { return p.Contains(peer) })
		},
		log:    log,
		places: make(chan struct{}, config.Limits.Connections),
		closed: make(chan struct{}),
		guests: map[netip.Prefix]*guest{},
	}
	g.close = sync.OnceValue(func() error {
		close(g.closed)
		return listener.Close()
	})
	return g
}

// Accept returns the next connection that may be open.
func (g *gate) Accept() (net.Conn, error) {
	for {
		select {
		case g.places <- struct{}{}:
		case <-g.closed:
			return nil, net.ErrClosed
		}
		conn, err := g.Listener.Accept()
		if err != nil {
			<-g.places
			return nil, err
		}
		tcp := conn.(*net.TCPConn) // we listen to nothing else
		peer := tcp.RemoteAddr().(*net.TCPAddr).AddrPort().Addr()
		if g.enter(peer) {
			return &guestConn{tcp, sync.OnceFunc(func() { g.leave(peer) })}, nil
		}
		tcp.Close()
		<-g.places
	}
}

// Close stops listening.
func (g *gate) Close() error { return g.close() }

// networkOf is what counts as one address: of IPv6 the first 64 bits, the rest
// is the peer's own to choose (RFC 4291 §2.5.4).
func networkOf(address netip.Addr) netip.Prefix {
	address = address.Unmap().WithZone("")
	if address.Is6() && !address.IsLoopback() {
		return netip.PrefixFrom(address, 64).Masked()
	}
	return netip.PrefixFrom(address, address.BitLen())
}

// enter reports whether peer may open one more connection.
func (g *gate) enter(peer netip.Addr) bool {
	network := networkOf(peer)
	g.mu.Lock()
	defer g.mu.Unlock()
	from := g.guests[network]
	if from == nil {
		from = new(guest)
		g.guests[network] = from
	}
	if from.open >= g.perAddress && !g.anyNumber(peer) {
		if !from.refused { // once, not for each of a flood
			g.log.Warn("connections refused: limits.connections_per_address", "network", network.String())
		}
		from.refused = true
		return false
	}
	from.open++
	return true
}

func (g *gate) leave(peer netip.Addr) {
	network := networkOf(peer)
	g.mu.Lock()
	from := g.guests[network]
	if from.open--; from.open == 0 {
		delete(g.guests, network)
	}
	g.mu.Unlock()
	<-g.places
}

// A guestConn gives its place back when it is closed.
type guestConn struct {
	*net.TCPConn // with its CloseWrite, which net/http uses
	leave        func()
}

func (c *guestConn) Close() error {
	err := c.TCPConn.Close()
	c.leave()
	return err
}
