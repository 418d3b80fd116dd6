// Checker says whether a history of operations is linearizable, object by object, with porcupine
// (Athalye, https://github.com/anishathalye/porcupine; the search is that of Wing and Gong, with Lowe's cache).
//
// It reads one operation a line as JSON (Record) and prints what cannot be, then one JSON object of all. The exit status is
// 1 when an object is illegal or was not searched in time, 2 when the history cannot be read.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/anishathalye/porcupine"
)

type summary struct {
	Objects    int `json:"objects"`
	Operations int `json:"operations"`
	Largest    int `json:"largest"`
	Illegal    int `json:"illegal"`
	Unknown    int `json:"unknown"`
}

func run(input io.Reader, windows []Window, output io.Writer, limit time.Duration) (summary, error) {
	objects, err := read(input)
	if err != nil {
		return summary{}, err
	}
	found := summary{Objects: len(objects)}
	for _, verdict := range checkAll(objects, windows, limit) {
		found.Operations += len(verdict.Object.Records)
		found.Largest = max(found.Largest, len(verdict.Object.Records))
		switch verdict.Result {
		case porcupine.Illegal:
			found.Illegal++
		case porcupine.Unknown:
			found.Unknown++
		}
		verdict.tell(output, limit)
	}
	return found, nil
}

func main() {
	limit := flag.Duration("limit", time.Minute, "how long one object may be searched")
	lives := flag.String("windows", "", "a file of the times in which what was done may be undone (Window, one a line)")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: checker [-limit 1m] [-windows FILE] HISTORY")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	fail := func(err error) {
		fmt.Fprintln(os.Stderr, "checker:", err)
		os.Exit(2)
	}
	file, err := os.Open(flag.Arg(0))
	if err != nil {
		fail(err)
	}
	var windows []Window
	if *lives != "" {
		file, err := os.Open(*lives)
		if err != nil {
			fail(err)
		}
		if windows, err = readWindows(file); err != nil {
			fail(fmt.Errorf("%s: %w", *lives, err))
		}
	}
	found, err := run(file, windows, os.Stdout, *limit)
	if err != nil {
		fail(err)
	}
	line, err := json.Marshal(found)
	if err != nil {
		fail(err)
	}
	fmt.Println(string(line))
	if found.Illegal+found.Unknown > 0 {
		os.Exit(1)
	}
}
