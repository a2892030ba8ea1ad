package demobank

// RFC 7591 §2.3 (software statements), UK Open Banking Dynamic Client Registration 3.3 (their claims), ETSI TS 119 495
// (certificates): the last section of docs/registration.md

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"gatehouse/eidas"
	"gatehouse/jose"
)

// DefaultOrgID is the organisation of those who name none to a Directory.
const DefaultOrgID = "PSDGB-FCA-123456"

// How long what a Directory issues is good for.
const (
	statementLife   = time.Hour
	certificateLife = 90 * 24 * time.Hour
	caLife          = 10 * 365 * 24 * time.Hour
)

// The bounds of what a Directory is asked.
const (
	maxDirectoryBody = 64 << 10
	maxNesting       = 8
	maxList          = 100
	maxName          = 100 // characters
)

// A Directory vouches for the TPPs of a sandbox, as the UK Open Banking Directory and the qualified issuers of the EU
// do for real ones. It believes whatever it is told, so nobody but sandbox providers may trust it. It keeps nothing: a
// new statement for a known software_id is how software changes its keys and redirect_uris. Set the exported fields,
// then call Handler once.
type Directory struct {
	URL    string            // public base, such as http://127.0.0.1:8081/directory
	Issuer string            // iss of its statements; the same wherever URL moves, for registrations are bound to it
	Key    *jose.PrivateKey  // signs statements; PS256
	CA     *x509.Certificate // issues certificates; see NewCA
	CAKey  crypto.Signer
	Now    func() time.Time
	Log    *slog.Logger
}

// NewCA makes an authority for a Directory to issue certificates by.
func NewCA(now time.Time) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{Organization: []string{"Gatehouse"}, CommonName: "Gatehouse sandbox directory"},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(caLife),
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, nil, err
	}
	ca, err := x509.ParseCertificate(der)
	return ca, key, err
}

// Handler serves everything below the path of URL, which it expects on every request.
func (d *Directory) Handler() http.Handler {
	u, err := url.Parse(d.URL)
	if err != nil {
		panic("demobank: Directory.URL: " + err.Error())
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+u.Path+"/software-statements", d.serve(d.issueStatement))
	mux.HandleFunc("POST "+u.Path+"/certificates", d.serve(d.issueCertificate))
	mux.HandleFunc("GET "+u.Path+"/jwks", d.serve(d.jwks))
	return guard(mux)
}

// A directoryFault is what a Directory says of a request it refuses. The form is that of RFC 7591 §3.2.2.
type directoryFault struct {
	status      int
	description string
}

func (f *directoryFault) Error() string { return f.description }

func badRequest(description string) error { return &directoryFault{http.StatusBadRequest, description} }

