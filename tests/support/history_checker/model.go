package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/anishathalye/porcupine"
)

// History is what a recorder wrote; `histories.py` describes the fields.
type History struct {
	Limits     map[string]Limits `json:"limits,omitempty"`
	Tokens     string            `json:"tokens,omitempty"`
	Use        string            `json:"use,omitempty"`
	Operations []*Operation      `json:"operations,omitempty"`
}

// Limits are those of one user; 0 is none.
type Limits struct {
	Runs   int `json:"runs,omitempty"`
	Turns  int `json:"turns,omitempty"`
	Tokens int `json:"tokens,omitempty"`
}

// Operation is one call of the store. Result is nil, and Returned 0, if its outcome is unknown.
type Operation struct {
	Client       int     `json:"client,omitempty"`
	Name         string  `json:"name,omitempty"`
	User         string  `json:"user,omitempty"`
	Conversation string  `json:"conversation,omitempty"`
	Run          string  `json:"run,omitempty"`
	Message      string  `json:"message,omitempty"`
	Text         string  `json:"text,omitempty"`
	Minute       int     `json:"minute,omitempty"`
	Entry        *Entry  `json:"entry,omitempty"`
	Reply        string  `json:"reply,omitempty"`
	IsComplete   bool    `json:"isComplete,omitempty"`
	Spent        int     `json:"spent,omitempty"`
	IsAlone      bool    `json:"isAlone,omitempty"`
	Call         int64   `json:"call,omitempty"`
	Returned     int64   `json:"returned,omitempty"`
	Result       *Result `json:"result,omitempty"`
}

// Result is what a call returned; which fields are set depends on its kind.
type Result struct {
	Kind     string   `json:"kind,omitempty"`
	Run      string   `json:"run,omitempty"`
	Reply    string   `json:"reply,omitempty"`
	Quota    string   `json:"quota,omitempty"`
	IsFirst  bool     `json:"isFirst,omitempty"`
	IsStored bool     `json:"isStored,omitempty"`
	Entries  []Entry  `json:"entries,omitempty"`
	Names    []string `json:"names,omitempty"`
	Runs     int      `json:"runs,omitempty"`
	Turns    int      `json:"turns,omitempty"`
	Tokens   int      `json:"tokens,omitempty"`
}

// Entry is a log entry; its content is the kind of the entry, with what makes it unique.
type Entry struct {
	Number   int    `json:"number,omitempty"`
	Writer   string `json:"writer,omitempty"`
	Content  string `json:"content,omitempty"`
	IsLeased bool   `json:"isLeased,omitempty"`
}

// isRepeated is whether an entry was written by an earlier attempt of its writer.
func (entry Entry) isRepeated(there Entry) bool {
	return entry.Writer == there.Writer && entry.Content == there.Content
}

// user is the state of the store for one user, whose conversations share the quotas. It is never changed, but copied.
type user struct {
	conversations map[string]*conversation
	turns         map[int]int
	tokens        int
}

// conversation has the names of its messages and replies in the order of their ids.
type conversation struct {
	order      []string
	texts      map[string]string
	replies    map[string]reply
	runs       map[string]*run
	unfinished string
}

type reply struct {
	name       string
	isComplete bool
}

// run has the place of its reply: behind all messages of its beginning, before those that wait for its end.
type run struct {
	message string
	place   int
	log     []Entry
}

// model is the sequential specification, of one user at a time.
func model(history *History) porcupine.Model {
	return porcupine.Model{
		Partition: partition,
		Init:      func() any { return &user{} },
		Step: func(state, input, output any) (bool, any) {
			operation, result := input.(*Operation), output.(*Result)
			if result == nil {
				_, after := expected(history, state.(*user), operation, &Result{})
				return true, after
			}
			isAllowed, after := expected(history, state.(*user), operation, result)
			return isAllowed, after
		},
		Equal:             reflect.DeepEqual,
		DescribeOperation: describe,
		DescribeState:     func(state any) string { return state.(*user).String() },
	}
}

