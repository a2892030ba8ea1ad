package oidc

import (
	"context"
	"embed"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/netip"
	"path"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/connector"
	"gatehouse/eidas"
	"gatehouse/jose"
)

// A Server serves the public surface of a deployment. Set the fields, then
// call Handler once.
type Server struct {
	Store gatehouse.Store
	// KEK opens the signing keys and keys the hashes of client secrets.
	KEK *jose.KEK
	// BaseURL is the public URL of the deployment, without a trailing slash.
	// It never comes from a request.
	BaseURL string
	Now     func() time.Time
	Log     *slog.Logger

	// Directories issue the software statements that are trusted.
	Directories []gatehouse.Directory
	// Trust has the anchors of PSD2 certificates in each environment.
	Trust map[gatehouse.Environment]*eidas.Trust
	// Fetcher reads keys by URL; nil means that none can be.
	Fetcher *jose.Fetcher
	// Banks makes the calls of TellBanks.
	Banks *connector.Caller
	// TrustedProxies are the peers whose X-Forwarded-For is believed, for
	// limits and nothing else.
	TrustedProxies []netip.Prefix
	// TokenOrigins are the origins, such as https://app.example, whose scripts
	// may call the token endpoint.
	TokenOrigins []string
	Limits       Limits
	// After is time.After, and what tests put in its place; nil is the former.
	After func(time.Duration) <-chan time.Time

	providers cache[*provider]
	clients   cache[*client]
	// directories are the keys of those that give them by value.
	directories cache[[]*jose.PublicKey]
	limits      limits
	notices     bell // rung when a notice was written

	verifying, signing queue
}

// Limits of a request; those of headers and connections are the listener's.
const (
	requestDeadline    = 10 * time.Second
	tokenBodyLimit     = 64 << 10
	authorizeBodyLimit = 128 << 10
	connectorBodyLimit = 128 << 10
	// bodySlack is how much of a body may be read beyond the limit, so that the
	// connection can go on.
	bodySlack = 64 << 10
)

// A handler answers a request or returns an error, never both. The provider is
// the one named in the path; nil when the path names none.
type handler func(w http.ResponseWriter, r *http.Request, p *provider) error

// A route says how one path is served.
type route struct {
	pattern string
	methods string          // as in the Allow header
	limit   int64           // of the body, in bytes
	actor   gatehouse.Actor // who decides, for the audit log
	fail    failure
	handle  handler
	cors    origins
}

// origins are those whose scripts may read the answers of a route.
type origins uint8

const (
	noOrigin origins = iota
	anyOrigin
	tokenOrigins // Server.TokenOrigins
)

