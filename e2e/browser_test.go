package e2e_test

import "testing"

// TestBrowser walks the pages with Debian's chromium, at the size of a phone
// and of a desktop, with JavaScript and without. It leaves pictures of every
// page in e2e/screenshots.
//
// Proves: A7, A9, A12
func TestBrowser(t *testing.T) {
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
			runScript(t, d, "browser.mjs", "GATEHOUSE_CHROMIUM="+chromium, "GATEHOUSE_SCREENSHOTS="+pictures)
		})
	}
}
