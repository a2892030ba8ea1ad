package main

import (
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	const passes = `{"Action":"start","Package":"a"}
{"Action":"run","Package":"a","Test":"TestGood"}
{"Action":"output","Package":"a","Test":"TestGood","Output":"=== RUN   TestGood\n"}
{"Action":"attr","Package":"a","Test":"TestGood","Key":"bad_inputs","Value":"12"}
{"Action":"attr","Package":"a","Test":"TestGood","Key":"other","Value":"x"}
{"Action":"pass","Package":"a","Test":"TestGood","Elapsed":0}
{"Action":"output","Package":"a","Output":"PASS\n"}
{"Action":"output","Package":"a","Output":"ok  \ta\t0.1s\n"}
{"Action":"pass","Package":"a","Elapsed":0.1}
`
	for name, test := range map[string]struct {
		events, printed string
		total           int
		broken          bool
	}{
		"passes": {passes, "ok  \ta\t0.1s\n", 12, false},
		"two packages, one from the cache": {passes + strings.ReplaceAll(strings.ReplaceAll(passes, `"a"`, `"b"`), `0.1s`, `(cached)`),
			"ok  \ta\t0.1s\nok  \ta\t(cached)\n", 24, false},
		"fails": {`{"Action":"output","Package":"a","Test":"TestGood","Output":"silent\n"}
{"Action":"output","Package":"a","Test":"TestBad","Output":"--- FAIL: TestBad (0.00s)\n"}
{"Action":"output","Package":"a","Test":"TestBad","Output":"    a_test.go:7: wrong\n"}
{"Action":"pass","Package":"a","Test":"TestGood"}
{"Action":"fail","Package":"a","Test":"TestBad"}
{"Action":"output","Package":"a","Output":"FAIL\ta\t0.1s\n"}
{"Action":"fail","Package":"a"}
`, "--- FAIL: TestBad (0.00s)\n    a_test.go:7: wrong\nFAIL\ta\t0.1s\n", 0, false},
		"has a race": {`{"Action":"output","Package":"a","Test":"TestGood","Output":"WARNING: DATA RACE\n"}
{"Action":"pass","Package":"a","Test":"TestGood"}
{"Action":"output","Package":"a","Output":"FAIL\ta\t0.1s\n"}
{"Action":"fail","Package":"a"}
`, "FAIL\ta\t0.1s\nWARNING: DATA RACE\n", 0, false},
		"dies": {`{"Action":"output","Package":"a","Test":"TestBad","Output":"panic: no\n"}
{"Action":"output","Package":"a","Output":"FAIL\ta\t0.1s\n"}
{"Action":"fail","Package":"a"}
`, "FAIL\ta\t0.1s\npanic: no\n", 0, false},
		"does not build": {`{"ImportPath":"a","Action":"build-output","Output":"a.go:1: no\n"}
{"ImportPath":"a","Action":"build-fail"}
{"Action":"output","Package":"a","Output":"FAIL\ta [build failed]\n"}
{"Action":"fail","Package":"a","FailedBuild":"a"}
`, "a.go:1: no\nFAIL\ta [build failed]\n", 0, false},
		"breaks off":   {passes + `{"Action":"ou`, "ok  \ta\t0.1s\n", 12, true},
		"is no number": {`{"Action":"attr","Test":"T","Key":"bad_inputs","Value":"many"}` + "\n", "", 0, true},
	} {
		var printed strings.Builder
		total, err := report(strings.NewReader(test.events), &printed)
		if total != test.total || printed.String() != test.printed || (err != nil) != test.broken {
			t.Errorf("%s: %d, %v, printed %q", name, total, err, &printed)
		}
	}
}
