package connector

import (
	"strings"
	"time"
	"unicode"

	"gatehouse/jose"
)

// A HandOver says that the bank has authenticated a PSU who wants to see what
// they have granted.
type HandOver struct {
	UserID string
}

// ReadHandOver reads the body of a hand-over. It has one member and no other:
// a verdict, which names the PSU too, is not taken for one.
func ReadHandOver(body []byte, keys []*jose.PublicKey, now time.Time) (*HandOver, error) {
	data, err := open(body, keys, now)
	if err != nil {
		return nil, err
	}
	h := &HandOver{}
	if h.UserID, err = userID(data); err != nil {
		return nil, err
	}
	if len(data) != 1 {
		return nil, invalid("data has a member besides user_id")
	}
	return h, nil
}

// userID is the bank's identifier of the PSU.
func userID(data jose.Claims) (string, error) {
	id, err := data.String("user_id")
	if err != nil {
		return "", invalid("data." + err.Error())
	}
	if len(id) > 255 || strings.ContainsFunc(id, unicode.IsControl) {
		return "", invalid("data.user_id must be at most 255 bytes without control characters")
	}
	return id, nil
}
