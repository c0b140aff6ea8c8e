// Executes every template of the table on the table's data with Go's own text/template.
package main

import (
	"encoding/json"
	"os"
	"strings"
	"text/template"
)

func main() {
	data := map[string]any{
		"n": 42, "neg": -7, "zero": 0, "f": 1.5, "big": 1e21, "whole": 3.0,
		"s": "héllo <b>\"x\"</b> & 'y'", "word": "abc", "empty": "",
		"t": true, "no": false, "nil": nil,
		"list": []any{1, 2, 3}, "names": []any{"b", "a", "c"}, "none": []any{}, "mixed": []any{1, "x", nil, 2.5, true},
		"nested": []any{[]any{1, 2}, []any{3}},
		"m":      map[string]any{"x": 1, "a": "first", "deep": map[string]any{"er": "found"}},
		"nomap":  map[string]any{},
		"add": func(a, b int) int { return a + b },
	}
	var cases [][2]string
	if err := json.NewDecoder(os.Stdin).Decode(&cases); err != nil {
		panic(err)
	}
	results := []any{}
	for _, one := range cases {
		parsed, err := template.New("template").Option("missingkey=" + one[0]).Parse(one[1])
		var out strings.Builder
		if err == nil {
			err = parsed.Execute(&out, data)
		}
		if err != nil {
			results = append(results, nil)
		} else {
			results = append(results, out.String())
		}
	}
	json.NewEncoder(os.Stdout).Encode(results)
}
