package jose_test

import (
	"errors"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"gatehouse/jose"
)

func claims(t testing.TB, object string) jose.Claims {
	t.Helper()
	c, err := jose.ParseObject([]byte(object), 8)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestParseObject(t *testing.T) {
	rows := []struct{ name, data, want string }{
		{"empty object", `{}`, ""},
		{"white space", " \r\n{ } \t", ""},
		{"depth 3", `{"a":[[1],{}]}`, ""},
		{"case makes another name", `{"aud":1,"AUD":2,"Aud":3}`, ""},
		{"same name in two objects", `{"a":{"x":1},"b":{"x":1},"x":1}`, ""},

		{"depth 4", `{"a":[[[]]]}`, "nested deeper than 3 levels"},
		{"depth 4 behind brackets in strings", `{"a":"]]\"]]}","b":[[[]]]}`, "nested deeper than 3 levels"},
		{"depth 4 behind an escaped backslash", `{"a":"\\","b":[[[]]]}`, "nested deeper than 3 levels"},
		{"empty", ``, "not JSON"},
		{"half", `{"a":`, "not JSON"},
		{"closing brackets", `]]]]{"a":1}`, "not JSON"},
		{"two values", `{} {}`, "not JSON"},
		{"no-break space", "{}\u00a0", "not JSON"},
		{"NaN", `{"a":NaN}`, "not JSON"},
		{"leading zero", `{"a":01}`, "not JSON"},
		{"control character", "{\"a\":\"\x01\"}", "not JSON"},
		{"number", `1`, "not a JSON object"},
		{"array", `[{}]`, "not a JSON object"},
		{"null", `null`, "not a JSON object"},
		{"not UTF-8", "{\"\xff\":1}", "not UTF-8"},
		{"twice", `{"a":1,"a":1}`, "repeated member name"},
		{"twice by an escape", `{"a":1,"\u0061":1}`, "repeated member name"},
		{"twice inside", `{"b":[{"a":1,"a":1}]}`, "repeated member name"},
		{"empty name twice", `{"":1,"":1}`, "repeated member name"},
	}
	tried := 0
	for _, row := range rows {
		if row.want != "" {
			tried++
		}
		if _, err := jose.ParseObject([]byte(row.data), 3); errorText(err) != row.want {
			t.Errorf("%s: got %v, want %q", row.name, err, row.want)
		}
	}
	t.Attr("bad_inputs", strconv.Itoa(tried))
}

func TestNumericDate(t *testing.T) {
	const (
		form   = "exp is not a number of seconds in plain decimal notation"
		bounds = "exp is out of range"
		number = "exp is not a number"
	)
	rows := []struct {
		value string
		want  int64
		fault string
	}{
		{"0", 0, ""},
		{"1", 1, ""},
		{"1999999999", 1999999999, ""},
		{"1999999999.0", 1999999999, ""},
		{"1999999999.999999999999", 1999999999, ""},
		{"9007199254740991", 1<<53 - 1, ""},
		{"9007199254740991.9", 1<<53 - 1, ""},
		{"9007199254740992", 0, bounds},
		{"9007199254740993", 0, bounds},
		{"9223372036854775808", 0, bounds},
		{"18446744073709551616", 0, bounds},
		{"1" + strings.Repeat("0", 1000), 0, bounds},
		{"-1", 0, form},
		{"-0", 0, form},
		{"-0.5", 0, form},
		{"1e3", 0, form},
		{"1E3", 0, form},
		{"1.5e3", 0, form},
		{"1e-3", 0, form},
		{"1e300", 0, form},
		{"1e400", 0, form},
		{`"1999999999"`, 0, number},
		{"null", 0, number},
		{"true", 0, number},
		{"{}", 0, number},
		{"[1999999999]", 0, number},
	}
	for _, row := range rows {
		got, present, err := claims(t, `{"exp":`+row.value+`}`).Time("exp")
		if !present || errorText(err) != row.fault {
			t.Errorf("%s: %v, %v; want %q", row.value, present, err, row.fault)
		}
		if err == nil && !got.Equal(time.Unix(row.want, 0)) {
			t.Errorf("%s: %s", row.value, got)
		}
	}
	if _, present, err := claims(t, `{"EXP":1}`).Time("exp"); present || err != nil {
		t.Errorf("absent: %v, %v", present, err)
	}
}

func TestClaimsString(t *testing.T) {
	c := claims(t, `{"s":"a\u0062é","empty":"","null":null,"number":1,"array":["a"],"object":{}}`)
	rows := []struct{ name, want, fault string }{
		{"s", "abé", ""},
		{"empty", "", "empty is empty"},
		{"S", "", "S is missing"},
		{"null", "", "null is not a string"},
		{"number", "", "number is not a string"},
		{"array", "", "array is not a string"},
		{"object", "", "object is not a string"},
	}
	for _, row := range rows {
		got, err := c.String(row.name)
		if got != row.want || errorText(err) != row.fault {
			t.Errorf("%s: %q, %v", row.name, got, err)
		}
	}
	if s, ok, err := c.OptionalString("empty"); s != "" || !ok || err != nil {
		t.Errorf("optional, empty: %q, %v, %v", s, ok, err)
	}
	if s, ok, err := c.OptionalString("none"); s != "" || ok || err != nil {
		t.Errorf("optional, absent: %q, %v, %v", s, ok, err)
	}
	if _, ok, err := c.OptionalString("null"); !ok || err == nil {
		t.Errorf("optional, null: %v, %v", ok, err)
	}
	if !c.Has("null") || c.Has("none") {
		t.Error("Has is wrong")
	}
	var fault *jose.ClaimError
	if _, err := c.String("none"); !errors.As(err, &fault) || fault.Claim != "none" {
		t.Errorf("not a ClaimError: %v", err)
	}
}

func TestAudience(t *testing.T) {
	rows := []struct {
		object string
		want   []string
		single bool
		fault  string
	}{
		{`{"aud":"a"}`, []string{"a"}, true, ""},
		{`{"aud":["a"]}`, []string{"a"}, false, ""},
		{`{"aud":["a","b"]}`, []string{"a", "b"}, false, ""},
		{`{}`, nil, false, "aud is missing"},
		{`{"AUD":"a"}`, nil, false, "aud is missing"},
		{`{"aud":""}`, nil, false, "aud is empty"},
		{`{"aud":[]}`, nil, false, "aud is an empty array"},
		{`{"aud":["a",1]}`, nil, false, "aud has a member that is not a string or is empty"},
		{`{"aud":["a",null]}`, nil, false, "aud has a member that is not a string or is empty"},
		{`{"aud":["a",["b"]]}`, nil, false, "aud has a member that is not a string or is empty"},
		{`{"aud":["a",""]}`, nil, false, "aud has a member that is not a string or is empty"},
		{`{"aud":1}`, nil, false, "aud is not a string or an array of strings"},
		{`{"aud":null}`, nil, false, "aud is not a string or an array of strings"},
		{`{"aud":{"a":"a"}}`, nil, false, "aud is not a string or an array of strings"},
	}
	for _, row := range rows {
		aud, single, err := claims(t, row.object).Audience()
		if !reflect.DeepEqual(aud, row.want) || single != row.single || errorText(err) != row.fault {
			t.Errorf("%s: %q, %v, %v", row.object, aud, single, err)
		}
	}
}

func TestClaimsDecode(t *testing.T) {
	c := claims(t, `{"data":{"user_id":"u","USER_ID":"v","other":[1]}}`)
	var data struct {
		UserID string `json:"user_id"`
	}
	if err := c.Decode("data", &data); err != nil || data.UserID != "u" {
		t.Errorf("got %+v, %v", data, err)
	}
	if err := c.Decode("Data", &data); errorText(err) != "Data is missing" {
		t.Error(err)
	}
	var list []string
	if err := c.Decode("data", &list); errorText(err) != "data has the wrong type or form" {
		t.Error(err)
	}
}
