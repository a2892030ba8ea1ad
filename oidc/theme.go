package oidc

// A bank's look on its customers' pages: the CSS custom properties of
// static/access.css. Contrast is that of WCAG 2.2, §1.4.3.

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"gatehouse"
)

// lightTheme is that of static/access.css in its light scheme.
var lightTheme = gatehouse.Theme{Accent: "#0b4f9e", Background: "#f3f5f8", Surface: "#ffffff", Text: "#1b1f27"}

// theme serves GET /oidc/{provider_code}/theme.css.
func (s *Server) theme(w http.ResponseWriter, r *http.Request, p *provider) error {
	css := stylesheet(p.Theme)
	sum := sha256.Sum256([]byte(css))
	h := w.Header()
	h.Set("Content-Type", "text/css; charset=utf-8")
	h.Set("Cache-Control", "public, max-age="+strconv.Itoa(documentMaxAge))
	h.Set("ETag", `"`+base64.RawURLEncoding.EncodeToString(sum[:12])+`"`)
	http.ServeContent(w, r, "", time.Time{}, strings.NewReader(css))
	return nil
}

// stylesheet writes what a theme sets. Who chooses a colour has the light page
// before their eyes: with any colour of the bank's own there is no dark scheme,
// and what the bank left open is chosen to be readable beside the rest.
func stylesheet(t gatehouse.Theme) string {
	scheme := "light dark"
	link := ""
	if t.Accent+t.OnAccent+t.Background+t.Surface+t.Text != "" {
		t.Accent = cmp.Or(t.Accent, lightTheme.Accent)
		t.Background = cmp.Or(t.Background, lightTheme.Background)
		t.Surface = cmp.Or(t.Surface, lightTheme.Surface)
		t.Text = cmp.Or(t.Text, lightTheme.Text)
		t.OnAccent = cmp.Or(t.OnAccent, readableOn(t.Accent))
		link, scheme = t.Accent, "light"
		if readableOn(t.Surface) == white {
			scheme = "dark"
		}
		if min(contrast(link, t.Surface), contrast(link, t.Background)) < readable {
			link = t.Text
		}
	}
	css := ":root {\n  color-scheme: " + scheme + ";\n"
	for _, p := range t.Properties() {
		css += "  " + p.Name + ": " + p.Value + ";\n"
	}
	if link != "" {
		css += "  --link: " + link + ";\n"
	}
	return css + "}\n"
}

const (
	white    = "#ffffff"
	black    = "#000000"
	readable = 4.5 // the least contrast of text
)

// readableOn is white, or black where that is easier to read.
func readableOn(colour string) string {
	if contrast(white, colour) >= readable {
		return white
	}
	return black
}

// contrast is the ratio of two colours #rrggbb, from 1 to 21.
func contrast(a, b string) float64 {
	light, dark := max(luminance(a), luminance(b)), min(luminance(a), luminance(b))
	return (light + 0.05) / (dark + 0.05)
}

func luminance(colour string) float64 {
	sum := 0.0
	for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
		value, _ := strconv.ParseUint(colour[1+2*i:3+2*i], 16, 8) // of the form that Theme.Validate wants
		c := float64(value) / 255
		if c <= 0.04045 {
			sum += weight * c / 12.92
		} else {
			sum += weight * math.Pow((c+0.055)/1.055, 2.4)
		}
	}
	return sum
}
