package gatehouse

import "time"

// An Error is the only error whose text reaches a caller of the public API.
// Description goes to the caller: lower case, it names the parameter at fault
// and the rule, and never repeats a value of the request. Err, the cause, goes
// to the log and nowhere else.
type Error struct {
	Kind        Kind
	Description string
	Err         error
	// RetryAfter, when set, is sent as the Retry-After header (RFC 9110 §10.2.3).
	RetryAfter time.Duration
}

// NewError makes an Error from a constant text; there is no formatting variant,
// which would invite values of the request into descriptions.
func NewError(kind Kind, description string) *Error {
	return &Error{Kind: kind, Description: description}
}

// Because records the cause for the log and returns e.
func (e *Error) Because(cause error) *Error {
	e.Err = cause
	return e
}

func (e *Error) Error() string {
	text := e.Kind.Code() + ": " + e.Description
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

func (e *Error) Unwrap() error { return e.Err }

// A Kind alone decides the OAuth error code, the error class and the HTTP
// status of an Error; Kinds is the whole table.
type Kind uint8

// The kinds of error, in the order of the table.
const (
	InvalidRequest Kind = iota
	UnknownProvider
	ProviderDisabled
	InvalidClientAssertion
	UnknownClient
	UnauthorizedClient
	UnsupportedGrantType
	UnknownCode
	PendingCode
	InvalidGrant
	InvalidScope
	AccessDenied
	InvalidRequestObject
	InvalidRedirectURI
	InvalidClientMetadata
	InvalidSoftwareStatement
	UnapprovedSoftwareStatement
	InvalidToken
	InsufficientScope
	InvalidRequestURI
	LoginRequired
	UnsupportedResponseType
	NotFound
	MethodNotAllowed
	PayloadTooLarge
	UnsupportedMediaType
	RateLimited
	Unavailable
	ServerError
)

// KindRow is one row of the error table.
type KindRow struct {
	Name  string // the kind, as documentation calls it
	Code  string // the `error` member: RFC 6749 §5.2 and its extensions
	Class string // the `error_class` member: the product's own vocabulary
	PSD2  int    // HTTP status in profile psd2
	HTTP  int    // HTTP status in every other profile
	Text  string // what it means, for the documentation page
}

var kinds = [...]KindRow{
	InvalidRequest:              {"InvalidRequest", "invalid_request", "InvalidRequest", 400, 400, "A parameter is missing, repeated or malformed."},
	UnknownProvider:             {"UnknownProvider", "invalid_request", "NotFound", 404, 404, "No provider has this provider_code."},
	ProviderDisabled:            {"ProviderDisabled", "access_denied", "Forbidden", 403, 403, "The provider is switched off."},
	InvalidClientAssertion:      {"InvalidClientAssertion", "invalid_client", "InvalidClientAssertion", 400, 401, "The client could not be authenticated."},
	UnknownClient:               {"UnknownClient", "invalid_client", "NotFound", 404, 401, "No client has this client_id."},
	UnauthorizedClient:          {"UnauthorizedClient", "unauthorized_client", "Forbidden", 403, 400, "The client may not do this at this provider."},
	UnsupportedGrantType:        {"UnsupportedGrantType", "unsupported_grant_type", "InvalidRequest", 400, 400, "The grant_type is none of those in discovery."},
	UnknownCode:                 {"UnknownCode", "invalid_grant", "NotFound", 404, 400, "The client has no such code."},
	PendingCode:                 {"PendingCode", "authorization_pending", "TooEarly", 425, 400, "The PSU has not decided yet; try again after Retry-After seconds with a fresh assertion."},
	InvalidGrant:                {"InvalidGrant", "invalid_grant", "InvalidRequest", 400, 400, "The code or refresh token is expired, used, revoked or bound to something else."},
	InvalidScope:                {"InvalidScope", "invalid_scope", "InvalidRequest", 400, 400, "The scope is wider than the client or the grant allows."},
	AccessDenied:                {"AccessDenied", "access_denied", "Forbidden", 403, 403, "The PSU, the bank or a rule of the provider refused."},
	InvalidRequestObject:        {"InvalidRequestObject", "invalid_request_object", "InvalidRequest", 400, 400, "The signed request object is not valid."},
	InvalidRedirectURI:          {"InvalidRedirectURI", "invalid_redirect_uri", "InvalidRequest", 400, 400, "The redirect_uri is not registered for the client."},
	InvalidClientMetadata:       {"InvalidClientMetadata", "invalid_client_metadata", "InvalidRequest", 400, 400, "A member of the client's metadata is not acceptable."},
	InvalidSoftwareStatement:    {"InvalidSoftwareStatement", "invalid_software_statement", "InvalidRequest", 400, 400, "The software statement is not valid."},
	UnapprovedSoftwareStatement: {"UnapprovedSoftwareStatement", "unapproved_software_statement", "InvalidRequest", 400, 400, "The software statement is of a directory that is not trusted here."},
	InvalidToken:                {"InvalidToken", "invalid_token", "Forbidden", 401, 401, "The access token is unknown, expired or revoked."},
	InsufficientScope:           {"InsufficientScope", "insufficient_scope", "Forbidden", 403, 403, "The access token is not for this."},
	InvalidRequestURI:           {"InvalidRequestURI", "invalid_request_uri", "InvalidRequest", 400, 400, "The request_uri is not known here."},
	LoginRequired:               {"LoginRequired", "login_required", "Forbidden", 403, 400, "The PSU must log in and prompt=none forbids asking."},
	UnsupportedResponseType:     {"UnsupportedResponseType", "unsupported_response_type", "InvalidRequest", 400, 400, "The response_type is none of those in discovery."},
	NotFound:                    {"NotFound", "invalid_request", "NotFound", 404, 404, "There is nothing at this address, or nothing of the caller's."},
	MethodNotAllowed:            {"MethodNotAllowed", "invalid_request", "InvalidRequest", 405, 405, "The endpoint does not take this HTTP method."},
	PayloadTooLarge:             {"PayloadTooLarge", "invalid_request", "InvalidRequest", 413, 413, "The body is larger than the endpoint takes."},
	UnsupportedMediaType:        {"UnsupportedMediaType", "invalid_request", "InvalidRequest", 415, 415, "The Content-Type is not one the endpoint takes."},
	RateLimited:                 {"RateLimited", "slow_down", "TooManyRequests", 429, 429, "Too many requests; try again after Retry-After seconds."},
	Unavailable:                 {"Unavailable", "temporarily_unavailable", "ServiceUnavailable", 503, 503, "The server cannot answer now; try again after Retry-After seconds."},
	ServerError:                 {"ServerError", "server_error", "InternalServerError", 500, 500, "A fault of the server; its log has the request id."},
}

// Kinds returns the error table, for documentation and tests.
func Kinds() []KindRow { return append([]KindRow(nil), kinds[:]...) }

// Code is the value of the `error` member.
func (k Kind) Code() string { return kinds[k].Code }

// Class is the value of the `error_class` member.
func (k Kind) Class() string { return kinds[k].Class }

// String is the kind's name in the table.
func (k Kind) String() string { return kinds[k].Name }

// Status is the HTTP status of the kind at a provider with the given profile;
// profile "" is for faults found before the provider is known.
func (k Kind) Status(profile Profile) int {
	if profile == ProfilePSD2 {
		return kinds[k].PSD2
	}
	return kinds[k].HTTP
}