func (s *Server) routes() []route {
	const get, post = "GET, HEAD", "POST"
	const tpp, bank, psu = gatehouse.ActorClient, gatehouse.ActorBank, gatehouse.ActorPSU
	routes := []route{
		{"/.well-known/openid-configuration/{provider_code}", get, 0, tpp, s.failJSON, s.discovery, anyOrigin},
		{"/{provider_code}/.well-known/openid-configuration", get, 0, tpp, s.failJSON, s.discovery, anyOrigin},
		{"/.well-known/oauth-authorization-server/{provider_code}", get, 0, tpp, s.failJSON, s.discovery, anyOrigin},
		{"/oidc/{provider_code}/jwks", get, 0, tpp, s.failJSON, s.jwks, anyOrigin},

		{"/oidc/{provider_code}/authorize", "GET, POST", authorizeBodyLimit, tpp, s.failPage, s.authorize, noOrigin},
		// No HEAD: whoever looks without following would spend the visit.
		{"/oidc/{provider_code}/authorize/{authorization_id}", "GET", 0, psu, s.failPage, s.complete, noOrigin},

		{"/api/oidc/{provider_code}/tokens", post, tokenBodyLimit, tpp, s.failJSON, s.token, tokenOrigins},
		{"/api/oidc/tokens", post, tokenBodyLimit, tpp, s.failJSON, s.tokenShared, tokenOrigins},
		{"/api/oidc/{provider_code}/introspect", post, tokenBodyLimit, tpp, s.failJSON, s.introspect, noOrigin},
		{"/api/oidc/{provider_code}/revoke", post, tokenBodyLimit, tpp, s.failJSON, s.revoke, noOrigin},
		{"/api/oidc/{provider_code}/userinfo", "GET, POST", tokenBodyLimit, tpp, s.failJSON, s.userinfo, noOrigin},
		{"/api/oidc/{provider_code}/check", "", 0, tpp, s.failJSON, s.check, noOrigin},
		{"/api/oidc/{provider_code}/check/{path...}", "", 0, tpp, s.failJSON, s.check, noOrigin},
		{registrationPath, post, registrationBodyLimit, tpp, s.failJSON, s.register, noOrigin},
		{registrationPath + "/recover", post, registrationBodyLimit, tpp, s.failJSON, s.recoverRegistration, noOrigin},
		{registrationPath + "/{client_id}", "GET, PUT, DELETE", registrationBodyLimit, tpp, s.failJSON, s.manageRegistration, noOrigin},
		{"/api/{provider_code}/open-banking/v3.1/tpp/certificates", post, certificateBodyLimit, tpp, s.failJSON, s.addCertificate, noOrigin},
		{"/api/{provider_code}/open-banking/v3.1/tpp/certificates/{thumbprint}", "DELETE", 0, tpp, s.failJSON, s.removeCertificate, noOrigin},
		{"/api/{provider_code}/open-banking/v3.1.11/tpp/certificates", post, certificateBodyLimit, tpp, s.failJSON, s.addCertificate, noOrigin},

		{"/api/connectors/ob/v1/authorizations", post, connectorBodyLimit, bank, s.failConnector, s.begin, noOrigin},
		{"/api/connectors/ob/v1/authorizations/{authorization_id}", "GET, PUT", connectorBodyLimit, bank, s.failConnector, s.verdict, noOrigin},
		{"/api/connectors/ob/v1/consents/{consent_id}", "GET, PUT", connectorBodyLimit, bank, s.failConnector, s.bankConsent, noOrigin},
		{"/api/connectors/ob/v1/consents/{consent_id}/revoke", "PATCH", connectorBodyLimit, bank, s.failConnector, s.bankRevokes, noOrigin},
		{"/api/connectors/ob/v1/payments/{payment_id}", "PUT", connectorBodyLimit, bank, s.failConnector, s.paymentStatus, noOrigin},
		{"/api/connectors/ob/v1/psu_sessions", post, connectorBodyLimit, bank, s.failConnector, s.handOver, noOrigin},

		{"/oidc/{provider_code}/access", "GET", 0, psu, s.failAccess, s.access, noOrigin},
		{"/oidc/{provider_code}/access/history", "GET", 0, psu, s.failAccess, s.accessHistory, noOrigin},
		{"/oidc/{provider_code}/access/enter/{handover}", "GET", 0, psu, s.failAccess, s.enterAccess, noOrigin},
		{"/oidc/{provider_code}/access/leave", post, accessBodyLimit, psu, s.failAccess, s.leaveAccess, noOrigin},
		{"/oidc/{provider_code}/access/grants/{grant_id}", "GET, POST", accessBodyLimit, psu, s.failAccess, s.withdraw, noOrigin},
		{"/oidc/{provider_code}/theme.css", get, 0, psu, s.failPage, s.theme, noOrigin},

		{"/docs/open_banking/{provider_code}", get, 0, tpp, s.failPage, s.documentation, noOrigin},
		{"/static/{file}", get, 0, tpp, s.failPage, s.static, noOrigin},
		{"/", "", 0, tpp, s.failJSON, nil, noOrigin},
	}
	for path, kind := range consentPaths {
		for _, version := range []string{"v3.1", "v3.1.11"} {
			path := "/api/{provider_code}/open-banking/" + version + path
			routes = append(routes,
				route{path, post, consentBodyLimit, tpp, s.failOpenBanking, s.lodgeConsent(kind), noOrigin},
				route{path + "/{consent_id}", "GET, DELETE", 0, tpp, s.failOpenBanking, s.consent(kind), noOrigin})
		}
	}
	return routes
}

