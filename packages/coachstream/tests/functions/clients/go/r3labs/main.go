// r3labs URL: writes the data of every message, a line each.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/r3labs/sse/v2"
)

var errNothingLeft = errors.New("nothing left")

// untilOver waits as long as an EventSource does, until the reply is over.
type untilOver struct{ isOver *bool }

func (b untilOver) Reset() {}
func (b untilOver) NextBackOff() time.Duration {
	if *b.isOver {
		return -1
	}
	return time.Second
}

func main() {
	isOver := false
	reading, stop := context.WithCancel(context.Background())
	defer stop()
	// `complete` holds the whole reply; the default, 64 KB, is too little for a long one.
	client := sse.NewClient(os.Args[1], sse.ClientMaxBufferSize(4<<20))
	client.ReconnectStrategy = untilOver{&isOver}
	client.ResponseValidator = func(_ *sse.Client, response *http.Response) error {
		if response.StatusCode == http.StatusNoContent {
			isOver = true
			return errNothingLeft
		}
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("status %d", response.StatusCode)
		}
		return nil
	}
	// It returns when a connection ends in good order, and reconnects only when one breaks.
	for !isOver {
		err := client.SubscribeRawWithContext(reading, func(message *sse.Event) {
			var event struct{ Type string }
			if json.Unmarshal(message.Data, &event) != nil {
				return // a block that was cut off; it comes again
			}
			fmt.Println(string(message.Data))
			if event.Type == "complete" || event.Type == "error" {
				isOver = true
				stop()
			}
		})
		if err != nil && !isOver {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}