// serve writes what the handler answers, or why it does not.
func (d *Directory) serve(handle func(w http.ResponseWriter, r *http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		answer, err := handle(w, r)
		status := http.StatusOK
		if err != nil {
			status, answer = http.StatusInternalServerError, map[string]string{"error": "server_error"}
			if f, ok := errors.AsType[*directoryFault](err); ok {
				status, answer = f.status, map[string]string{"error": "invalid_request", "error_description": f.description}
			}
			d.Log.WarnContext(r.Context(), "the directory refused", "status", status, "error", err)
		}
		body, err := json.Marshal(answer)
		if err != nil {
			panic(err) // the answers are all of this file
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = w.Write(body) // a caller that went away is no fault
	}
}

func (d *Directory) jwks(http.ResponseWriter, *http.Request) (any, error) {
	return jose.JWKS{Keys: []*jose.PublicKey{d.Key.Public()}}, nil
}

// A statementRequest is what a TPP says of its software.
type statementRequest struct {
	ClientName   string          `json:"client_name"`
	RedirectURIs []string        `json:"redirect_uris"`
	Roles        []string        `json:"roles"`
	JWKS         json.RawMessage `json:"jwks"`
	OrgID        string          `json:"org_id,omitempty"`
	SoftwareID   string          `json:"software_id,omitempty"`
}

// A statementAnswer is the statement, and by what names it goes.
type statementAnswer struct {
	Statement  string `json:"software_statement"`
	SoftwareID string `json:"software_id"`
	OrgID      string `json:"org_id"`
}

// softwareRoles are the roles that software may have; a bank (ASPSP) is no third party.
var softwareRoles = []string{"AISP", "PISP", "CBPII"}

// identifier is what org_id and software_id may be.
var identifier = regexp.MustCompile(`^[0-9A-Za-z_.:-]{1,64}$`)

func (d *Directory) issueStatement(w http.ResponseWriter, r *http.Request) (any, error) {
	q := statementRequest{OrgID: DefaultOrgID, SoftwareID: rand.Text()}
	if err := readJSON(w, r, &q); err != nil {
		return nil, err
	}
	set, err := jose.ParseJWKS(q.JWKS)
	switch {
	case err != nil:
		return nil, badRequest("jwks: " + err.Error())
	case len(set.Keys) == 0:
		return nil, badRequest("jwks has no key for signatures")
	case q.ClientName == "" || len([]rune(q.ClientName)) > maxName:
		return nil, badRequest("client_name must be 1 to 100 characters")
	case len(q.RedirectURIs) == 0 || len(q.RedirectURIs) > maxList || !all(q.RedirectURIs, isAbsolute):
		return nil, badRequest("redirect_uris must be 1 to 100 absolute URIs")
	case len(q.Roles) == 0 || len(q.Roles) > len(softwareRoles) || !all(q.Roles, func(role string) bool { return slices.Contains(softwareRoles, role) }):
		return nil, badRequest("roles must be some of AISP, PISP, CBPII")
	case !identifier.MatchString(q.OrgID):
		return nil, badRequest("org_id must be 1 to 64 letters, digits and _.:-")
	case !identifier.MatchString(q.SoftwareID):
		return nil, badRequest("software_id must be 1 to 64 letters, digits and _.:-")
	}
	now := d.Now()
	statement, err := d.Key.Sign("JWT", map[string]any{
		"iss":                    d.Issuer,
		"iat":                    now.Unix(),
		"exp":                    now.Add(statementLife).Unix(),
		"jti":                    random(),
		"org_id":                 q.OrgID,
		"org_name":               "Sandbox TPP " + q.OrgID,
		"software_id":            q.SoftwareID,
		"software_client_name":   q.ClientName,
		"software_redirect_uris": q.RedirectURIs,
		"software_roles":         q.Roles,
		"software_jwks":          set,
		"software_environment":   "sandbox",
	})
	if err != nil {
		return nil, err
	}
	d.Log.InfoContext(r.Context(), "software statement issued", "org_id", q.OrgID, "software_id", q.SoftwareID)
	return statementAnswer{statement, q.SoftwareID, q.OrgID}, nil
}

// A certificateRequest is what a TPP wants certified. The proof that it has the private key, which a certification
// request (RFC 2986) would bring, comes when the certificate is used.
type certificateRequest struct {
	Type      eidas.Kind   `json:"type"`
	PublicKey string       `json:"public_key"` // PEM
	OrgID     string       `json:"org_id,omitempty"`
	Roles     []eidas.Role `json:"roles"`
}

type certificateAnswer struct {
	Certificate string `json:"certificate"` // PEM
}

// tppRoles are the roles that a certificate may give.
var tppRoles = []eidas.Role{eidas.AccountInformation, eidas.PaymentInitiation, eidas.CardIssuing}

// psdIdentifier is an organizationIdentifier: country, authority, number (ETSI TS 119 495 §5.2.1).
var psdIdentifier = regexp.MustCompile(`^PSD([A-Z]{2})-([A-Z]{2,8})-[0-9A-Za-z_.:-]{1,40}$`)

func (d *Directory) issueCertificate(w http.ResponseWriter, r *http.Request) (any, error) {
	q := certificateRequest{OrgID: DefaultOrgID}
	if err := readJSON(w, r, &q); err != nil {
		return nil, err
	}
	key, err := jose.ParsePublicKeyPEM([]byte(q.PublicKey), "", "")
	id := psdIdentifier.FindStringSubmatch(q.OrgID)
	switch {
	case !q.Type.Valid():
		return nil, badRequest("type must be qwac, qseal, obwac or obseal")
	case err != nil:
		return nil, badRequest("public_key: " + err.Error())
	case id == nil:
		return nil, badRequest("org_id must be like " + DefaultOrgID)
	case len(q.Roles) == 0 || len(q.Roles) > len(tppRoles) || !all(q.Roles, func(role eidas.Role) bool { return slices.Contains(tppRoles, role) }):
		return nil, badRequest("roles must be some of PSP_AI, PSP_PI, PSP_IC")
	}
	country, authority := id[1], id[2]
	statements, err := eidas.Extension(q.Type, q.Roles, "Sandbox authority "+authority, country+"-"+authority)
	if err != nil {
		return nil, err
	}
	now := d.Now()
	template := &x509.Certificate{
		Subject:         eidas.Subject(country, "Sandbox TPP "+q.OrgID, q.OrgID, "tpp.example"),
		NotBefore:       now.Add(-time.Minute),
		NotAfter:        now.Add(certificateLife),
		KeyUsage:        x509.KeyUsageDigitalSignature,
		ExtraExtensions: []pkix.Extension{statements},
	}
	if q.Type.Web() {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, d.CA, key.Key, d.CAKey)
	if err != nil {
		return nil, err
	}
	d.Log.InfoContext(r.Context(), "certificate issued", "org_id", q.OrgID, "type", q.Type)
	return certificateAnswer{string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))}, nil
}

// readJSON reads the body into a struct: one object of known members, none twice.
func readJSON(w http.ResponseWriter, r *http.Request, into any) error {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != contentTypeJSON {
		return &directoryFault{http.StatusUnsupportedMediaType, "the body must be application/json"}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxDirectoryBody))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return &directoryFault{http.StatusRequestEntityTooLarge, "the body is longer than 64 KiB"}
	}
	if err != nil {
		return badRequest("the body could not be read")
	}
	if _, err := jose.ParseObject(body, maxNesting); err != nil {
		return badRequest("the body: " + err.Error())
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return badRequest("the body has a member that is not known here, or of another type")
	}
	return nil
}

func isAbsolute(uri string) bool {
	u, err := url.Parse(uri)
	return err == nil && u.IsAbs() && u.Host != "" && len(uri) <= 2048 && !strings.ContainsAny(uri, "#* ")
}

func all[T any](list []T, holds func(T) bool) bool {
	return !slices.ContainsFunc(list, func(v T) bool { return !holds(v) })
}
