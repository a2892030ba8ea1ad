package demobank

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

func (k *walk) part(format string, args ...any) {
	fmt.Fprintf(k.out, "\n== "+format+" ==\n", args...)
}

func (k *walk) title(text string) {
	k.step++
	fmt.Fprintf(k.out, "\n%d. %s\n\n", k.step, text)
}

func (k *walk) print(text string) {
	fmt.Fprintln(k.out, "   "+strings.ReplaceAll(text, "\n", "\n   "))
}

// curl prints the command that makes the request.
func (k *walk) curl(req *http.Request, options string) error {
	lines := []string{"curl -sS " + options}
	if k.world.CAFile != "" {
		lines[0] += " --cacert " + quote(k.world.CAFile)
	}
	if req.Method != http.MethodGet && req.Method != http.MethodPost {
		lines[0] += " -X " + req.Method
	}
	lines[0] += " " + quote(req.URL.String())
	if id, secret, ok := req.BasicAuth(); ok {
		lines = append(lines, "-u "+quote(id+":"+secret))
	} else if authorization := req.Header.Get("Authorization"); authorization != "" {
		lines = append(lines, "-H "+quote("Authorization: "+authorization))
	}
	if contentType := req.Header.Get("Content-Type"); contentType != "" && contentType != contentTypeForm {
		lines = append(lines, "-H "+quote("Content-Type: "+contentType))
	}
	data, err := dataOptions(req)
	if err != nil {
		return err
	}
	k.print("$ " + strings.Join(append(lines, data...), " \\\n    "))
	return nil
}

// dataOptions shows a form field by field, any other body as it is.
func dataOptions(req *http.Request) ([]string, error) {
	if req.GetBody == nil {
		return nil, nil
	}
	reader, err := req.GetBody()
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(reader)
	if err != nil {
		return nil, err
	}
	if req.Header.Get("Content-Type") != contentTypeForm {
		return []string{"-d " + quote(string(body))}, nil
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, err
	}
	names := slices.SortedFunc(maps.Keys(form), func(a, b string) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a, b))
	})
	var options []string
	for _, name := range names {
		for _, value := range form[name] {
			options = append(options, "--data-urlencode "+quote(name+"="+value))
		}
	}
	return options, nil
}

// rank puts what a request is about first and the long proof of who sends it last.
func rank(parameter string) int {
	switch {
	case parameter == "grant_type":
		return 0
	case strings.HasPrefix(parameter, "client_assertion"):
		return 2
	}
	return 1
}

// quote makes s one word of a POSIX shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func pretty(body []byte) string {
	var out bytes.Buffer
	if json.Indent(&out, body, "", "  ") != nil {
		return string(body)
	}
	return out.String()
}
