package main

import (
	"fmt"
	"io"
	"runtime"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

// Verdict is what was found of an object.
type Verdict struct {
	Object Object
	// Result is Ok, Illegal, or Unknown when the time was over.
	Result porcupine.CheckResult
	// Reason says why there is no order that fits, where that is known without a search.
	Reason string
	// Smallest is a part of the history that does not fit either, as small as was found.
	Smallest []*Record
}

func fits(model porcupine.Model, records []*Record, limit time.Duration) porcupine.CheckResult {
	operations := make([]porcupine.Operation, len(records))
	for i, record := range records {
		operations[i] = record.operation()
	}
	return porcupine.CheckOperationsTimeout(model, operations, limit)
}

func check(object Object, windows []Window, limit time.Duration) Verdict {
	model, err := modelOf(object, windows)
	if err != nil {
		return Verdict{object, porcupine.Illegal, err.Error(), nil}
	}
	object.Records = withWindows(object.Records, windows)
	result := fits(model, object.Records, limit)
	verdict := Verdict{Object: object, Result: result}
	if result == porcupine.Illegal {
		verdict.Smallest = smallest(model, object.Records, limit)
	}
	return verdict
}

// until is what was known of the records at a moment: what had not ended may or may not have been done.
func until(records []*Record, moment int64) []*Record {
	var known []*Record
	for _, record := range records {
		switch {
		case record.Call > moment:
		case record.end() <= moment:
			known = append(known, record)
		case record.isWrite():
			open := *record
			open.Result, open.Return, open.Found, open.Revision = unknown, nil, nil, ""
			known = append(known, &open)
		}
	}
	return known
}

// smallest gives the part of a history that ends with the first answer that cannot be, without the reads that it can do
// without: a history that is illegal without a read is with it.
func smallest(model porcupine.Model, records []*Record, limit time.Duration) []*Record {
	isIllegal := func(part []*Record) bool { return fits(model, part, limit) == porcupine.Illegal }
	var ends []int64
	for _, record := range records {
		if record.end() != forever {
			ends = append(ends, record.end())
		}
	}
	slices.Sort(ends)
	first := sort.Search(len(ends), func(i int) bool { return isIllegal(until(records, ends[i])) })
	if first == len(ends) {
		return records
	}
	part := until(records, ends[first])
	for i := 0; i < len(part); {
		changesNothing := !part[i].isWrite() || part[i].Result == conflict || part[i].Result == missing
		without := slices.Delete(slices.Clone(part), i, i+1)
		if changesNothing && isIllegal(without) {
			part = without
		} else {
			i++
		}
	}
	return part
}

// checkAll checks objects side by side.
func checkAll(objects []Object, windows []Window, limit time.Duration) []Verdict {
	verdicts := make([]Verdict, len(objects))
	places := make(chan struct{}, runtime.NumCPU())
	var all sync.WaitGroup
	for i, object := range objects {
		all.Add(1)
		places <- struct{}{}
		go func() {
			defer all.Done()
			verdicts[i] = check(object, windows, limit)
			<-places
		}()
	}
	all.Wait()
	return verdicts
}

// tell writes what is wrong with an object, if anything is.
func (v Verdict) tell(output io.Writer, limit time.Duration) {
	switch {
	case v.Result == porcupine.Ok:
		return
	case v.Result == porcupine.Unknown:
		fmt.Fprintf(output, "%s: nobody knows: %d operations were not searched within %v\n", v.Object.Key, len(v.Object.Records), limit)
		return
	case v.Reason != "":
		fmt.Fprintf(output, "%s: illegal: %s\n", v.Object.Key, v.Reason)
		return
	}
	fmt.Fprintf(output, "%s: illegal: no order of these %d of its %d operations fits their answers:\n",
		v.Object.Key, len(v.Smallest), len(v.Object.Records))
	for _, record := range v.Smallest {
		end := "open"
		if record.end() != forever {
			end = fmt.Sprintf("%.6f", float64(record.end())/1e9)
		}
		fmt.Fprintf(output, "  %12.6f .. %-12s client %-3d %-9s %-4s %s\n",
			float64(record.Call)/1e9, end, record.Client, record.Door, record.Node, record)
	}
}