// Handler returns the handler of the public listener.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	for _, route := range s.routes() {
		mux.Handle(route.pattern, s.serve(route))
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// ServeMux redirects paths that it would clean, decodes %2F, and answers
		// what is no path by itself: nothing of ours needs any of it.
		if !strings.HasPrefix(r.URL.Path, "/") || r.URL.Path != path.Clean(r.URL.Path) || strings.ContainsAny(r.URL.EscapedPath(), "%;") || r.Method == http.MethodConnect {
			s.serve(route{fail: s.failJSON}).ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// serve wraps a route: request id, headers that every response has, deadline,
// method, provider, and the only call that writes an error.
func (s *Server) serve(route route) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w := &response{ResponseWriter: rw, started: s.Now(), requestID: requestID(r)}
		w.Header().Set("X-Fapi-Interaction-Id", w.requestID)
		s.harden(w.Header())
		shared := s.share(w.Header(), r, route)
		ctx, cancel := context.WithTimeout(r.Context(), requestDeadline)
		defer cancel()
		ctx = context.WithValue(ctx, addressKey{}, s.clientAddress(r))
		ctx = context.WithValue(ctx, attemptKey{}, new(attempt))
		r = r.WithContext(gatehouse.WithOrigin(ctx, gatehouse.Origin{Actor: route.actor, RequestID: w.requestID}))
		r.Body = http.MaxBytesReader(rw, r.Body, route.limit) // not w: it tells rw to end the connection
		long := r.ProtoMajor == 1 && (r.ContentLength > route.limit+bodySlack || r.ContentLength < 0)
		if long {
			w.Header().Set("Connection", "close")
		}

		var p *provider
		err := func() (err error) {
			defer func() {
				if fault := recover(); fault != nil {
					err = s.panicked(w, fault)
				}
			}()
			if err := checkMethod(w.Header(), r, route, shared); err != nil {
				return err
			}
			if route.handle == nil {
				return gatehouse.NewError(gatehouse.NotFound, "there is nothing at this path")
			}
			if r.Method == http.MethodOptions && shared {
				w.WriteHeader(http.StatusNoContent)
				return nil
			}
			if code := r.PathValue("provider_code"); code != "" {
				if p, err = s.provider(ctx, code); err != nil {
					return err
				}
			}
			return route.handle(w, r, p)
		}()
		if at, ok := errors.AsType[*atProvider](err); ok {
			p = at.provider
		}
		fault := asError(err)
		if fault != nil && !w.wrote {
			if fault.RetryAfter > 0 {
				w.Header().Set("Retry-After", seconds(fault.RetryAfter))
			}
			route.fail(w, r, p, fault)
		}
		if long {
			dropRest(rw, r.Body)
		}
		s.logRequest(r, route, p, w, fault)
	})
}

// dropRest keeps net/http from reading what the handler left of a long body: it
// would take up to 512 KiB. The peer still gets the answer, for net/http ends
// the connection gently once MaxBytesReader has told it to.
func dropRest(rw http.ResponseWriter, body io.Reader) {
	http.NewResponseController(rw).SetReadDeadline(time.Unix(1, 0))
	if _, err := body.Read(make([]byte, 1)); err != io.EOF {
		io.Copy(io.Discard, http.MaxBytesReader(rw, io.NopCloser(strings.NewReader(".")), 0))
	}
}

// harden sets the headers that every response has. Pages replace the
// Content-Security-Policy, documents and assets Cache-Control.
func (s *Server) harden(h http.Header) {
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	if s.secure() {
		h.Set("Strict-Transport-Security", "max-age=31536000") // RFC 6797 §6.1; a year
	}
}

// share lets scripts of other origins read the answers that are meant for them,
// and reports whether it does (Fetch §3.3, CORS protocol).
func (s *Server) share(h http.Header, r *http.Request, route route) bool {
	switch {
	case route.cors == anyOrigin:
		h.Set("Access-Control-Allow-Origin", "*")
		return true
	case route.cors == tokenOrigins && len(s.TokenOrigins) > 0:
		h.Set("Vary", "Origin")
		origin := r.Header.Get("Origin")
		if slices.Contains(s.TokenOrigins, origin) {
			h.Set("Access-Control-Allow-Origin", origin)
			return true
		}
	}
	return false
}

// checkMethod refuses methods that the route does not list. Preflights of a
// route that is shared pass. TRACE, which repeats what a browser hides from
// scripts, and CONNECT are for no route (RFC 9110 §9.3.8, §9.3.6).
func checkMethod(h http.Header, r *http.Request, route route, shared bool) error {
	switch {
	case r.Method == http.MethodTrace || r.Method == http.MethodConnect:
	case route.methods == "" || slices.Contains(strings.Split(route.methods, ", "), r.Method): // exactly: HTTP/2 hands on any text
		return nil
	case r.Method == http.MethodOptions && shared:
		h.Set("Access-Control-Allow-Methods", route.methods)
		h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, X-Fapi-Interaction-Id")
		h.Set("Access-Control-Max-Age", "86400")
		return nil
	}
	h.Set("Allow", route.methods)
	return gatehouse.NewError(gatehouse.MethodNotAllowed, "this endpoint does not take the method; see Allow")
}

// asError turns every error into one whose text may be shown.
func asError(err error) *gatehouse.Error {
	if err == nil {
		return nil
	}
	if fault, ok := errors.AsType[*gatehouse.Error](err); ok {
		return fault
	}
	return gatehouse.NewError(gatehouse.ServerError, "the server failed; its log has the request id").Because(err)
}

// unavailable is the answer when the store cannot say: never a statement about
// the request.
func unavailable(cause error) *gatehouse.Error {
	fault := gatehouse.NewError(gatehouse.Unavailable, "the server cannot answer now, please try again").Because(cause)
	fault.RetryAfter = 2 * time.Second
	return fault
}

