package main

import (
	"fmt"
	"strings"

	"github.com/anishathalye/porcupine"
)

// state is what an object is: nothing, or a value. A document's value is the number of the write that made it, which is
// the only one of its number.
type state struct {
	exists bool
	value  int64
}

func (s state) String() string {
	if !s.exists {
		return "nothing"
	}
	return fmt.Sprint(s.value)
}

// model makes a model of a step; with windows only if there are any, for the search is slower then.
func model(step func(s state, r *Record) (bool, state), windows []Window) porcupine.Model {
	if len(windows) > 0 {
		return branching(step)
	}
	return porcupine.Model{
		Init: func() any { return state{} },
		Step: func(s, input, _ any) (bool, any) {
			fits, next := step(s.(state), input.(*Record))
			return fits, next
		},
		DescribeOperation: func(input, _ any) string { return input.(*Record).String() },
		DescribeState:     func(s any) string { return s.(state).String() },
	}
}

// numbers can be read, set and counted with. What was never set counts from 0.
func numbers(windows []Window) (porcupine.Model, error) {
	return model(func(s state, r *Record) (bool, state) {
		switch r.Kind {
		case "read":
			return (r.Found != nil) == s.exists && (!s.exists || *r.Found == s.value), s
		case "set":
			return true, state{true, r.Value}
		default:
			sum := s.value + r.Value
			return r.Result == unknown || r.Found != nil && *r.Found == sum, state{true, sum}
		}
	}, windows), nil
}

// documents are written whole, deleted and read, with revisions. Every write has one revision and every revision is of
// one write; so a write that was made twice, or a revision that came back, is told here already. Of a write that was under
// way while a life ended there may be two: one that was undone with the memory of its request, and another.
func documents(records []*Record, windows []Window) (porcupine.Model, error) {
	revisionOf, writeOf := map[int64]string{}, map[string]int64{}
	otherOf := map[int64]string{}
	mayBeUndone := map[int64]bool{}
	for _, r := range records {
		for _, window := range windows {
			if r.Kind == "put" && window.touches(r) {
				mayBeUndone[r.Value] = true
			}
		}
	}
	tell := func(value int64, revision string) error {
		if known, isKnown := revisionOf[value]; isKnown && known != revision {
			other, isOther := otherOf[value]
			if !mayBeUndone[value] || isOther && other != revision {
				return fmt.Errorf("write %d has two revisions, %s and %s: it was made twice", value, known, revision)
			}
			otherOf[value] = known
		}
		if known, isKnown := writeOf[revision]; isKnown && known != value {
			return fmt.Errorf("revision %s is of two writes, %d and %d", revision, known, value)
		}
		revisionOf[value], writeOf[revision] = revision, value
		return nil
	}
	for _, r := range records {
		switch {
		case r.Kind == "put" && r.Result == ok:
			if err := tell(r.Value, r.Revision); err != nil {
				return porcupine.Model{}, err
			}
		case r.Kind == "get" && r.Found != nil:
			if err := tell(*r.Found, r.Revision); err != nil {
				return porcupine.Model{}, err
			}
		}
	}
	// Whether the document may be at the revision; "" is no document.
	isAt := func(s state, revision string) bool {
		if revision == "" || !s.exists {
			return revision == "" && !s.exists
		}
		known, isKnown := revisionOf[s.value]
		if isKnown {
			other, isOther := otherOf[s.value]
			return known == revision || isOther && other == revision
		}
		// A write that nobody has read, and a revision of which nobody knows the write.
		_, isOfAnother := writeOf[revision]
		return !isOfAnother
	}
	holds := func(s state, r *Record) bool {
		switch r.When {
		case "":
			return r.Kind != "delete" || s.exists
		case "absent":
			return !s.exists
		default:
			return s.exists && isAt(s, r.When)
		}
	}
	return model(func(s state, r *Record) (bool, state) {
		next := state{r.Kind == "put", r.Value}
		if r.Kind == "delete" {
			next = state{}
		}
		switch {
		case r.Kind == "get":
			return (r.Found != nil) == s.exists && (!s.exists || *r.Found == s.value), s
		case r.Result == ok:
			return holds(s, r), next
		case r.Result == unknown && holds(s, r):
			return true, next
		case r.Result == unknown:
			return true, s
		case r.Result == missing:
			return !s.exists, s
		default:
			return !holds(s, r) && isAt(s, r.Revision), s
		}
	}, windows), nil
}

// modelOf gives the model of an object by the first part of its key.
func modelOf(object Object, windows []Window) (porcupine.Model, error) {
	kind, _, _ := strings.Cut(object.Key, "/")
	switch kind {
	case "documents":
		return documents(object.Records, windows)
	case "numbers":
		return numbers(windows)
	default:
		return porcupine.Model{}, fmt.Errorf("key is %q: it must begin with documents/ or numbers/", object.Key)
	}
}

// String is the operation as people read it.
func (r *Record) String() string {
	switch r.Kind {
	case watch:
		return "from here on it may be undone"
	case undo:
		return "some may be undone"
	case forget:
		return "from here on it stays"
	}
	asked := r.Kind
	switch r.Kind {
	case "put", "set", "add":
		asked += fmt.Sprintf(" %d", r.Value)
	}
	switch r.When {
	case "":
	case "absent":
		asked += " if absent"
	default:
		asked += " if at " + r.When
	}
	answer := r.Result
	switch {
	case r.Found != nil:
		answer = fmt.Sprint(*r.Found)
	case r.Result == ok && !r.isWrite():
		answer = "nothing"
	}
	if r.Revision != "" {
		answer += " @" + r.Revision
	}
	return asked + " -> " + answer
}
