package demobank

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
	"slices"
	"strings"
)

// A browser plays the PSU's browser in the walk: it keeps cookies, follows redirects and fills in forms. It reads the
// pages of this package, which are well-formed enough for encoding/xml; it is no reader of HTML at large.
type browser struct {
	client *http.Client
}

const maxRedirects = 10

var errPage = errors.New("the page has no form")

// newBrowser shares the transport of client, which trusts the development CA.
func newBrowser(client *http.Client) (*browser, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	return &browser{&http.Client{
		Transport:     client.Transport,
		Timeout:       client.Timeout,
		Jar:           jar,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// A hop is one answer on the way.
type hop struct {
	status   string
	location string
}

// A view is where the browser ends up: on a page, or at an address below stop that it does not ask for.
type view struct {
	hops    []hop
	status  int
	url     *url.URL
	heading string
	form    *form // the first of the page, nil without one
	forms   []*form
	links   []*url.URL
}

// A form is one HTML form with what it would send as it stands.
type form struct {
	action *url.URL
	fields url.Values
}

// open makes the request and follows redirects until a page comes, or a redirect to stop, unless that is empty.
func (b *browser) open(req *http.Request, stop string) (*view, error) {
	v := new(view)
	for range maxRedirects {
		res, err := b.client.Do(req)
		if err != nil {
			return nil, err
		}
		body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
		res.Body.Close()
		if err != nil {
			return nil, err
		}
		v.status, v.url = res.StatusCode, req.URL
		location, err := res.Location()
		if errors.Is(err, http.ErrNoLocation) {
			v.hops = append(v.hops, hop{status: res.Status})
			return v, v.read(body)
		}
		if err != nil {
			return nil, err
		}
		v.hops = append(v.hops, hop{res.Status, location.String()})
		if v.url = location; stop != "" && strings.HasPrefix(location.String(), stop) {
			return v, nil
		}
		if req, err = http.NewRequestWithContext(req.Context(), http.MethodGet, location.String(), nil); err != nil {
			return nil, err
		}
	}
	return nil, errors.New("too many redirects")
}

// link is the first link of the page to an address with part in it, nil without one.
func (v *view) link(part string) *url.URL {
	i := slices.IndexFunc(v.links, func(u *url.URL) bool { return strings.Contains(u.Path, part) })
	if i < 0 {
		return nil
	}
	return v.links[i]
}

// choose makes the form that goes to an address with part in it the one that submit sends.
func (v *view) choose(part string) {
	v.form = nil
	for _, f := range v.forms {
		if strings.Contains(f.action.Path, part) {
			v.form = f
		}
	}
}

// submit makes the request of the view's form, with some fields filled in.
func (v *view) submit(ctx context.Context, fill url.Values) (*http.Request, error) {
	if v.form == nil {
		return nil, errPage
	}
	for name, values := range fill {
		v.form.fields[name] = values
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, v.form.action.String(), strings.NewReader(v.form.fields.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", contentTypeForm)
	return req, nil
}

// read finds the heading, the links and the forms of a page.
func (v *view) read(page []byte) error {
	d := xml.NewDecoder(bytes.NewReader(page))
	d.Strict, d.AutoClose, d.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	inHeading := false
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("the page cannot be read: %w", err)
		}
		switch token := token.(type) {
		case xml.CharData:
			if inHeading {
				v.heading += string(token)
			}
		case xml.EndElement:
			inHeading = inHeading && token.Name.Local != "h1"
		case xml.StartElement:
			inHeading = inHeading || token.Name.Local == "h1"
			if err := v.note(token); err != nil {
				return err
			}
		}
	}
}

// note keeps what a link, a form or one of its fields says.
func (v *view) note(start xml.StartElement) error {
	attr := attributes(start)
	switch start.Name.Local {
	case "a":
		link, err := v.url.Parse(attr["href"])
		if err != nil {
			return err
		}
		v.links = append(v.links, link)
	case "form":
		action, err := v.url.Parse(attr["action"])
		if err != nil {
			return err
		}
		v.forms = append(v.forms, &form{action: action, fields: url.Values{}})
		v.form = v.forms[0]
	case "input":
		_, checked := attr["checked"]
		if len(v.forms) > 0 && attr["name"] != "" && (attr["type"] != "checkbox" && attr["type"] != "radio" || checked) {
			v.forms[len(v.forms)-1].fields.Add(attr["name"], attr["value"])
		}
	}
	return nil
}

func attributes(start xml.StartElement) map[string]string {
	attr := make(map[string]string)
	for _, a := range start.Attr {
		attr[a.Name.Local] = a.Value
	}
	return attr
}
