// Network is the wires between the hosts of a test: every host has a device of its own (TUN), and a packet that one sends to
// another passes a way that can be cut, slow or lossy, in each direction by itself. Kernels without netem have nothing of
// the kind.
//
//	network [-seed N] NAME=ADDRESS...
//
// makes a device NAME in the network namespace that it runs in for each host, prints "ready", and carries out the rules that
// are told to it, one a line as JSON (Rule), each answered with "ok". It ends with its input, and the devices with it.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// largest is more than any packet has.
const largest = 1 << 16

type host struct {
	name    string
	address [4]byte
	device  *os.File
}

type network struct {
	hosts []host
	mutex sync.Mutex
	ways  map[[2]string]*way
}

func open(name string) (*os.File, error) {
	descriptor, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("/dev/net/tun: %w", err)
	}
	request, err := unix.NewIfreq(name)
	if err != nil {
		return nil, fmt.Errorf("the name %q: %w", name, err)
	}
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(descriptor, unix.TUNSETIFF, request); err != nil {
		return nil, fmt.Errorf("the device %s: %w", name, err)
	}
	// So that whoever reads waits without a thread.
	if err := unix.SetNonblock(descriptor, true); err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(descriptor), name), nil
}

// destination gives where a packet of IPv4 goes.
func destination(packet []byte) ([4]byte, bool) {
	if len(packet) < 20 || packet[0]>>4 != 4 {
		return [4]byte{}, false
	}
	return [4]byte(packet[16:20]), true
}

func (n *network) carry(from *host) error {
	packet := make([]byte, largest)
	for {
		size, err := from.device.Read(packet)
		if err != nil {
			return fmt.Errorf("reading from %s: %w", from.name, err)
		}
		address, isIPv4 := destination(packet[:size])
		if !isIPv4 {
			continue
		}
		for i := range n.hosts {
			if n.hosts[i].address == address {
				n.send(from, &n.hosts[i], packet[:size])
			}
		}
	}
}

func (n *network) send(from, to *host, packet []byte) {
	n.mutex.Lock()
	after := n.ways[[2]string{from.name, to.name}].pass(time.Now(), len(packet))
	n.mutex.Unlock()
	for _, delay := range after {
		if delay == 0 {
			// A host whose device is down loses it, as it would.
			_, _ = to.device.Write(packet)
			continue
		}
		later := append([]byte(nil), packet...)
		time.AfterFunc(delay, func() { _, _ = to.device.Write(later) })
	}
}

func (n *network) set(rule Rule) error {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	way, exists := n.ways[[2]string{rule.From, rule.To}]
	if !exists {
		return fmt.Errorf("there is no way from %q to %q", rule.From, rule.To)
	}
	way.rule, way.free = rule, time.Time{}
	return nil
}

func run(seed uint64, arguments []string) error {
	n := &network{ways: map[[2]string]*way{}}
	for _, argument := range arguments {
		name, text, _ := strings.Cut(argument, "=")
		address, err := netip.ParseAddr(text)
		if err != nil || !address.Is4() {
			return fmt.Errorf("%q must be NAME=ADDRESS with an address of IPv4", argument)
		}
		device, err := open(name)
		if err != nil {
			return err
		}
		n.hosts = append(n.hosts, host{name, address.As4(), device})
	}
	for i, from := range n.hosts {
		for j, to := range n.hosts {
			random := rand.New(rand.NewPCG(seed, uint64(i*len(n.hosts)+j)))
			n.ways[[2]string{from.name, to.name}] = &way{random: random}
		}
	}
	for i := range n.hosts {
		go func() {
			fmt.Fprintln(os.Stderr, "network:", n.carry(&n.hosts[i]))
			os.Exit(1)
		}()
	}
	fmt.Println("ready")
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var rule Rule
		if err := json.Unmarshal(lines.Bytes(), &rule); err != nil {
			return fmt.Errorf("%q is no rule: %w", lines.Text(), err)
		}
		if err := n.set(rule); err != nil {
			return err
		}
		fmt.Println("ok")
	}
	return lines.Err()
}

func main() {
	seed := flag.Uint64("seed", 1, "of what is lost")
	flag.Parse()
	if err := run(*seed, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "network:", err)
		os.Exit(1)
	}
}
