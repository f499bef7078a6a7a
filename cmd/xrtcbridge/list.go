package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
)

// list prints rows: as a table, or each as an object of JSON on a line.
type list struct {
	s    std
	json bool
	t    *tabwriter.Writer
	err  error // the first one, after which nothing is printed
}

func (s std) list(asJSON bool, titles ...string) *list {
	l := &list{s: s, json: asJSON, t: tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)}
	fmt.Fprintln(l.t, strings.Join(titles, "\t"))
	return l
}

// row prints v, or the cells. It returns false if that has failed.
func (l *list) row(v any, cells ...any) bool {
	if l.err == nil && l.json {
		l.err = printJSON(l.s, v)
	}
	if !l.json {
		fmt.Fprintf(l.t, strings.Repeat("%v\t", len(cells)-1)+"%v\n", cells...)
	}
	return l.err == nil
}

// end ends the list, and returns what has failed.
func (l *list) end() error {
	if !l.json && l.err == nil {
		l.err = l.t.Flush()
	}
	return l.err
}

func printJSON(s std, v any) error {
	e := json.NewEncoder(s.out)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
