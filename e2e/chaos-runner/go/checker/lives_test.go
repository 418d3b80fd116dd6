package main

import (
	"strings"
	"testing"
	"time"
)

// undone says whether a history fits if what was done from 10 on may be undone by 20.
func undone(t *testing.T, isLegal bool, lines ...string) {
	t.Helper()
	windows, err := readWindows(strings.NewReader(`{"begin":10,"end":20}`))
	if err != nil {
		t.Fatal(err)
	}
	var told strings.Builder
	found, err := run(strings.NewReader(history(lines...)), windows, &told, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if (found.Illegal == 0) != isLegal || found.Unknown > 0 {
		t.Errorf("legal is %v, and it was found %+v: %s", isLegal, found, told.String())
	}
}

func TestWhatALifeLosesIsItsLast(t *testing.T) {
	put := func(when, value, revision string) string {
		return `documents/a","kind":"put",` + when + `,"value":` + value + `,"result":"ok","revision":"` + revision + `"`
	}
	get := func(when, value, revision string) string {
		return `documents/a","kind":"get",` + when + `,"result":"ok","found":` + value + `,"revision":"` + revision + `"`
	}
	before := []string{
		put(`"call":1,"return":2`, "1", "r1"),
		put(`"call":11,"return":12`, "2", "r2"),
		get(`"call":13,"return":14`, "2", "r2"),
		put(`"call":15,"return":16`, "3", "r3"),
	}
	with := func(lines ...string) []string { return append(append([]string{}, before...), lines...) }
	// All is kept, or the last, or both of those since 10 are lost.
	undone(t, true, with(get(`"call":21,"return":22`, "3", "r3"))...)
	undone(t, true, with(get(`"call":21,"return":22`, "2", "r2"))...)
	undone(t, true, with(get(`"call":21,"return":22`, "1", "r1"))...)
	// Not what was there before 10.
	undone(t, false, with(`documents/a","kind":"get","call":21,"return":22,"result":"ok"`)...)
	// Not twice, and not later.
	undone(t, false, with(get(`"call":21,"return":22`, "2", "r2"), get(`"call":23,"return":24`, "1", "r1"))...)
	undone(t, false, with(put(`"call":21,"return":22`, "4", "r4"), get(`"call":23,"return":24`, "3", "r3"))...)
	// What was lost does not come back.
	undone(t, false, with(get(`"call":21,"return":22`, "1", "r1"), get(`"call":23,"return":24`, "3", "r3"))...)
	// Nobody reads both lives in turn.
	undone(t, false, with(get(`"call":17,"return":18`, "2", "r2"), get(`"call":19,"return":20`, "3", "r3"))...)
}

func TestAWriteOverTheEndOfALife(t *testing.T) {
	// Made, read, undone, and made again as its client asks again.
	lines := []string{
		`documents/a","kind":"put","call":11,"return":21,"value":1,"result":"ok","revision":"r2"`,
		`documents/a","kind":"get","call":12,"return":13,"result":"ok","found":1,"revision":"r1"`,
	}
	undone(t, true, lines...)
	illegal(t, "two revisions", lines...)
	undone(t, false, append(lines, `documents/a","kind":"get","call":22,"return":23,"result":"ok","found":1,"revision":"r3"`)...)
}

func TestNumbersGoBack(t *testing.T) {
	lines := []string{
		`numbers/a","kind":"add","call":1,"return":2,"value":1,"result":"ok","found":1`,
		`numbers/a","kind":"add","call":11,"return":12,"value":1,"result":"ok","found":2`,
	}
	undone(t, true, append(lines, `numbers/a","kind":"add","call":21,"return":22,"value":1,"result":"ok","found":2`)...)
	undone(t, false, append(lines, `numbers/a","kind":"add","call":21,"return":22,"value":1,"result":"ok","found":1`)...)
}

func TestWhatIsNoWindow(t *testing.T) {
	for line, reason := range map[string]string{`{`: "line 1 is no window", `{"begin":2,"end":1}`: "before begin"} {
		if _, err := readWindows(strings.NewReader(line)); err == nil || !strings.Contains(err.Error(), reason) {
			t.Errorf("%s: %v", line, err)
		}
	}
}
