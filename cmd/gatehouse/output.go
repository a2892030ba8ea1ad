package main

import (
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strings"
	"text/tabwriter"
)

// print writes value as JSON, or as text does.
func (c *cli) print(value any, text func(w io.Writer)) error {
	if c.output == "json" {
		e := json.NewEncoder(c.stdout)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		return e.Encode(value)
	}
	w := tabwriter.NewWriter(c.stdout, 0, 0, 3, ' ', 0)
	text(w)
	return w.Flush()
}

// row writes one line of a table.
func row(w io.Writer, cells ...any) {
	for i, cell := range cells {
		if i > 0 {
			fmt.Fprint(w, "\t")
		}
		fmt.Fprint(w, cell)
	}
	fmt.Fprintln(w)
}

// sheet writes names and values, leaving out empty values.
func sheet(w io.Writer, pairs ...any) {
	for i := 0; i < len(pairs); i += 2 {
		value := pairs[i+1]
		if list, ok := value.([]string); ok {
			value = strings.Join(list, " ")
		}
		if !reflect.ValueOf(value).IsZero() {
			row(w, pairs[i], value)
		}
	}
}
