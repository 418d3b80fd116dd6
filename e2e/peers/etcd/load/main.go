// Closed loops of clients on etcd: each asks again when it is answered. What they measured is printed as one JSON object,
// as the crate "load" has it.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"
)

// How long a member may take to be reached.
const patience = 10 * time.Second

// The time that counts is this many times as long as what comes before.
const warmUp = 5

type run struct {
	Operations    int     `json:"operations"`
	AllOperations int     `json:"all_operations"`
	PerSecond     float64 `json:"per_second"`
	P50           float64 `json:"p50"`
	P99           float64 `json:"p99"`
	P999          float64 `json:"p999"`
}

func main() {
	log.SetFlags(0)
	endpoints := flag.String("endpoints", "", "the members' client URLs, with commas between")
	leader := flag.Bool("leader", false, "ask the leader only, instead of all members alike")
	operation := flag.String("operation", "put", "fill (each key once), put or get (linearizable)")
	clients := flag.Int("clients", 64, "how many ask at once")
	connections := flag.Int("connections", 15, "how many connections they share")
	milliseconds := flag.Int("milliseconds", 2000, "how long it counts")
	keys := flag.Int("keys", 20000, "how many keys there are")
	size := flag.Int("size", 256, "how long a value is")
	flag.Parse()
	ctx := context.Background()
	members := strings.Split(*endpoints, ",")
	if *leader {
		members = leaderOf(ctx, members)
	}
	var open []*clientv3.Client
	for number := range min(*connections, *clients) {
		member := members[number%len(members)]
		client, err := clientv3.New(clientv3.Config{Endpoints: []string{member}, DialTimeout: patience})
		if err != nil {
			log.Fatalf("%s: %v", member, err)
		}
		defer client.Close()
		open = append(open, client)
	}
	text := make([]byte, *size)
	for at := range text {
		text[at] = byte('a' + rand.N(26))
	}
	value := string(text)
	if *operation == "fill" {
		if err := fill(ctx, open, *clients, *keys, value); err != nil {
			log.Fatal(err)
		}
		fmt.Println("{}")
		return
	}
	ask := func(client *clientv3.Client) error {
		name := key(rand.N(*keys))
		if *operation == "put" {
			_, err := client.Put(ctx, name, value)
			return err
		}
		answer, err := client.Get(ctx, name)
		if err == nil && len(answer.Kvs) != 1 {
			err = fmt.Errorf("%s is not there", name)
		}
		return err
	}
	told, err := loops(open, *clients, time.Duration(*milliseconds)*time.Millisecond, ask)
	if err != nil {
		log.Fatal(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(told); err != nil {
		log.Fatal(err)
	}
}

func key(number int) string {
	return fmt.Sprintf("bench/k%010d", number)
}

func leaderOf(ctx context.Context, members []string) []string {
	client, err := clientv3.New(clientv3.Config{Endpoints: members, DialTimeout: patience})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	for _, member := range members {
		status, err := client.Status(ctx, member)
		if err == nil && status.Leader == status.Header.MemberId {
			return []string{member}
		}
	}
	log.Fatal("no member leads")
	return nil
}

func fill(ctx context.Context, open []*clientv3.Client, clients, keys int, value string) error {
	var group errgroup.Group
	for number := range clients {
		group.Go(func() error {
			for at := number; at < keys; at += clients {
				if _, err := open[number%len(open)].Put(ctx, key(at), value); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

func loops(
	open []*clientv3.Client,
	clients int,
	counts time.Duration,
	ask func(*clientv3.Client) error,
) (run, error) {
	var group errgroup.Group
	from := time.Now().Add(counts / warmUp)
	end := from.Add(counts)
	latencies := make([][]time.Duration, clients)
	all := make([]int, clients)
	for number := range clients {
		group.Go(func() error {
			for {
				asked := time.Now()
				if !asked.Before(end) {
					return nil
				}
				if err := ask(open[number%len(open)]); err != nil {
					return err
				}
				answered := time.Now()
				all[number]++
				if !asked.Before(from) && !answered.After(end) {
					latencies[number] = append(latencies[number], answered.Sub(asked))
				}
			}
		})
	}
	if err := group.Wait(); err != nil {
		return run{}, err
	}
	total := 0
	for _, count := range all {
		total += count
	}
	sorted := slices.Concat(latencies...)
	if len(sorted) == 0 {
		return run{}, fmt.Errorf("nothing was answered within %v", counts)
	}
	slices.Sort(sorted)
	quantile := func(part float64) float64 {
		return float64(sorted[int(float64(len(sorted)-1)*part)].Nanoseconds()) / 1000
	}
	return run{
		Operations:    len(sorted),
		AllOperations: total,
		PerSecond:     float64(len(sorted)) / counts.Seconds(),
		P50:           quantile(0.5),
		P99:           quantile(0.99),
		P999:          quantile(0.999),
	}, nil
}
