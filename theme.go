package gatehouse

import (
	"errors"
	"regexp"
)

// A Theme is a bank's look on the PSU's page. Each member is the value of a
// CSS custom property; an empty one means the default.
type Theme struct {
	// The colours are #rrggbb.
	Accent     string `json:"accent,omitempty"`
	OnAccent   string `json:"on_accent,omitempty"`
	Background string `json:"background,omitempty"`
	Surface    string `json:"surface,omitempty"`
	Text       string `json:"text,omitempty"`
	// FontFamily is a list of families, such as "Inter, sans-serif".
	FontFamily string `json:"font_family,omitempty"`
	// Radius is that of corners, such as "4px".
	Radius string `json:"radius,omitempty"`
}

var (
	themeColour = regexp.MustCompile(`^#[0-9a-fA-F]{6}$`)
	themeFont   = regexp.MustCompile(`^[A-Za-z0-9 ,'-]{1,200}$`)
	themeRadius = regexp.MustCompile(`^[0-9]{1,2}px$`)
)

// A ThemeProperty is a custom property of CSS with its value.
type ThemeProperty struct{ Name, Value string }

// Properties lists what the theme sets.
func (t Theme) Properties() []ThemeProperty {
	var set []ThemeProperty
	for _, p := range t.members() {
		if p.value != "" {
			set = append(set, ThemeProperty{p.property, p.value})
		}
	}
	return set
}

type themeMember struct {
	name, property, value string
	form                  *regexp.Regexp
}

func (t Theme) members() []themeMember {
	return []themeMember{
		{"accent", "--accent", t.Accent, themeColour},
		{"on_accent", "--on-accent", t.OnAccent, themeColour},
		{"background", "--background", t.Background, themeColour},
		{"surface", "--surface", t.Surface, themeColour},
		{"text", "--text", t.Text, themeColour},
		{"font_family", "--font-family", t.FontFamily, themeFont},
		{"radius", "--radius", t.Radius, themeRadius},
	}
}

// Validate reports the first fault of the theme, naming the member.
func (t Theme) Validate() error {
	for _, m := range t.members() {
		if m.value != "" && !m.form.MatchString(m.value) {
			return errors.New("theme: " + m.name + " is not a colour as #rrggbb, a list of font families, or a radius in px")
		}
	}
	return nil
}
