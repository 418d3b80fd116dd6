package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"sort"

	"github.com/anishathalye/porcupine"
)

// Record is one operation as the clients have recorded it: a line of a history.
type Record struct {
	Client int    `json:"client"`
	Door   string `json:"door"`
	Node   string `json:"node"`
	// Key names one object: "documents/ID" or "numbers/KEY". Other keys are not checked here.
	Key string `json:"key"`
	// Call and Return are nanoseconds of one steady clock. Who waits no more has no Return.
	Call   int64  `json:"call"`
	Return *int64 `json:"return,omitempty"`
	// Kind is get, put or delete of a document; read, set or add of a number.
	Kind string `json:"kind"`
	// Value is what is written, or counted by.
	Value int64 `json:"value,omitempty"`
	// When is what must hold before: "" nothing, "absent", or a revision.
	When string `json:"when,omitempty"`
	// Result is ok, conflict, missing, unknown or failed.
	Result string `json:"result"`
	// Revision is that of the document that was written or is there; none when there is none.
	Revision string `json:"revision,omitempty"`
	// Found is what was read, or the sum; none when there is nothing.
	Found *int64 `json:"found,omitempty"`
}

const (
	ok       = "ok"
	conflict = "conflict"
	missing  = "missing"
	unknown  = "unknown"
	failed   = "failed"
)

// forever is the end of what has none.
const forever = math.MaxInt64

// isWrite says whether it may change something.
func (r *Record) isWrite() bool {
	return r.Kind != "get" && r.Kind != "read"
}

// end is when its outcome was known.
func (r *Record) end() int64 {
	if r.Result == unknown || r.Return == nil {
		return forever
	}
	return *r.Return
}

func (r *Record) operation() porcupine.Operation {
	return porcupine.Operation{ClientId: r.Client, Input: r, Output: r, Call: r.Call, Return: r.end()}
}

func (r *Record) validate() error {
	switch r.Kind {
	case "get", "put", "delete", "read", "set", "add", "append":
	default:
		return fmt.Errorf("kind is %q: it must be get, put, delete, read, set, add or append", r.Kind)
	}
	switch r.Result {
	case ok, conflict, missing, unknown, failed:
	default:
		return fmt.Errorf("result is %q: it must be ok, conflict, missing, unknown or failed", r.Result)
	}
	if r.Result != unknown && r.Return == nil {
		return fmt.Errorf("return is missing, and result is %q", r.Result)
	}
	if r.Return != nil && *r.Return < r.Call {
		return fmt.Errorf("return is %d, before call, %d", *r.Return, r.Call)
	}
	return nil
}

// Object is all that was done with one key.
type Object struct {
	Key     string
	Records []*Record
}

// read gives the objects of a history, by key. What certainly changed nothing and told nothing is left out.
func read(input io.Reader) ([]Object, error) {
	scanner := bufio.NewScanner(input)
	scanner.Buffer(make([]byte, 1<<16), 1<<24)
	byKey := map[string][]*Record{}
	for line := 1; scanner.Scan(); line++ {
		record := &Record{}
		if err := json.Unmarshal(scanner.Bytes(), record); err != nil {
			return nil, fmt.Errorf("line %d is no operation: %w", line, err)
		}
		if err := record.validate(); err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		if record.Kind == "append" || record.Result == failed || record.Result == unknown && !record.isWrite() {
			continue
		}
		byKey[record.Key] = append(byKey[record.Key], record)
	}
	if err := scanner.Err(); err != nil {
		return nil, err
	}
	objects := make([]Object, 0, len(byKey))
	for key, records := range byKey {
		sort.SliceStable(records, func(i, j int) bool { return records[i].Call < records[j].Call })
		objects = append(objects, Object{key, records})
	}
	sort.Slice(objects, func(i, j int) bool { return objects[i].Key < objects[j].Key })
	return objects, nil
}
