package oidc

// The wire form of errors on the Open Banking APIs: UK Open Banking Read/Write
// API Profile 3.1, "Error Response Structure" and "HTTP Status Codes";
// OBErrorResponseError1Code of its Namespaced Enumerations.

import (
	"errors"
	"net/http"
	"strconv"
	"strings"

	"gatehouse"
)

// The values of ErrorCode that are in use.
const (
	codeFieldExpected         = "UK.OBIE.Field.Expected"
	codeFieldInvalid          = "UK.OBIE.Field.Invalid"
	codeFieldInvalidDate      = "UK.OBIE.Field.InvalidDate"
	codeFieldMissing          = "UK.OBIE.Field.Missing"
	codeFieldUnexpected       = "UK.OBIE.Field.Unexpected"
	codeHeaderInvalid         = "UK.OBIE.Header.Invalid"
	codeInvalidConsentStatus  = "UK.OBIE.Resource.InvalidConsentStatus"
	codeInvalidFormat         = "UK.OBIE.Resource.InvalidFormat"
	codeNotFound              = "UK.OBIE.Resource.NotFound"
	codeSignatureInvalid      = "UK.OBIE.Signature.Invalid"
	codeSignatureInvalidClaim = "UK.OBIE.Signature.InvalidClaim"
	codeSignatureMalformed    = "UK.OBIE.Signature.Malformed"
	codeUnsupportedIdentifier = "UK.OBIE.Unsupported.AccountIdentifier"
	codeUnexpectedError       = "UK.OBIE.UnexpectedError"
)

// An openBankingFault is one member of Errors. Its texts hold no value of the
// request; Path may name a member that is not known here.
type openBankingFault struct {
	ErrorCode string
	Message   string
	Path      string `json:",omitempty"`
}

// openBankingFaults are Errors, on their way as the cause of a
// gatehouse.Error.
type openBankingFaults []openBankingFault

func (f openBankingFaults) Error() string {
	var texts []string
	for _, fault := range f {
		texts = append(texts, fault.ErrorCode+": "+fault.Message)
	}
	return strings.Join(texts, "; ")
}

// refusal is a 400 with one ErrorCode. Path is a member, a header or a claim,
// or empty.
func refusal(code, path, message string) error {
	return gatehouse.NewError(gatehouse.InvalidRequest, message).Because(openBankingFaults{{code, message, path}})
}

// failOpenBanking writes an error of the Open Banking APIs. Their statuses are
// the same in every profile.
func (s *Server) failOpenBanking(w *response, r *http.Request, p *provider, fault *gatehouse.Error) {
	if challenge := bearerChallenge(fault); challenge != "" {
		w.Header().Set("WWW-Authenticate", challenge)
	}
	status := fault.Kind.Status(gatehouse.ProfilePSD2)
	if status == http.StatusUnauthorized { // "401 (Unauthorized)": without any error response
		w.WriteHeader(status)
		return
	}
	faults, detailed := errors.AsType[openBankingFaults](fault)
	if !detailed {
		faults = openBankingFaults{faultOfKind(fault)}
	}
	writeJSON(w, status, struct {
		Code    string
		ID      string `json:"Id"`
		Message string
		Errors  openBankingFaults
	}{
		Code:    strconv.Itoa(status) + " " + strings.ReplaceAll(http.StatusText(status), " ", ""),
		ID:      w.requestID[:min(len(w.requestID), 40)], // Max40Text
		Message: fault.Description,
		Errors:  faults,
	})
}

// faultOfKind is the nearest ErrorCode for what is no fault of a body. There
// is none for most statuses but 400.
func faultOfKind(fault *gatehouse.Error) openBankingFault {
	switch fault.Kind {
	case gatehouse.UnknownProvider, gatehouse.NotFound:
		return openBankingFault{ErrorCode: codeNotFound, Message: fault.Description}
	case gatehouse.InvalidRequest, gatehouse.PayloadTooLarge:
		return openBankingFault{ErrorCode: codeInvalidFormat, Message: fault.Description}
	case gatehouse.UnsupportedMediaType:
		return openBankingFault{codeHeaderInvalid, fault.Description, "Content-Type"}
	case gatehouse.InsufficientScope:
		return openBankingFault{codeHeaderInvalid, fault.Description, "Authorization"}
	}
	return openBankingFault{ErrorCode: codeUnexpectedError, Message: fault.Description}
}
