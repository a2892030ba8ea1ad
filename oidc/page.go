package oidc

import (
	"bytes"
	"embed"
	"html/template"
	"net/http"
	"strconv"
)

//go:embed templates
var templateFiles embed.FS

var templates = template.Must(template.ParseFS(templateFiles, "templates/*.html"))

// writePage renders a page that sends nothing.
func writePage(w http.ResponseWriter, status int, name string, data any) error {
	return render(w, status, name, data, "'none'")
}

// writePageWithForms renders a page with forms that lead back to us.
func writePageWithForms(w http.ResponseWriter, status int, name string, data any) error {
	return render(w, status, name, data, "'self'")
}

// render writes a page with the headers that every page has: no script, no
// frame, nothing from elsewhere, no trace in caches or referrers.
func render(w http.ResponseWriter, status int, name string, data any, formAction string) error {
	var page bytes.Buffer
	if err := templates.ExecuteTemplate(&page, name, data); err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(page.Len()))
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action "+formAction)
	h.Set("X-Frame-Options", "DENY")
	w.WriteHeader(status)
	w.Write(page.Bytes())
	return nil
}
