package oidc_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// The storm is as long as GATEHOUSE_TEST_STORM says, and throws what
// GATEHOUSE_TEST_SEED says: the same bytes again, though not at the same time.
const (
	envStorm = "GATEHOUSE_TEST_STORM"
	envSeed  = "GATEHOUSE_TEST_SEED"
)

// A thrower draws from a stream that its seed decides.
type thrower struct{ stream cipher.Stream }

func newThrower(t testing.TB, seed string, n int) *thrower {
	sum := sha256.Sum256(append([]byte(seed), byte(n)))
	block, err := aes.NewCipher(sum[:])
	must(t, err)
	return &thrower{cipher.NewCTR(block, make([]byte, aes.BlockSize))}
}

func (d *thrower) bytes(n int) []byte {
	b := make([]byte, n)
	d.stream.XORKeyStream(b, b)
	return b
}

// under draws a number from 0 to below n.
func (d *thrower) under(n int) int { return int(binary.BigEndian.Uint64(d.bytes(8)) % uint64(n)) }

// morsels are what parsers stumble over.
var morsels = []string{
	"", "\x00", "\r\n", "\n", "\r\n\r\n", " ", "\t", "%", "%00", "%2f", "%0d%0a", "&", "=", ";", "+", ".", "..", "/", "//", "\\", "\"", "'", "{", "}", "[", "]", "[[[[", "{\"a\":", "null", "true", "-0", "1e999",
	"9223372036854775808", "\xff", "\xc0\x80", "\xed\xa0\x80", "\u202e", "\ufeff", "<script>", "{{.}}", "Content-Length: 1\r\n", "Transfer-Encoding: chunked\r\n", "Expect: 100-continue\r\n", "Connection: close\r\n",
	"eyJhbGciOiJub25lIn0.e30.", "client_id=tpp-a", "&client_id=", "alpha", "beta", "gamma", "closed", "ALPHA", "Bearer ", "Basic ", "application/json", "urn:ietf:params:oauth:grant-type:jwt-bearer", "HTTP/1.1", "HTTP/0.9",
}

// mar changes a text in one to eight places.
func (d *thrower) mar(text []byte) []byte {
	text = bytes.Clone(text)
	for range 1 + d.under(8) {
		at := d.under(len(text) + 1)
		end := min(len(text), at+d.under(1+[]int{1, 8, 64, 4096}[d.under(4)]))
		var put []byte
		switch d.under(6) {
		case 0:
			put = d.bytes(d.under(9))
		case 1:
			put = bytes.Repeat(text[at:end], 1+d.under(4)) // again
		case 2:
			end = at
			put = []byte(strings.Repeat(morsels[d.under(len(morsels))], 1+d.under(300)))
		case 3: // is left out
		default:
			put = []byte(morsels[d.under(len(morsels))])
		}
		text = append(text[:at:at], append(put, text[end:]...)...)
		if len(text) > 300<<10 {
			text = text[:300<<10]
		}
	}
	return text
}

// request is a request of the surface with its parts marred and a length that
// is right: it gets to what reads the body.
func (d *thrower) request(raw []byte) []byte {
	head, body, _ := bytes.Cut(raw, []byte("\r\n\r\n"))
	lines := strings.Split(string(head), "\r\n")
	if d.under(2) == 0 && len(body) > 0 {
		body = d.mar(body)
	} else {
		i := d.under(len(lines))
		lines[i] = strings.NewReplacer("\r", "", "\n", "").Replace(string(d.mar([]byte(lines[i]))))
	}
	var b bytes.Buffer
	for _, line := range lines {
		if !strings.HasPrefix(line, "Content-Length:") {
			b.WriteString(line + "\r\n")
		}
	}
	b.WriteString("Content-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n")
	b.Write(body)
	return b.Bytes()
}

// A strainer is a log of which only what is wrong is kept.
type strainer struct {
	requests atomic.Int64
	mu       sync.Mutex
	wrong    []string
}

func (s *strainer) Write(line []byte) (int, error) {
	if bytes.Contains(line, []byte(`"msg":"request"`)) {
		s.requests.Add(1)
	}
	if fault := faultOf(string(line)); fault != "" {
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.wrong) < 10 {
			s.wrong = append(s.wrong, fault+": "+string(line))
		}
	}
	return len(line), nil
}

const throwers = 4

// Four connections at a time throw raw bytes and marred requests at every
// public route. Nothing is a fault of the server's, and nothing is left when it
// is over.
//
// Proves: N22, O20
func TestStorm(t *testing.T) {
	length := 3 * time.Second
	if text := os.Getenv(envStorm); text != "" {
		var err error
		length, err = time.ParseDuration(text)
		must(t, err)
	}
	seed := os.Getenv(envSeed)
	if seed == "" {
		var b [16]byte
		rand.Read(b[:])
		seed = hex.EncodeToString(b[:])
	}
	t.Logf("%s=%s", envSeed, seed)

	goroutines, files := leftovers(t)
	w := sqliteWorld(t)
	// Each thrower has its own, for the second of two who change one thing at
	// one moment is told to come again, by 503.
	guard := w.guard("alpha")
	var raws [throwers][][]byte
	for n := range raws {
		for _, r := range surface(w, fmt.Sprint("surface-", n), guard) {
			raws[n] = append(raws[n], dump(t, r))
		}
	}
	log := &strainer{}
	server := w.server(w.store)
	server.Log = slog.New(slog.NewJSONHandler(log, nil))
	exchange, stop := wire(t, server.Handler(), server.Log)
	var sent atomic.Int64
	var workers sync.WaitGroup
	end := time.Now().Add(length)
	for n := range throwers {
		d, raws := newThrower(t, seed, n), raws[n]
		workers.Go(func() {
			for time.Now().Before(end) && !t.Failed() {
				raw := raws[d.under(len(raws))]
				switch d.under(8) {
				case 0:
					raw = d.bytes(d.under(2000))
				case 1, 2:
					raw = d.mar(raw)
				case 3:
					raw = append(d.request(raw), d.mar(raws[d.under(len(raws))])...)
				default:
					raw = d.request(raw)
				}
				wallRaw(t, raw, exchange(t, raw))
				sent.Add(1)
			}
		})
	}
	workers.Wait()
	for _, wrong := range log.wrong {
		t.Error(wrong)
	}
	if log.requests.Load() < sent.Load()/4 {
		t.Errorf("%d of %d reached the server", log.requests.Load(), sent.Load())
	}
	t.Logf("%d connections, %d requests", sent.Load(), log.requests.Load())

	stop()
	w.site.Close()
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	must(t, w.store.Close())
	patience := time.Now().Add(20 * time.Second)
	for {
		g, f := leftovers(t)
		if g <= goroutines && f <= files {
			break
		}
		if time.Now().After(patience) {
			var b [1 << 20]byte
			t.Fatalf("%d goroutines were %d, %d files were %d\n%s", g, goroutines, f, files, b[:runtime.Stack(b[:], true)])
		}
		runtime.Gosched()
	}
}

// leftovers counts goroutines and open files.
func leftovers(t testing.TB) (goroutines, files int) {
	t.Helper()
	open, err := os.ReadDir("/dev/fd")
	must(t, err)
	return runtime.NumGoroutine(), len(open)
}
