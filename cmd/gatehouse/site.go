package main

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"
)

// A site is a listener and what it serves.
type site struct {
	server   *http.Server
	listener net.Listener
}

// bufferSlop is what net/http reads beyond MaxHeaderBytes before it answers
// 431; without it limits.header_bytes is exact.
const bufferSlop = 4096

// cipherSuites are the AEAD suites of TLS 1.2; TLS 1.3 has no others
// (RFC 9325 §4.2).
var cipherSuites = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
	tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}

// Bounds of an HTTP/2 connection.
const (
	// streamWindow is how much of all bodies, and of each, is taken before the
	// handler reads; net/http has a megabyte.
	streamWindow = 64 << 10
	// frameSize is the least that is allowed (RFC 9113 §4.2): a frame is read
	// whole before anybody looks at it, and net/http has a megabyte.
	frameSize = 16 << 10
	// streams multiply limits.connections_per_address: net/http has 250.
	streams = 20
)

// newSite serves listener by handler, over TLS when there is a certificate.
// Connections wait until serveSites.
func newSite(listener net.Listener, handler http.Handler, config *config, log *slog.Logger, certificate *tls.Certificate) *site {
	server := &http.Server{
		Handler:           endUnclear(endSlow(handler)),
		ReadHeaderTimeout: time.Duration(config.Timeouts.ReadHeader),
		ReadTimeout:       time.Duration(config.Timeouts.Read),
		WriteTimeout:      time.Duration(config.Timeouts.Write),
		IdleTimeout:       config.idle(),
		MaxHeaderBytes:    config.Limits.HeaderBytes - bufferSlop,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:          streams,
			MaxReadFrameSize:              frameSize,
			MaxReceiveBufferPerConnection: streamWindow,
			MaxReceiveBufferPerStream:     streamWindow,
			// The timeouts above are those of streams. These are the
			// connection's: who sends no whole frame is asked for a sign of
			// life, and who takes no byte is gone.
			SendPingTimeout:  time.Duration(config.Timeouts.Read),
			PingTimeout:      time.Duration(config.Timeouts.ReadHeader),
			WriteByteTimeout: time.Duration(config.Timeouts.Write),
		},
		DisableGeneralOptionsHandler: true, // OPTIONS * is answered as everything else
	}
	if certificate != nil {
		server.TLSConfig = &tls.Config{
			Certificates: []tls.Certificate{*certificate},
			MinVersion:   tls.VersionTLS12,
			CipherSuites: cipherSuites,
		}
	}
	return &site{server, newGate(listener, config, log)}
}

// endUnclear ends the connection with the answer where a proxy in front may
// find other boundaries between requests than net/http does, which takes a
// Content-Length beside Transfer-Encoding, and Transfer-Encoding in HTTP/1.0,
// and shows neither to a handler (RFC 9112 §6.1, §11.2).
func endUnclear(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor == 1 && (r.ProtoMinor != 1 || len(r.TransferEncoding) > 0 || r.Method == http.MethodConnect) {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}

// endSlow ends an HTTP/2 connection with the answer to a request whose body did
// not come in time, as net/http does with HTTP/1.1. Else it would rest for
// timeouts.idle, and then begin another.
func endSlow(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor == 2 {
			r.Body = timedBody{r.Body, w.Header()}
		}
		next.ServeHTTP(w, r)
	})
}

// A timedBody is a body, and the header of its answer.
type timedBody struct {
	io.ReadCloser
	answer http.Header
}

func (b timedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		b.answer.Set("Connection", "close")
	}
	return n, err
}

func (s *site) url() string { return origin(s.listener, s.server.TLSConfig != nil) }

func origin(listener net.Listener, overTLS bool) string {
	if overTLS {
		return "https://" + listener.Addr().String()
	}
	return "http://" + listener.Addr().String()
}

func (s *site) serve() error {
	if s.server.TLSConfig != nil {
		return s.server.ServeTLS(s.listener, "", "")
	}
	return s.server.Serve(s.listener)
}

// serveSites serves until ctx ends or a site fails. Then it calls stopping,
// goes on for as long as timeouts.drain, and stops one site after the other: no
// new connections, requests under way finish within timeouts.shutdown. It
// returns when nothing runs any more.
func serveSites(ctx context.Context, timeouts timeoutsConfig, stopping func(), sites ...*site) error {
	served := make(chan error, len(sites))
	for _, s := range sites {
		go func() { served <- s.serve() }()
	}
	var fault error
	running := len(sites)
	select {
	case <-ctx.Done():
	case fault = <-served:
		running--
	}
	stopping()
	if running == len(sites) {
		select {
		case <-time.After(time.Duration(timeouts.Drain)):
		case fault = <-served:
			running--
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Duration(timeouts.Shutdown))
	defer cancel()
	for _, s := range sites {
		if err := s.server.Shutdown(ctx); err != nil {
			s.server.Close()
			fault = errors.Join(fault, prefixed("stopping before requests had finished", err))
		}
	}
	for range running {
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			fault = errors.Join(fault, err)
		}
	}
	return fault
}
