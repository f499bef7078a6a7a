package xrtc_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/xrtcbridge/xrtcbridge/xrtc"
	"github.com/xrtcbridge/xrtcbridge/xrtc/server"
	"github.com/xrtcbridge/xrtcbridge/xrtc/xrtctest"
)

// Set items and get them.
func Example() {
	portals, err := xrtctest.Listen(server.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = portals.Stop() }()

	ctx := context.Background()
	client, err := xrtc.Open(ctx, portals.Config()) // xrtc.Config{} takes all from the environment or xrtc.env
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	_, err = client.Set(ctx,
		xrtc.Item{PortalID: "kitchen", Payload: "21.5"},
		xrtc.Item{PortalID: "cellar", Payload: "12.0"})
	if err != nil {
		fmt.Println(err)
		return
	}
	items, err := client.Get(ctx, xrtc.GetRequest{Portals: xrtc.Portals("kitchen", "cellar"), Schedule: xrtc.FIFO})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, item := range items {
		fmt.Println(item.PortalID, item.Payload)
	}
	// Output:
	// kitchen 21.5
	// cellar 12.0
}

// Set and get from several goroutines, with one session.
func Example_concurrent() {
	portals, err := xrtctest.Listen(server.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = portals.Stop() }()

	ctx := context.Background()
	client, err := xrtc.Open(ctx, portals.Config())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	const setters, each = 5, 10
	var all sync.WaitGroup
	for range setters {
		all.Go(func() {
			for range each {
				if _, err := client.Set(ctx, xrtc.Item{PortalID: "room", Payload: "hello"}); err != nil {
					fmt.Println(err)
				}
			}
		})
	}
	got := 0
	for got < setters*each {
		items, err := client.Get(ctx, xrtc.GetRequest{Portals: xrtc.Portals("room"), Mode: xrtc.Watch})
		if err != nil {
			fmt.Println(err)
			break
		}
		got += len(items)
	}
	all.Wait()
	fmt.Println(got, "items")
	// Output: 50 items
}

// Measure how long an item takes from Set to Stream.
func Example_latency() {
	portals, err := xrtctest.Listen(server.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = portals.Stop() }()

	ctx := context.Background()
	client, err := xrtc.Open(ctx, portals.Config())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	const rounds = 20
	var latencies []time.Duration
	send := func() {
		now, _ := time.Now().MarshalText()
		if _, err := client.Set(ctx, xrtc.Item{PortalID: "ping", Payload: string(now)}); err != nil {
			fmt.Println(err)
		}
	}
	send()
	for item, err := range client.Stream(ctx, xrtc.GetRequest{Portals: xrtc.Portals("ping")}) {
		if err != nil {
			fmt.Println(err)
			return
		}
		var sent time.Time
		if err := sent.UnmarshalText([]byte(item.Payload)); err != nil {
			fmt.Println(err)
			return
		}
		if latencies = append(latencies, time.Since(sent)); len(latencies) == rounds {
			break
		}
		send()
	}
	fmt.Println(len(latencies), "round trips")
	// Output: 20 round trips
}

// Two keys of one account reach the same portals, and each has a session of its own.
func Example_twoKeys() {
	first, firstKey := server.NewKey()
	second, secondKey := server.NewKey()
	portals, err := xrtctest.Listen(server.Config{
		Accounts: []server.Account{{ID: xrtctest.AccountID, Keys: []server.Key{firstKey, secondKey}}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = portals.Stop() }()

	ctx := context.Background()
	open := func(key string) (*xrtc.Client, error) {
		config := portals.Config()
		config.APIKey = key
		return xrtc.Open(ctx, config)
	}
	setter, err1 := open(first)
	getter, err2 := open(second)
	if err := errors.Join(err1, err2); err != nil {
		fmt.Println(err)
		return
	}
	defer setter.Close()
	defer getter.Close()

	if _, err := setter.Set(ctx, xrtc.Item{PortalID: "a", Payload: "from the first"}); err != nil {
		fmt.Println(err)
		return
	}
	items, err := getter.Get(ctx, xrtc.GetRequest{Portals: xrtc.Portals("a"), Mode: xrtc.Watch})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(items[0].Payload)
	// Output: from the first
}

// Receive items as they come, going on where another session stopped.
func ExampleClient_Stream() {
	portals, err := xrtctest.Listen(server.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = portals.Stop() }()

	ctx := context.Background()
	client, err := xrtc.Open(ctx, portals.Config())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	for _, payload := range []string{"1", "2", "3", "4"} {
		if _, err := client.Set(ctx, xrtc.Item{PortalID: "a", Payload: payload}); err != nil {
			fmt.Println(err)
			return
		}
	}
	cursor := new(xrtc.Cursor) // it can be kept as JSON
	for _, upTo := range []string{"2", "4"} {
		for item, err := range client.Stream(ctx, xrtc.GetRequest{Portals: xrtc.Portals("a"), After: cursor}) {
			if err != nil {
				fmt.Println(err) // and go on, if it is one that may pass
				continue
			}
			fmt.Println(item.Payload)
			cursor.Add(&item)
			if item.Payload == upTo {
				break
			}
		}
	}
	// Output:
	// 1
	// 2
	// 3
	// 4
}
