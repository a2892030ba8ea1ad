package main

// HTTP/2 spoken by hand, as no client does (RFC 9113).

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"gatehouse"
)

// Kinds of frames, their flags and the codes of errors (RFC 9113 §6, §7).
const (
	dataFrame, headersFrame, resetFrame, settingsFrame  = 0, 1, 3, 4
	pingFrame, goAwayFrame, windowFrame, continuedFrame = 6, 7, 8, 9

	endStream, endHeaders = 1, 4

	frameSizeError = 6
)

// frame is a frame on the wire (RFC 9113 §4.1).
func frame(kind, flags byte, stream uint32, payload ...byte) []byte {
	b := []byte{byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload)), kind, flags}
	return append(binary.BigEndian.AppendUint32(b, stream), payload...)
}

// ask is a HEADERS frame that asks for path (RFC 7541 §6.1, §6.2.2, appendix A).
func ask(flags byte, stream uint32, method, path string) []byte {
	b := []byte{0x87, 0x01, 1, 'x', 0x02, byte(len(method))} // :scheme https, :authority x, :method
	b = append(b, method...)
	b = append(b, 0x04, byte(len(path))) // :path
	return frame(headersFrame, flags, stream, append(b, path...)...)
}

// dialHTTP2 connects, with windows as large as there are. A buffer other than 0
// is how much the client's system takes of what is not read.
func dialHTTP2(t *testing.T, s *site, roots *x509.CertPool, buffer int) *tls.Conn {
	t.Helper()
	raw := dial(t, s.address())
	if buffer != 0 {
		raw.(*net.TCPConn).SetReadBuffer(buffer)
	}
	conn := tls.Client(raw, &tls.Config{RootCAs: roots, ServerName: "127.0.0.1", NextProtos: []string{"h2"}})
	if err := conn.HandshakeContext(t.Context()); err != nil || conn.ConnectionState().NegotiatedProtocol != "h2" {
		t.Fatalf("%v, protocol %q", err, conn.ConnectionState().NegotiatedProtocol)
	}
	send(t, conn, []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), frame(settingsFrame, 0, 0, 0, 4, 0x7f, 0xff, 0xff, 0xff), frame(windowFrame, 0, 0, 0x7f, 0xff, 0, 0))
	return conn
}

func send(t *testing.T, conn net.Conn, frames ...[]byte) {
	t.Helper()
	if _, err := conn.Write(bytes.Join(frames, nil)); err != nil {
		t.Fatal(err)
	}
}

// awaitFrame reads until there is a frame of kind on stream and returns what is
// in it, or nil if the connection ends without.
func awaitFrame(conn net.Conn, kind byte, stream uint32) []byte {
	for r := bufio.NewReader(conn); ; {
		header := make([]byte, 9)
		if _, err := io.ReadFull(r, header); err != nil {
			return nil
		}
		payload := make([]byte, uint32(header[0])<<16|uint32(header[1])<<8|uint32(header[2]))
		if _, err := io.ReadFull(r, payload); err != nil {
			return nil
		}
		if header[3] == kind && binary.BigEndian.Uint32(header[5:]) == stream {
			return payload
		}
	}
}

// A frame that is larger than 16 KiB is refused by its header: it is not waited
// for, and no memory is set apart for it.
//
// Proves: N7
func TestHTTP2FrameSize(t *testing.T) {
	certificate, roots := certificateOf(t, false)
	s := open(t, defaultConfig(), certificate, &reception{read: true})
	refused := 0
	for _, size := range []int{frameSize + 1, 1 << 20} {
		for name, large := range map[string][]byte{
			"DATA":      frame(dataFrame, 0, 1, make([]byte, size)...)[:9],
			"HEADERS":   frame(headersFrame, endHeaders, 3, make([]byte, size)...)[:9],
			"unknown":   frame(0xee, 0, 0, make([]byte, size)...)[:9],
			"continued": append(ask(0, 3, "GET", "/"), frame(continuedFrame, 0, 3, make([]byte, size)...)[:9]...),
		} {
			conn := dialHTTP2(t, s, roots, 0)
			send(t, conn, ask(endHeaders, 1, "POST", "/"), large)
			if away := awaitFrame(conn, goAwayFrame, 0); len(away) < 8 || binary.BigEndian.Uint32(away[4:]) != frameSizeError {
				t.Errorf("%s of %d bytes: GOAWAY %x", name, size, away)
			}
			refused++
		}
	}
	conn := dialHTTP2(t, s, roots, 0)
	send(t, conn, ask(endHeaders, 1, "POST", "/"), frame(dataFrame, endStream, 1, make([]byte, frameSize)...))
	if answer := awaitFrame(conn, headersFrame, 1); len(answer) == 0 || answer[0] != 0x88 { // :status 200
		t.Errorf("DATA of %d bytes: HEADERS %x", frameSize, answer)
	}
	tallied(t, refused)
}

