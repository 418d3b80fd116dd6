package main

import (
	"math/rand/v2"
	"testing"
	"time"
)

func passed(rule Rule, packets, size int) (arrived int, last time.Duration) {
	w := way{rule: rule, random: rand.New(rand.NewPCG(1, 2))}
	now := time.Now()
	for range packets {
		for _, after := range w.pass(now, size) {
			arrived++
			last = max(last, after)
		}
	}
	return arrived, last
}

func TestAWay(t *testing.T) {
	if arrived, last := passed(Rule{}, 1000, 100); arrived != 1000 || last != 0 {
		t.Errorf("an open way: %d packets, %v", arrived, last)
	}
	if arrived, _ := passed(Rule{Cut: true}, 1000, 100); arrived != 0 {
		t.Errorf("a way that is cut: %d packets", arrived)
	}
	if arrived, _ := passed(Rule{Loss: 0.2}, 10_000, 100); arrived < 7_800 || arrived > 8_200 {
		t.Errorf("a fifth is lost: %d packets of 10,000", arrived)
	}
	if arrived, _ := passed(Rule{Repeat: 0.1}, 10_000, 100); arrived < 10_800 || arrived > 11_200 {
		t.Errorf("a tenth comes twice: %d packets of 10,000", arrived)
	}
	if _, last := passed(Rule{DelayMs: 50, JitterMs: 20}, 1000, 100); last < 65*time.Millisecond || last > 70*time.Millisecond {
		t.Errorf("50 to 70 ms: %v", last)
	}
	// 1,000 packets of 1,000 bytes at once are a second of it, which waits; the rest is lost.
	arrived, last := passed(Rule{BytesPerSecond: 1_000_000}, 5000, 1000)
	if arrived < 1000 || arrived > 1002 || last < time.Second || last > 1010*time.Millisecond {
		t.Errorf("1 MB/s: %d packets, %v", arrived, last)
	}
}

func TestWhereAPacketGoes(t *testing.T) {
	packet := make([]byte, 40)
	packet[0] = 0x45
	copy(packet[16:], []byte{198, 18, 0, 3})
	if to, is := destination(packet); !is || to != [4]byte{198, 18, 0, 3} {
		t.Errorf("%v %v", to, is)
	}
	packet[0] = 0x60
	for _, other := range [][]byte{packet, packet[:10], {}} {
		if _, is := destination(other); is {
			t.Errorf("%v is no packet of IPv4", other)
		}
	}
}
