package main

import (
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.yaml.in/yaml/v3"
)

// A configuration that is taken is safe, and reads the same when it is written
// out: nothing in it was overlooked.
func FuzzConfig(f *testing.F) {
	f.Add([]byte(exampleConfig))
	for _, line := range strings.Split(exampleConfig, "\n") {
		if line != "" && line[0] != '#' {
			f.Add([]byte("base_url: https://gatehouse.example\n" + line + "\n"))
		}
	}
	for _, text := range []string{
		"base_url: https://gatehouse.example\nmode: production\nallow_plain_http: true\n", "base_url: http://evil.example\n", "mode: [production]\n", "listen: 0.0.0.0:80\nbase_url: https://a.example\n",
		"a: &a [*a]\n", "a: &a {<<: *a}\n", "? {a: b}\n: c\n", "mode: production\nmode: development\n", "--- a\n--- b\n", "\xff", "limits: {header_bytes: 1e9}\n", "timeouts: {read: -1s}\n", "base_url: !!binary aGk=\n",
		"trusted_proxies: [10.0.0.0/8, ::1]\nbase_url: https://a.example\n", strings.Repeat("[", 1000), strings.Repeat("a: ", 1000),
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c := defaultConfig()
		if c.parse(data) != nil || c.validate() != nil {
			return
		}
		u, err := url.Parse(c.BaseURL)
		if err != nil || u.Host == "" || u.User != nil || u.Path != "" || u.Scheme != "https" && !isLoopback(u.Hostname()) && !c.AllowPlainHTTP {
			t.Errorf("took base_url %q", c.BaseURL)
		}
		if c.Mode == production && (c.AllowPlainHTTP || c.AllowClockControl || len(c.AllowJWKSFetch) > 0) {
			t.Errorf("took %+v", c)
		}
		if host, _, err := net.SplitHostPort(c.AdminListen); err != nil || !isLoopback(host) && !c.AdminRemote {
			t.Errorf("took admin_listen %q", c.AdminListen)
		}
		if c.Timeouts.Read <= 0 || time.Duration(c.Timeouts.Read) > time.Hour || c.Limits.HeaderBytes <= 0 {
			t.Errorf("took %+v %+v", c.Timeouts, c.Limits)
		}
		written, err := yaml.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		again := defaultConfig()
		if err := again.parse(written); err != nil {
			t.Fatalf("%v in\n%s", err, written)
		}
		if diff := cmp.Diff(c, again, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("reads differently when written out:\n%s", diff)
		}
	})
}
