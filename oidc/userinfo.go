package oidc

// UserInfo: OpenID Connect Core §5.3.

import (
	"net/http"

	"gatehouse"
)

// userinfo is what the ID Token says of the PSU; the bank tells no more.
type userinfo struct {
	Subject  string `json:"sub"`
	AuthTime int64  `json:"auth_time,omitzero"`
	ACR      string `json:"acr,omitzero"`
	IntentID string `json:"openbanking_intent_id,omitzero"`
}

func (s *Server) userinfoEndpoint(p *provider) string {
	return s.BaseURL + "/api/oidc/" + p.Code + "/userinfo"
}

// userinfo serves GET and POST /api/oidc/{provider_code}/userinfo.
func (s *Server) userinfo(w http.ResponseWriter, r *http.Request, p *provider) error {
	presented, err := userinfoToken(r)
	if err != nil {
		return err
	}
	t, err := s.admitBearer(r.Context(), p, presented)
	switch {
	case err != nil:
		return err
	case !t.scope.Has(gatehouse.ScopeOpenID):
		return insufficientScope("the access token has no scope openid", gatehouse.Scopes{gatehouse.ScopeOpenID})
	case t.grant.UserID == "":
		return insufficientScope("the access token is of a client, not of a PSU", gatehouse.Scopes{gatehouse.ScopeOpenID})
	}
	s.touch(r.Context(), p, t.grant)
	answer := userinfo{Subject: t.grant.Subject, ACR: t.grant.ACR, IntentID: t.grant.IntentID}
	if !t.grant.AuthTime.IsZero() {
		answer.AuthTime = t.grant.AuthTime.Unix()
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}

// userinfoToken returns the access token, of the Authorization header or of a
// form (RFC 6750 §2.1, §2.2), and never of the query, which ends in logs (RFC
// 9700 §4.3.2).
func userinfoToken(r *http.Request) (string, error) {
	query, err := parseParams(r.URL.RawQuery)
	if err != nil {
		return "", err
	}
	if _, sent := query["access_token"]; sent {
		return "", invalid("access_token must not be in the query")
	}
	if r.Method != http.MethodPost || mediaType(r) != "application/x-www-form-urlencoded" {
		return bearer(r)
	}
	in, err := readForm(r, false)
	if err != nil {
		return "", err
	}
	token, sent := in["access_token"]
	switch {
	case !sent:
		return bearer(r)
	case len(r.Header.Values("Authorization")) > 0:
		return "", gatehouse.NewError(gatehouse.InvalidRequest, "access_token is in the body, and there is an Authorization header").Because(errTwoTokens)
	}
	return token, nil
}
