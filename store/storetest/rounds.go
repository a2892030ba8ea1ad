package storetest

import (
	"os"
	"strconv"
	"testing"
)

// EnvRounds overrides how often each contest between concurrent callers is
// held; `make rounds` sets the long form.
const EnvRounds = "GATEHOUSE_TEST_ROUNDS"

// Rounds is how often a test holds its contest.
func Rounds(t testing.TB, fallback int) int {
	t.Helper()
	text := os.Getenv(EnvRounds)
	if text == "" {
		return fallback
	}
	rounds, err := strconv.Atoi(text)
	if err != nil || rounds < 1 {
		t.Fatalf("%s is not a positive number", EnvRounds)
	}
	return rounds
}
