// tmaxmax URL: writes the data of every message, a line each.
package main

import (
	"fmt"
	"net/http"
	"os"

	"github.com/tmaxmax/go-sse"
)

func main() {
	request, err := http.NewRequest(http.MethodGet, os.Args[1], http.NoBody)
	if err != nil {
		panic(err)
	}
	connection := sse.NewConnection(request)
	// `complete` holds the whole reply; the default, 64 KB, is too little for a long one.
	connection.Buffer(nil, 4<<20)
	connection.SubscribeToAll(func(event sse.Event) { fmt.Println(event.Data) })
	// It ends when a response is no stream, as 204 is.
	fmt.Fprintln(os.Stderr, connection.Connect())
}
