// Puts in a closed loop through the official Go client: the peer of `offloadctl bench etcd`. Connections, clients and
// values as etcd's own benchmark has them; it prints puts a second and the CPU seconds it used.
//
//	etcd_load ENDPOINT CONNECTIONS CLIENTS COUNT KEY_BYTES VALUE_BYTES
package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.etcd.io/etcd/clientv3"
)

const prefix = "peer"

func number(at int) int {
	value, err := strconv.Atoi(os.Args[at])
	if err != nil || value < 1 {
		fail(fmt.Errorf("argument %d is no positive number: %s", at, os.Args[at]))
	}
	return value
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "etcd_load:", err)
	os.Exit(1)
}

func main() {
	if len(os.Args) != 7 {
		fail(fmt.Errorf("usage: etcd_load ENDPOINT CONNECTIONS CLIENTS COUNT KEY_BYTES VALUE_BYTES"))
	}
	connections := make([]*clientv3.Client, number(2))
	for i := range connections {
		client, err := clientv3.New(clientv3.Config{Endpoints: []string{os.Args[1]}, DialTimeout: 5 * time.Second})
		if err != nil {
			fail(err)
		}
		connections[i] = client
	}
	clients, count, keyBytes := number(3), int64(number(4)), number(5)
	random := make([]byte, number(6))
	rand.Read(random)
	value := string(random)
	context := context.Background()
	for _, client := range connections {
		if _, err := client.Get(context, prefix); err != nil {
			fail(err)
		}
	}

	var next int64
	var group sync.WaitGroup
	before, began := cpu(), time.Now()
	for i := 0; i < clients; i++ {
		group.Add(1)
		go func(client *clientv3.Client) {
			defer group.Done()
			for {
				n := atomic.AddInt64(&next, 1)
				if n > count {
					return
				}
				number := strconv.FormatInt(n, 10)
				key := prefix + strings.Repeat("0", keyBytes-len(prefix)-len(number)) + number
				if _, err := client.Put(context, key, value); err != nil {
					fail(err)
				}
			}
		}(connections[i%len(connections)])
	}
	group.Wait()
	elapsed := time.Since(began).Seconds()
	used := cpu() - before
	connections[0].Delete(context, prefix, clientv3.WithPrefix())
	fmt.Printf("%.1f puts/s %.3f cpu_s\n", float64(count)/elapsed, used)
}

// CPU seconds of this process so far.
func cpu() float64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		fail(err)
	}
	seconds := func(t syscall.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }
	return seconds(usage.Utime) + seconds(usage.Stime)
}