func partition(operations []porcupine.Operation) [][]porcupine.Operation {
	byUser := map[string][]porcupine.Operation{}
	for _, each := range operations {
		name := each.Input.(*Operation).User
		byUser[name] = append(byUser[name], each)
	}
	names := make([]string, 0, len(byUser))
	for name := range byUser {
		names = append(names, name)
	}
	slices.Sort(names)
	parts := make([][]porcupine.Operation, 0, len(names))
	for _, name := range names {
		parts = append(parts, byUser[name])
	}
	return parts
}

// expected is whether the result is allowed in a state, and the state afterwards.
//
// The state afterwards depends on the result only where several are allowed. An empty result stands for an unknown
// one, which has all effects that the operation can have.
func expected(history *History, before *user, operation *Operation, result *Result) (bool, *user) {
	there, isThere := before.conversations[operation.Conversation]
	if !isThere {
		there = &conversation{}
	}
	switch operation.Name {
	case "begin":
		return begin(history, before, there, operation, result)
	case "wait":
		return wait(before, there, operation, result)
	case "append":
		return appendEntry(before, there, operation, result)
	case "finish":
		return finish(before, there, operation, result)
	case "unfinished":
		return result.Run == there.unfinished, before
	case "log":
		var log []Entry
		if of := there.runs[operation.Run]; of != nil {
			log = of.log
		}
		return slices.Equal(result.Entries, log), before
	case "messages":
		return slices.Equal(result.Names, there.order), before
	case "use":
		return use(history, before, operation, result), before
	}
	panic("there is no operation " + operation.Name)
}

func begin(history *History, before *user, there *conversation, operation *Operation, result *Result) (bool, *user) {
	text, isStored := there.texts[operation.Message]
	if isStored && text != operation.Text {
		return result.Kind == "mismatch", before
	}
	if last := there.replies[operation.Message]; last.isComplete {
		return result.Kind == "answered" && result.Reply == last.name, before
	}
	if there.unfinished != "" {
		isTrue := result.Run == there.unfinished && result.IsStored == isStored
		return result.Kind == "busy" && isTrue, before
	}
	limits := history.Limits[operation.User]
	isUsedUp := map[string]bool{
		"concurrent-runs":  before.liveRuns() >= limits.Runs,
		"turns-per-minute": limits.Turns > 0 && before.turns[operation.Minute] >= limits.Turns,
		"tokens-per-day":   limits.Tokens > 0 && before.tokens >= limits.Tokens,
	}
	if result.Kind == "refused" {
		return isUsedUp[result.Quota], before
	}
	if isUsedUp["concurrent-runs"] || isUsedUp["turns-per-minute"] {
		return false, before
	}
	if isUsedUp["tokens-per-day"] && history.Tokens == "exact" {
		return false, before
	}
	changed := there.copied()
	if !isStored {
		changed.order = append(changed.order, operation.Message)
		changed.texts[operation.Message] = operation.Text
	}
	changed.unfinished = operation.Run
	changed.runs[operation.Run] = &run{operation.Message, len(changed.order), []Entry{*operation.Entry}}
	after := before.with(operation.Conversation, changed)
	after.turns = maps.Clone(after.turns)
	if after.turns == nil {
		after.turns = map[int]int{}
	}
	after.turns[operation.Minute]++
	return result.Kind == "begun" && result.IsFirst == !isStored, after
}

func wait(before *user, there *conversation, operation *Operation, result *Result) (bool, *user) {
	if there.unfinished != operation.Run {
		return result.Kind == "ended", before
	}
	if text, isStored := there.texts[operation.Message]; isStored {
		if text != operation.Text {
			return result.Kind == "mismatch", before
		}
		return result.Kind == "saved", before
	}
	changed := there.copied()
	changed.order = append(changed.order, operation.Message)
	changed.texts[operation.Message] = operation.Text
	return result.Kind == "saved", before.with(operation.Conversation, changed)
}

func appendEntry(before *user, there *conversation, operation *Operation, result *Result) (bool, *user) {
	of := there.runs[operation.Run]
	if of == nil {
		return false, before // no one may append to a run before it has seen it
	}
	if number := operation.Entry.Number; number < len(of.log) {
		return matches(result, *operation.Entry, of.log[number], "appended"), before
	}
	if operation.Entry.Number > len(of.log) {
		return false, before
	}
	changed := there.copied()
	changed.runs[operation.Run] = of.with(*operation.Entry)
	return result.Kind == "appended", before.with(operation.Conversation, changed)
}

