package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"sort"
	"strings"

	"github.com/anishathalye/porcupine"
)

// Window is a time in which a group was forced to go on in another life: what was done from Begin on may be undone, once,
// before End. Both are nanoseconds of the history's clock.
type Window struct {
	Begin int64 `json:"begin"`
	End   int64 `json:"end"`
}

// touches says whether a record was under way in it.
func (w Window) touches(r *Record) bool {
	return r.Call <= w.End && r.end() >= w.Begin
}

func readWindows(input io.Reader) ([]Window, error) {
	var windows []Window
	scanner := bufio.NewScanner(input)
	for line := 1; scanner.Scan(); line++ {
		var window Window
		if err := json.Unmarshal(scanner.Bytes(), &window); err != nil {
			return nil, fmt.Errorf("line %d is no window: %w", line, err)
		}
		if window.End < window.Begin {
			return nil, fmt.Errorf("line %d: end is %d, before begin, %d", line, window.End, window.Begin)
		}
		windows = append(windows, window)
	}
	return windows, scanner.Err()
}

// What is put among the records of an object for windows. Between watch and forget, undo
// goes back to any state since.
const (
	watch  = "watch"
	undo   = "undo"
	forget = "forget"
)

// withWindows puts windows among the records of an object, those of which it has any.
func withWindows(records []*Record, windows []Window) []*Record {
	mark := func(kind string, call, end int64) *Record {
		return &Record{Client: -1, Kind: kind, Call: call, Return: &end, Result: ok}
	}
	all := records
	for i := 0; i < len(windows); {
		// Those that overlap are one time with several ends of lives.
		whole, j := windows[i], i+1
		for ; j < len(windows) && windows[j].Begin <= whole.End; j++ {
			whole.End = max(whole.End, windows[j].End)
		}
		touched := false
		for _, r := range records {
			touched = touched || whole.touches(r)
		}
		if touched {
			all = append(all, mark(watch, whole.Begin, whole.Begin))
			for _, window := range windows[i:j] {
				all = append(all, mark(undo, window.Begin, window.End))
			}
			all = append(all, mark(forget, whole.End, whole.End))
		}
		i = j
	}
	sort.SliceStable(all, func(a, b int) bool { return all[a].Call < all[b].Call })
	return all
}

// branch is one of the things that an object may be. While it is watched it knows what it was since, the last at the end;
// as text, so that two that are alike are the same.
type branch struct {
	now  state
	past string
}

func (b branch) been() []state {
	var been []state
	for _, text := range strings.Split(strings.TrimSuffix(b.past, ";"), ";") {
		var s state
		// It was written below.
		if _, err := fmt.Sscanf(text, "%t:%d", &s.exists, &s.value); err == nil {
			been = append(been, s)
		}
	}
	return been
}

func (b branch) next(s state) branch {
	if b.past != "" && s != b.now {
		b.past += s.encoded()
	}
	b.now = s
	return b
}

func (s state) encoded() string { return fmt.Sprintf("%t:%d;", s.exists, s.value) }

// branching makes of a model one that also knows windows.
func branching(step func(s state, r *Record) (bool, state)) porcupine.Model {
	all := porcupine.NondeterministicModel{
		Init: func() []any { return []any{branch{}} },
		Step: func(s, input, _ any) []any {
			b, r := s.(branch), input.(*Record)
			switch r.Kind {
			case watch:
				return []any{branch{b.now, b.now.encoded()}}
			case forget:
				return []any{branch{b.now, ""}}
			case undo:
				var next []any
				past := ""
				for _, s := range b.been() {
					past += s.encoded()
					next = append(next, branch{s, past})
				}
				return next
			}
			fits, next := step(b.now, r)
			if !fits {
				return nil
			}
			return []any{b.next(next)}
		},
		DescribeOperation: func(input, _ any) string { return input.(*Record).String() },
		DescribeState:     func(s any) string { return s.(branch).now.String() },
	}
	return all.ToModel()
}
