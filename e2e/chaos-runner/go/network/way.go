package main

import (
	"math/rand/v2"
	"time"
)

// Rule is what one direction of a link does to packets.
type Rule struct {
	From string `json:"from"`
	To   string `json:"to"`
	// Cut lets nothing through.
	Cut bool `json:"cut"`
	// Loss and Repeat are shares of packets, from 0 to 1: those that are lost, and those that arrive twice.
	Loss   float64 `json:"loss"`
	Repeat float64 `json:"repeat"`
	// DelayMs and up to JitterMs more is how long each packet takes, by itself: they overtake each other.
	DelayMs  float64 `json:"delay_ms"`
	JitterMs float64 `json:"jitter_ms"`
	// BytesPerSecond is how much goes through; 0 is no bound. Up to a second of it waits, and the rest is lost.
	BytesPerSecond float64 `json:"bytes_per_second"`
}

// longestQueue is how long packets wait for their turn at most.
const longestQueue = time.Second

// way is one direction of a link.
type way struct {
	rule   Rule
	random *rand.Rand
	// free is when the last packet that was let in will have left.
	free time.Time
}

// pass gives after what time each copy of a packet arrives: none, one or two.
func (w *way) pass(now time.Time, size int) []time.Duration {
	if w.rule.Cut || w.rule.Loss > 0 && w.random.Float64() < w.rule.Loss {
		return nil
	}
	var queue time.Duration
	if w.rule.BytesPerSecond > 0 {
		if w.free.Before(now) {
			w.free = now
		}
		if w.free.Sub(now) > longestQueue {
			return nil
		}
		w.free = w.free.Add(time.Duration(float64(size) / w.rule.BytesPerSecond * float64(time.Second)))
		queue = w.free.Sub(now)
	}
	copies := 1
	if w.rule.Repeat > 0 && w.random.Float64() < w.rule.Repeat {
		copies = 2
	}
	after := make([]time.Duration, copies)
	for i := range after {
		milliseconds := w.rule.DelayMs + w.rule.JitterMs*w.random.Float64()
		after[i] = queue + time.Duration(milliseconds*float64(time.Millisecond))
	}
	return after
}
