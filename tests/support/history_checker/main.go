// Checks whether a history of the run store is linearizable, with porcupine.
//
// It reads a history from standard input, as `histories.py` writes it, and prints a verdict. Exit status: 0 if the
// history is linearizable, 1 if it is not, 2 if the time was not enough to decide or the history cannot be read.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"sort"
	"time"

	"github.com/anishathalye/porcupine"
)

// How many operations before and after the point at which the search got stuck are printed.
const printed = 8

func main() {
	timeout := flag.Duration("timeout", time.Minute, "after which the check is given up")
	html := flag.String("html", "", "a file for an interactive picture of a history that is not linearizable")
	flag.Parse()
	var recorded History
	decoder := json.NewDecoder(os.Stdin)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&recorded); err != nil {
		fail("the history cannot be read: %v", err)
	}
	if len(recorded.Operations) == 0 {
		fail("the history is empty")
	}
	checked := model(&recorded)
	operations := operationsOf(&recorded)
	result, info := porcupine.CheckOperationsVerbose(checked, operations, *timeout)
	switch result {
	case porcupine.Ok:
		fmt.Printf("linearizable: %d operations\n", len(operations))
	case porcupine.Illegal:
		fmt.Println("not linearizable")
		for part, history := range checked.Partition(operations) {
			explain(checked, history, info.PartialLinearizationsOperations()[part])
		}
		if *html != "" {
			if err := porcupine.VisualizePath(checked, info, *html); err != nil {
				fail("the picture cannot be written: %v", err)
			}
		}
		os.Exit(1)
	default:
		fail("undecided after %v", *timeout)
	}
}

func operationsOf(recorded *History) []porcupine.Operation {
	var last int64
	for _, each := range recorded.Operations {
		last = max(last, each.Call, each.Returned)
	}
	operations := make([]porcupine.Operation, 0, len(recorded.Operations))
	for _, each := range recorded.Operations {
		if each.ID == "" && each.Result != nil {
			each.ID = each.Result.ID
		}
		returned := each.Returned
		if returned == 0 {
			returned = last + 1 // it may take effect at any later time
		}
		operations = append(operations, porcupine.Operation{
			ClientId: each.Client, Input: each, Call: each.Call, Output: each.Result, Return: returned,
		})
	}
	return operations
}

// explain prints where the longest attempt to order the operations of a user ended.
func explain(checked porcupine.Model, history []porcupine.Operation, attempts [][]porcupine.Operation) {
	var longest []porcupine.Operation
	for _, attempt := range attempts {
		if len(attempt) > len(longest) {
			longest = attempt
		}
	}
	if len(longest) == len(history) {
		return
	}
	placed, state := map[*Operation]bool{}, checked.Init()
	for _, each := range longest {
		placed[each.Input.(*Operation)] = true
		_, state = checked.Step(state, each.Input, each.Output)
	}
	var left []porcupine.Operation
	for _, each := range history {
		if !placed[each.Input.(*Operation)] {
			left = append(left, each)
		}
	}
	sort.Slice(left, func(a, b int) bool { return left[a].Return < left[b].Return })
	user := history[0].Input.(*Operation).User
	fmt.Printf("%s: at most %d of %d operations can be ordered, ending with\n", user, len(longest), len(history))
	list(longest[max(0, len(longest)-printed):])
	fmt.Printf("in the state\n  %s\nand none of these can be next:\n", checked.DescribeState(state))
	list(left[:min(printed, len(left))])
}

func list(operations []porcupine.Operation) {
	for _, each := range operations {
		described := describe(each.Input, each.Output)
		fmt.Printf("  client %d, %d to %d: %s\n", each.ClientId, each.Call, each.Return, described)
	}
}

func fail(format string, values ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", values...)
	os.Exit(2)
}