// panicked logs a panic with its stack. The value is logged only when the
// runtime made it: any other could hold what a client sent.
func (s *Server) panicked(w *response, fault any) error {
	text := "a value of the program"
	if err, ok := fault.(runtime.Error); ok {
		text = err.Error()
	}
	s.Log.Error("panic", "request_id", w.requestID, "panic", text, "stack", string(debug.Stack()))
	return gatehouse.NewError(gatehouse.ServerError, "the server failed; its log has the request id "+w.requestID)
}

// logRequest writes one line for each request: no query, no body, no header.
func (s *Server) logRequest(r *http.Request, route route, p *provider, w *response, fault *gatehouse.Error) {
	attrs := []slog.Attr{
		slog.String("request_id", w.requestID),
		slog.String("method", knownMethod(r.Method)),
		slog.String("route", route.pattern),
		slog.Int("status", w.status),
		slog.Float64("duration_ms", float64(s.Now().Sub(w.started).Microseconds())/1000),
	}
	if p != nil {
		attrs = append(attrs, slog.String("provider_code", p.Code))
	}
	attempt := attemptOf(r.Context())
	for _, known := range []struct{ name, value string }{
		{"client_id", attempt.clientID}, {"resource_server_id", attempt.resourceServerID}, {"app_id", attempt.appID}, {"auth_method", attempt.method}, {"kid", attempt.kid},
	} {
		if known.value != "" {
			attrs = append(attrs, slog.String(known.name, known.value))
		}
	}
	level := slog.LevelInfo
	if fault != nil {
		attrs = append(attrs, slog.String("kind", fault.Kind.String()), slog.String("error", fault.Description))
		if why, ok := errors.AsType[reason](fault.Err); ok {
			attrs = append(attrs, slog.String("reason", string(why)))
		} else if fault.Err != nil {
			attrs = append(attrs, slog.String("cause", fault.Err.Error()))
		}
		if fault.Kind.Status("") >= 500 {
			level = slog.LevelError
		}
	}
	s.Log.LogAttrs(r.Context(), level, "request", attrs...)
}

func knownMethod(method string) string {
	switch method {
	case "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT":
		return method
	}
	return "other"
}

// requestID takes the caller's x-fapi-interaction-id (FAPI 1.0 Baseline
// §6.2.1) when it looks like an id, or makes one.
func requestID(r *http.Request) string {
	id := r.Header.Get("X-Fapi-Interaction-Id")
	if len(id) < 8 || len(id) > 64 || strings.Trim(id, "0123456789abcdefABCDEF-") != "" {
		return newUUID()
	}
	return id
}

// A response remembers what was written.
type response struct {
	http.ResponseWriter
	requestID string
	started   time.Time
	status    int
	wrote     bool
}

func (w *response) WriteHeader(status int) {
	if !w.wrote {
		w.wrote, w.status = true, status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *response) Write(b []byte) (int, error) {
	if !w.wrote {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap serves http.ResponseController.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

//go:embed static
var staticFiles embed.FS

func (s *Server) static(w http.ResponseWriter, r *http.Request, _ *provider) error {
	name := "static/" + r.PathValue("file")
	if _, err := fs.Stat(staticFiles, name); err != nil {
		return gatehouse.NewError(gatehouse.NotFound, "there is nothing at this path")
	}
	// A file is served whole (RFC 9110 §14.2): many ranges are many parts, and
	// the answer to none that fits would lose its Cache-Control.
	r.Header.Del("Range")
	r.Header.Del("If-Range")
	w.Header().Set("Cache-Control", "public, max-age=3600")
	http.ServeFileFS(w, r, staticFiles, name)
	return nil
}

// Watch lets the caches hear of changes that other processes make, until ctx
// ends.
func (s *Server) Watch(ctx context.Context) {
	s.Store.Watch(ctx, func(change gatehouse.Change) {
		if change.ClientID == "" {
			s.providers.doubt(change.Provider)
		}
		if change.Provider == "" {
			s.clients.doubt(change.ClientID)
		}
	})
}

// Errors of Ready.
var (
	ErrDatabase = errors.New("database is not available")
	ErrKeys     = errors.New("signing keys are not available")
)

// Ready reports whether the server can issue tokens: nil, or an error that is
// ErrDatabase or ErrKeys.
func (s *Server) Ready(ctx context.Context) error {
	if err := s.Store.Ping(ctx); err != nil {
		return errors.Join(ErrDatabase, err)
	}
	providers, err := s.Store.Providers(ctx, "", 1000)
	if err != nil {
		return errors.Join(ErrDatabase, err)
	}
	for _, p := range providers {
		if _, err := s.cachedProvider(ctx, p.Code); err != nil {
			return errors.Join(ErrKeys, err)
		}
	}
	return nil
}