// A connection has 20 requests at once. One more is refused, and the others are
// answered.
//
// Proves: N5
func TestHTTP2Streams(t *testing.T) {
	certificate, roots := certificateOf(t, false)
	asked, answer := make(chan string, 100), make(chan struct{})
	s := open(t, defaultConfig(), certificate, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked <- r.URL.Path
		<-answer
	}))
	conn := dialHTTP2(t, s, roots, 0)
	for i := range uint32(20) {
		send(t, conn, ask(endStream|endHeaders, 1+2*i, "GET", "/good"))
	}
	send(t, conn, ask(endStream|endHeaders, 41, "GET", "/bad"))
	if awaitFrame(conn, resetFrame, 41) == nil {
		t.Error("one too many is not refused")
	}
	close(answer)
	for range 20 {
		if path := <-asked; path != "/good" {
			t.Errorf("%s was served", path)
		}
	}
	tallied(t, 1)
}

// Slow clients of HTTP/2 are cut off as those of HTTP/1.1 are: by the limits of
// a stream, by the ping that they do not answer, or when they take nothing.
//
// Proves: N5
func TestSlowHTTP2Clients(t *testing.T) {
	certificate, roots := certificateOf(t, false)
	large := make([]byte, 8<<20)
	serving := func(idle time.Duration) *site {
		config := defaultConfig()
		second := gatehouse.Duration(time.Second)
		config.Timeouts.ReadHeader, config.Timeouts.Read, config.Timeouts.Write, config.Timeouts.Idle = second, second, 2*second, gatehouse.Duration(idle)
		return open(t, config, certificate, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/large" {
				w.Write(large)
				return
			}
			if _, err := io.ReadAll(r.Body); err != nil {
				w.WriteHeader(http.StatusBadRequest)
			}
		}))
	}
	// Where connections may rest for ever, something else must end them.
	brisk, patient := serving(time.Second), serving(time.Hour)
	half := ask(endHeaders, 1, "POST", "/")[:12]
	ping := frame(pingFrame, 0, 0, make([]byte, 8)...)
	kinds := []struct {
		name  string
		site  *site
		first []byte
		drip  []byte // now and then
		deaf  bool
	}{
		{"silence", patient, nil, nil, false},
		{"half a header", patient, half, []byte{1}, false},
		{"endless header", patient, ask(0, 1, "POST", "/"), frame(continuedFrame, 0, 1, 0x00, 1, 'a', 1, 'b'), false},
		{"half a frame of the body", patient, append(ask(endHeaders, 1, "POST", "/"), frame(dataFrame, 0, 1, make([]byte, 100)...)[:9]...), []byte("a"), false},
		{"body", patient, ask(endHeaders, 1, "POST", "/"), frame(dataFrame, 0, 1, 'a'), false},
		{"after a request", patient, append(ask(endStream|endHeaders, 1, "GET", "/"), ask(0, 3, "GET", "/")[:9]...), []byte{0}, false},
		{"no ears", patient, bytes.Join([][]byte{ask(endStream|endHeaders, 1, "GET", "/large"), ask(endStream|endHeaders, 3, "GET", "/large")}, nil), ping, true},
		{"pings", brisk, nil, ping, false},
		{"settings", brisk, nil, frame(settingsFrame, 0, 0), false},
		{"no window", brisk, append(frame(settingsFrame, 0, 0, 0, 4, 0, 0, 0, 0), ask(endStream|endHeaders, 1, "GET", "/large")...), ping, false},
	}
	var attackers sync.WaitGroup
	for _, kind := range kinds {
		buffer := 0
		if kind.deaf {
			buffer = 4096
		}
		conn := dialHTTP2(t, kind.site, roots, buffer)
		began := time.Now()
		send(t, conn, kind.first)
		ended := make(chan struct{})
		if !kind.deaf {
			attackers.Go(func() {
				defer close(ended)
				io.Copy(io.Discard, conn)
			})
		}
		attackers.Go(func() {
			tick := time.NewTicker(200 * time.Millisecond)
			defer tick.Stop()
			for open := true; open; {
				select {
				case <-ended:
					open = false
				case <-tick.C:
					_, err := conn.Write(kind.drip)
					open = !kind.deaf || err == nil
				}
			}
			if took := time.Since(began); took > 15*time.Second {
				t.Errorf("%s: cut off after %s", kind.name, took)
			}
		})
	}
	attackers.Wait()
	tallied(t, len(kinds))
}
