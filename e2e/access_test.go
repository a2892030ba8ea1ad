package e2e_test

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// TestAccessPage: a PSU goes from their bank to the page that shows who has
// access, withdraws one, and leaves; on a small phone and a desktop, with
// JavaScript and without, by mouse and by keyboard.
//
// Proves: A7, A10, A12, A24
func TestAccessPage(t *testing.T) {
	chromium, err := find("chromium", "chromium")
	if err != nil {
		t.Fatal(err)
	}
	pictures, err := emptyPictures()
	if err != nil {
		t.Fatal(err)
	}
	for scheme, d := range demos(t) {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			runScript(t, d, "access.mjs", "GATEHOUSE_CHROMIUM="+chromium, "GATEHOUSE_SCREENSHOTS="+pictures)
		})
	}
}

// emptyPictures returns the directory for pictures, without those of an
// earlier run.
var emptyPictures = sync.OnceValues(func() (string, error) {
	pictures, err := filepath.Abs("screenshots")
	if err != nil {
		return "", err
	}
	return pictures, os.RemoveAll(pictures)
})
