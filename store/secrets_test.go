package store_test

import (
	"encoding/base64"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/store/storetest"
)

// A whole life of a grant leaves neither its code nor a token in the database,
// in any encoding, nor a key of the replay memory, which came from outside.
// Proves: K10
func TestHashesOnly(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		db, ctx := open(t, url), t.Context()
		code, jti := gatehouse.NewSecret(), gatehouse.NewSecret()
		accessID, access := gatehouse.NewToken(now)
		refreshID, refresh := gatehouse.NewToken(now)
		secondID, second := gatehouse.NewToken(now)

		a := aVisit("alpha", "visit")
		a.CodeHash = gatehouse.HashSecret(code)
		must(t, db.CreateAuthorization(ctx, a))
		must(t, db.ApproveAuthorization(ctx, "alpha", "visit", aGrant("alpha", "grant"), now))
		must(t, db.Consume(ctx, "", gatehouse.ConsumeAssertion, jti, now, now.Add(time.Minute), now))
		accessToken, refreshToken := anAccessToken("alpha", accessID, "grant"), aRefreshToken("alpha", refreshID, "grant")
		accessToken.Hash, refreshToken.Hash = gatehouse.HashSecret(access), gatehouse.HashSecret(refresh)
		must(t, db.ExchangeCode(ctx, "alpha", "visit", accessToken, refreshToken, now))
		secondToken := anAccessToken("alpha", secondID, "grant")
		secondToken.Hash = gatehouse.HashSecret(second)
		must(t, db.Refresh(ctx, "alpha", refreshID, secondToken, nil, 0, now))

		everything := strings.Join(dump(t, raw(t, url)), "\n")
		if path, ok := strings.CutPrefix(url, "sqlite:"); ok {
			for _, name := range []string{path, path + "-wal"} {
				content, err := os.ReadFile(filepath.Clean(name))
				must(t, err)
				everything += string(content)
			}
		}
		if !strings.Contains(everything, accessID) {
			t.Fatal("the search does not find what is there")
		}
		for name, secret := range map[string]string{
			"code": code, "jti": jti, "access token": access, "refresh token": refresh, "second access token": second,
		} {
			_, secret, found := strings.Cut(secret, ".")
			if !found {
				secret = map[string]string{"code": code, "jti": jti}[name]
			}
			bytes, err := base64.RawURLEncoding.DecodeString(secret)
			must(t, err)
			for _, form := range []string{
				secret, string(bytes), hex.EncodeToString(bytes), base64.StdEncoding.EncodeToString(bytes),
				base64.RawURLEncoding.EncodeToString([]byte(secret)), hex.EncodeToString([]byte(secret)),
			} {
				if strings.Contains(everything, form) {
					t.Errorf("the %s is in the database", name)
				}
			}
		}
	})
}
