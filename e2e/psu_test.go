package e2e_test

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
)

// visit plays a PSU in a plain HTTP client: it opens the authorization URL,
// goes through the bank's pages by the ids of their fields, and returns the
// query with which the browser comes back to the TPP.
func visit(ctx context.Context, t *testing.T, d *demo, authURL, redirectURI string, p psu, button string) url.Values {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	b := &browser{redirectURI: redirectURI, client: &http.Client{
		Transport: d.transport, Jar: jar,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	if err := b.get(ctx, authURL); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		fill   map[string]string // by id
		button string            // id, "" for Enter
	}{
		{fill: map[string]string{"username": p.Username, "password": p.Password}},
		{fill: map[string]string{"otp": p.OTP}},
		{button: button},
	} {
		if b.back != nil {
			break // the request was refused before the bank's pages
		}
		if err := b.submit(ctx, step.fill, step.button); err != nil {
			t.Fatal(err)
		}
	}
	if b.back == nil {
		t.Fatalf("the browser did not come back to the TPP but stands at %s", b.url)
	}
	return b.back
}

// A browser is at one page at a time, or back at the TPP.
type browser struct {
	client      *http.Client
	redirectURI string

	url    *url.URL
	action *url.URL // of the page's form
	fields url.Values
	byID   map[string]field // the form's controls
	back   url.Values       // the query at redirectURI
}

type field struct{ name, value string }

func (b *browser) get(ctx context.Context, address string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	return b.follow(req)
}

// submit fills in the form and presses a button.
func (b *browser) submit(ctx context.Context, fill map[string]string, button string) error {
	if b.action == nil {
		return fmt.Errorf("%s has no form", b.url)
	}
	for id, value := range fill {
		if b.byID[id].name == "" {
			return fmt.Errorf("%s has no field #%s", b.url, id)
		}
		b.fields.Set(b.byID[id].name, value)
	}
	if button != "" {
		pressed, ok := b.byID[button]
		if !ok {
			return fmt.Errorf("%s has no button #%s", b.url, button)
		}
		b.fields.Set(pressed.name, pressed.value)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, b.action.String(), strings.NewReader(b.fields.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return b.follow(req)
}

// follow goes through redirects to a page, or to the TPP, which it does not
// call: the code is the test's.
func (b *browser) follow(req *http.Request) error {
	for range 10 {
		res, err := b.client.Do(req)
		if err != nil {
			return err
		}
		page, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil {
			return err
		}
		b.url = req.URL
		location, err := res.Location()
		if errors.Is(err, http.ErrNoLocation) {
			if res.StatusCode != http.StatusOK {
				return fmt.Errorf("%s answered %s:\n%s", b.url, res.Status, page)
			}
			return b.read(page)
		}
		if err != nil {
			return err
		}
		if strings.HasPrefix(location.String(), b.redirectURI+"?") {
			b.back = location.Query()
			return nil
		}
		if req, err = http.NewRequestWithContext(req.Context(), http.MethodGet, location.String(), nil); err != nil {
			return err
		}
	}
	return errors.New("too many redirects")
}

// read finds the form of a page and what it would send as it stands.
func (b *browser) read(page []byte) error {
	b.action, b.fields, b.byID = nil, url.Values{}, map[string]field{}
	d := xml.NewDecoder(bytes.NewReader(page))
	d.Strict, d.AutoClose, d.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", b.url, err)
		}
		start, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		attr := map[string]string{}
		for _, a := range start.Attr {
			attr[a.Name.Local] = a.Value
		}
		_, checked := attr["checked"]
		switch start.Name.Local {
		case "form":
			if b.action, err = b.url.Parse(attr["action"]); err != nil {
				return err
			}
		case "input":
			b.byID[attr["id"]] = field{attr["name"], attr["value"]}
			if attr["type"] != "checkbox" || checked {
				b.fields.Add(attr["name"], attr["value"])
			}
		case "button":
			b.byID[attr["id"]] = field{attr["name"], attr["value"]}
		}
	}
}