func finish(before *user, there *conversation, operation *Operation, result *Result) (bool, *user) {
	of := there.runs[operation.Run]
	if of == nil {
		return false, before
	}
	if number := operation.Entry.Number; number < len(of.log) {
		return matches(result, *operation.Entry, of.log[number], "finished"), before
	}
	if there.unfinished != operation.Run {
		return result.Kind == "lost", before
	}
	if operation.Entry.Number > len(of.log) {
		return false, before
	}
	changed := there.copied()
	changed.runs[operation.Run] = of.with(*operation.Entry)
	changed.unfinished = ""
	if operation.Reply != "" {
		place := of.place
		if replaced := slices.Index(changed.order, there.replies[of.message].name); replaced >= 0 {
			changed.order = slices.Delete(changed.order, replaced, replaced+1)
			place--
		}
		changed.order = slices.Insert(changed.order, place, operation.Reply)
		changed.replies[of.message] = reply{operation.Reply, operation.IsComplete}
	}
	after := before.with(operation.Conversation, changed)
	after.tokens += operation.Spent
	return result.Kind == "finished", after
}

// matches is whether the result is right for an entry whose number is taken.
func matches(result *Result, entry, there Entry, repeated string) bool {
	if entry.isRepeated(there) {
		return result.Kind == repeated
	}
	return result.Kind == "taken" && len(result.Entries) == 1 && result.Entries[0] == there
}

func use(history *History, before *user, operation *Operation, result *Result) bool {
	if result.Turns != before.turns[operation.Minute] {
		return false
	}
	if history.Use == "exact" {
		return result.Runs == before.liveRuns() && result.Tokens == before.tokens
	}
	// The other counts are read conversation by conversation, and a run counts although its lease is over.
	if !operation.IsAlone {
		return true
	}
	isBetween := before.liveRuns() <= result.Runs && result.Runs <= before.unfinishedRuns()
	return isBetween && result.Tokens == before.tokens
}

func (before *user) liveRuns() int {
	live := 0
	for _, each := range before.conversations {
		if each.unfinished != "" {
			log := each.runs[each.unfinished].log
			if log[len(log)-1].IsLeased {
				live++
			}
		}
	}
	return live
}

func (before *user) unfinishedRuns() int {
	unfinished := 0
	for _, each := range before.conversations {
		if each.unfinished != "" {
			unfinished++
		}
	}
	return unfinished
}

func (before *user) String() string {
	described := fmt.Sprintf("turns: %v, tokens: %d", before.turns, before.tokens)
	names := make([]string, 0, len(before.conversations))
	for name := range before.conversations {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		there := before.conversations[name]
		described += fmt.Sprintf("; %s: %v", name, there.order)
		if of := there.runs[there.unfinished]; of != nil {
			described += fmt.Sprintf(", unfinished: %s %v", there.unfinished, of.log)
		}
	}
	return described
}

func (before *user) with(name string, changed *conversation) *user {
	after := &user{maps.Clone(before.conversations), before.turns, before.tokens}
	if after.conversations == nil {
		after.conversations = map[string]*conversation{}
	}
	after.conversations[name] = changed
	return after
}

func (of *run) with(entry Entry) *run {
	return &run{of.message, of.place, append(slices.Clip(of.log), entry)}
}

func (there *conversation) copied() *conversation {
	changed := &conversation{
		slices.Clone(there.order),
		maps.Clone(there.texts),
		maps.Clone(there.replies),
		maps.Clone(there.runs),
		there.unfinished,
	}
	if changed.texts == nil {
		changed.texts, changed.replies, changed.runs = map[string]string{}, map[string]reply{}, map[string]*run{}
	}
	return changed
}

func describe(input, output any) string {
	operation := *input.(*Operation)
	operation.Result = nil
	result := "unknown"
	if output.(*Result) != nil {
		result = text(output)
	}
	return fmt.Sprintf("%s -> %s", text(operation), result)
}

func text(value any) string {
	encoded, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return string(encoded)
}
