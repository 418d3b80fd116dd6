package main

import (
	"strings"
	"testing"
	"time"
)

// put, get and so on make lines of a history: when they began and ended, what was asked, and what came of it.
func history(lines ...string) string {
	var all strings.Builder
	for _, line := range lines {
		all.WriteString(`{"client":1,"door":"http","node":"n1","key":"` + line + "}\n")
	}
	return all.String()
}

func checked(t *testing.T, lines ...string) (summary, string) {
	t.Helper()
	var told strings.Builder
	found, err := run(strings.NewReader(history(lines...)), nil, &told, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return found, told.String()
}

func legal(t *testing.T, lines ...string) {
	t.Helper()
	if found, told := checked(t, lines...); found.Illegal+found.Unknown > 0 {
		t.Errorf("it is legal, and was found %+v: %s", found, told)
	}
}

func illegal(t *testing.T, reason string, lines ...string) {
	t.Helper()
	found, told := checked(t, lines...)
	if found.Illegal != 1 || !strings.Contains(told, reason) {
		t.Errorf("it is illegal (%s), and was found %+v: %s", reason, found, told)
	}
}

func TestDocuments(t *testing.T) {
	legal(t,
		`documents/a","kind":"get","call":1,"return":2,"result":"ok"`,
		`documents/a","kind":"put","call":3,"return":9,"value":1,"result":"ok","revision":"r1"`,
		// While it is written, both may be read.
		`documents/a","kind":"get","call":4,"return":5,"result":"ok"`,
		`documents/a","kind":"get","call":6,"return":8,"result":"ok","found":1,"revision":"r1"`,
		`documents/a","kind":"put","call":10,"return":11,"value":2,"when":"r1","result":"ok","revision":"r2"`,
		`documents/a","kind":"put","call":12,"return":13,"value":3,"when":"r1","result":"conflict","revision":"r2"`,
		`documents/a","kind":"put","call":12,"return":13,"value":4,"when":"absent","result":"conflict","revision":"r2"`,
		`documents/a","kind":"delete","call":14,"return":15,"when":"r2","result":"ok"`,
		`documents/a","kind":"put","call":16,"return":17,"value":5,"when":"r2","result":"conflict"`,
		`documents/a","kind":"delete","call":16,"return":17,"result":"missing"`,
		`documents/a","kind":"put","call":18,"return":19,"value":6,"when":"absent","result":"ok","revision":"r6"`,
	)
}

func TestAStaleRead(t *testing.T) {
	illegal(t, "no order of these 3 of its 5 operations",
		`documents/a","kind":"put","call":1,"return":2,"value":1,"result":"ok","revision":"r1"`,
		`documents/a","kind":"get","call":3,"return":4,"result":"ok","found":1,"revision":"r1"`,
		`documents/a","kind":"put","call":5,"return":6,"value":2,"result":"ok","revision":"r2"`,
		`documents/a","kind":"get","call":7,"return":8,"result":"ok","found":1,"revision":"r1"`,
		`documents/a","kind":"get","call":9,"return":10,"result":"ok","found":2,"revision":"r2"`,
	)
}

func TestALostWrite(t *testing.T) {
	illegal(t, "no order of these",
		`documents/a","kind":"put","call":1,"return":2,"value":1,"result":"ok","revision":"r1"`,
		`documents/a","kind":"put","call":3,"return":4,"value":2,"result":"ok","revision":"r2"`,
		`documents/a","kind":"delete","call":5,"return":6,"when":"r1","result":"ok"`,
	)
	illegal(t, "no order of these 2 of its 2",
		`documents/a","kind":"put","call":1,"return":2,"value":1,"result":"ok","revision":"r1"`,
		`documents/a","kind":"get","call":5,"return":6,"result":"ok"`,
	)
}

func TestWhatNobodyKnowsMayHaveBeenDone(t *testing.T) {
	begin := []string{
		`documents/a","kind":"put","call":1,"return":2,"value":1,"result":"ok","revision":"r1"`,
		`documents/a","kind":"put","call":3,"value":2,"when":"r1","result":"unknown"`,
	}
	legal(t, append(begin, `documents/a","kind":"get","call":5,"return":6,"result":"ok","found":1,"revision":"r1"`)...)
	legal(t, append(begin, `documents/a","kind":"get","call":5,"return":6,"result":"ok","found":2,"revision":"r2"`)...)
	// Late, and then it stays.
	legal(t, append(begin,
		`documents/a","kind":"get","call":5,"return":6,"result":"ok","found":1,"revision":"r1"`,
		`documents/a","kind":"get","call":7,"return":8,"result":"ok","found":2,"revision":"r2"`)...)
	illegal(t, "no order", append(begin,
		`documents/a","kind":"get","call":5,"return":6,"result":"ok","found":2,"revision":"r2"`,
		`documents/a","kind":"get","call":7,"return":8,"result":"ok","found":1,"revision":"r1"`)...)
	// Not when it cannot have been.
	illegal(t, "no order",
		`documents/b","kind":"put","call":1,"value":2,"when":"r0","result":"unknown"`,
		`documents/b","kind":"get","call":5,"return":6,"result":"ok","found":2,"revision":"r2"`,
	)
	// Who was told of a revision that nobody has read was told of a write that nobody knows of.
	legal(t,
		`documents/c","kind":"put","call":1,"value":2,"result":"unknown"`,
		`documents/c","kind":"put","call":5,"return":6,"value":3,"when":"absent","result":"conflict","revision":"r2"`,
	)
	illegal(t, "no order",
		`documents/d","kind":"put","call":1,"return":2,"value":1,"result":"ok","revision":"r1"`,
		`documents/d","kind":"put","call":5,"return":6,"value":3,"when":"absent","result":"conflict","revision":"r2"`,
	)
}

func TestWhatFailedWasNotDone(t *testing.T) {
	illegal(t, "no order",
		`documents/a","kind":"put","call":1,"return":2,"value":1,"result":"failed"`,
		`documents/a","kind":"get","call":5,"return":6,"result":"ok","found":1,"revision":"r1"`,
	)
}

func TestAWriteMadeTwice(t *testing.T) {
	illegal(t, "two revisions",
		`documents/a","kind":"put","call":1,"return":9,"value":1,"result":"ok","revision":"r2"`,
		`documents/a","kind":"get","call":3,"return":4,"result":"ok","found":1,"revision":"r1"`,
	)
	illegal(t, "two writes",
		`documents/a","kind":"put","call":1,"return":2,"value":1,"result":"ok","revision":"r1"`,
		`documents/a","kind":"put","call":3,"return":4,"value":2,"result":"ok","revision":"r1"`,
	)
}

func TestNumbers(t *testing.T) {
	legal(t,
		`numbers/a","kind":"read","call":1,"return":2,"result":"ok"`,
		`numbers/a","kind":"add","call":3,"return":8,"value":1,"result":"ok","found":2`,
		`numbers/a","kind":"add","call":4,"return":7,"value":1,"result":"ok","found":1`,
		`numbers/a","kind":"set","call":9,"return":10,"value":100,"result":"ok"`,
		`numbers/a","kind":"add","call":11,"value":5,"result":"unknown"`,
		`numbers/a","kind":"read","call":12,"return":13,"result":"ok","found":100`,
		`numbers/a","kind":"read","call":14,"return":15,"result":"ok","found":105`,
	)
	legal(t, `numbers/a","kind":"add","call":1,"return":2,"value":1,"result":"ok","found":1`,
		`numbers/b","kind":"add","call":1,"return":2,"value":1,"result":"ok","found":1`)
}

func TestADoubleIncrement(t *testing.T) {
	illegal(t, "no order of these 2 of its 2",
		`numbers/a","kind":"add","call":1,"return":2,"value":1,"result":"ok","found":1`,
		`numbers/a","kind":"read","call":3,"return":4,"result":"ok","found":2`,
	)
	illegal(t, "no order",
		`numbers/a","kind":"add","call":1,"return":2,"value":1,"result":"ok","found":1`,
		`numbers/a","kind":"add","call":1,"return":2,"value":1,"result":"ok","found":1`,
	)
	// One whose outcome is unknown counts once at most.
	illegal(t, "no order",
		`numbers/a","kind":"add","call":1,"value":1,"result":"unknown"`,
		`numbers/a","kind":"read","call":3,"return":4,"result":"ok","found":2`,
	)
}

func TestWhatIsNotSearchedInTimeFails(t *testing.T) {
	lines := []string{}
	for range 24 {
		lines = append(lines, `numbers/a","kind":"add","call":1,"value":1,"result":"unknown"`,
			`numbers/a","kind":"set","call":1,"value":0,"result":"unknown"`)
	}
	lines = append(lines, `numbers/a","kind":"read","call":3,"return":4,"result":"ok","found":77`)
	var told strings.Builder
	found, err := run(strings.NewReader(history(lines...)), nil, &told, 100*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if found.Unknown != 1 || !strings.Contains(told.String(), "nobody knows") {
		t.Errorf("%+v: %s", found, told.String())
	}
}

func TestWhatIsNoHistory(t *testing.T) {
	for line, reason := range map[string]string{
		`{`: "line 1 is no operation",
		`{"key":"documents/a","kind":"jump","result":"ok"}`:                         `kind is "jump"`,
		`{"key":"documents/a","kind":"get","result":"fine"}`:                        `result is "fine"`,
		`{"key":"documents/a","kind":"get","result":"ok"}`:                          "return is missing",
		`{"key":"documents/a","kind":"get","call":5,"return":4,"result":"ok"}`:      "before call",
		`{"key":"documents/a","kind":"get","call":5,"return":6,"result":"unknown"}`: "",
	} {
		_, err := run(strings.NewReader(line), nil, &strings.Builder{}, time.Second)
		if reason == "" && err != nil || reason != "" && (err == nil || !strings.Contains(err.Error(), reason)) {
			t.Errorf("%s: %v", line, err)
		}
	}
}
