package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/anishathalye/porcupine"
)

// History is what a recorder wrote; `histories.py` describes the fields.
type History struct {
	Limits     map[string]Limits `json:"limits,omitempty"`
	Tokens     string            `json:"tokens,omitempty"`
	Use        string            `json:"use,omitempty"`
	Operations []*Operation      `json:"operations,omitempty"`
	Kills      int               `json:"kills,omitempty"` // not used here
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
	Behind       string  `json:"behind,omitempty"`
	Most         int     `json:"most,omitempty"`
	IsWithdrawn  bool    `json:"isWithdrawn,omitempty"`
	ID           string  `json:"id,omitempty"`
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
	ID       string   `json:"id,omitempty"`
	Run      string   `json:"run,omitempty"`
	Reply    string   `json:"reply,omitempty"`
	Quota    string   `json:"quota,omitempty"`
	IsFirst  bool     `json:"isFirst,omitempty"`
	IsStored bool     `json:"isStored,omitempty"`
	Queue    []string `json:"queue,omitempty"`
	Entries  []Entry  `json:"entries,omitempty"`
	Names    []string `json:"names,omitempty"`
	IDs      []string `json:"ids,omitempty"`
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

// conversation has the names of its messages and replies in the order of their ids, and, for each run that is unfinished
// or queued, a mark where its reply will be. The name of a reply is its id.
type conversation struct {
	order       []string
	ids         map[string]string
	texts       map[string]string
	replies     map[string]reply
	runs        map[string]*run
	unfinished  string
	queue       []queued
	isWithdrawn map[string]bool
}

type queued struct {
	run     string
	message string
	isFirst bool
}

type reply struct {
	name       string
	isComplete bool
}

type run struct {
	message string
	log     []Entry
}

// mark is where the reply of a run will be: behind all messages that there are when it begins or is queued, and before
// all that come later.
func mark(run string) string { return "reply of " + run }

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
	case "enqueue":
		return enqueue(before, there, operation, result)
	case "beginQueued":
		return beginQueued(history, before, there, operation, result)
	case "leave":
		return leave(before, there, operation, result)
	case "append":
		return appendEntry(before, there, operation, result)
	case "finish":
		return finish(before, there, operation, result)
	case "queue":
		return result.Run == there.unfinished && slices.Equal(result.Queue, there.queuedRuns()), before
	case "log":
		var log []Entry
		if of := there.runs[operation.Run]; of != nil {
			log = of.log
		}
		return slices.Equal(result.Entries, log), before
	case "messages":
		return slices.Equal(result.Names, there.names()), before
	case "use":
		return use(history, before, operation, result), before
	}
	panic("there is no operation " + operation.Name)
}

func begin(history *History, before *user, there *conversation, operation *Operation, result *Result) (bool, *user) {
	if there.isWithdrawn[operation.Message] {
		return result.Kind == "withdrawn", before
	}
	text, isStored := there.texts[operation.Message]
	if isStored && text != operation.Text {
		return result.Kind == "mismatch", before
	}
	if last := there.replies[operation.Message]; last.isComplete {
		return result.Kind == "answered" && result.Reply == last.name, before
	}
	if first := there.firstRun(); first != "" {
		isTrue := result.Run == first && result.IsStored == isStored
		return result.Kind == "busy" && isTrue && slices.Equal(result.Queue, there.queuedRuns()), before
	}
	if isAllowed, hasBegun := hasQuota(history, before, operation, result); !hasBegun {
		return isAllowed, before
	}
	changed := there.copied()
	if !isStored && !changed.store(operation) {
		return false, before
	}
	changed.order = append(changed.order, mark(operation.Run))
	isTrue := result.Kind == "begun" && result.IsFirst == !isStored && result.ID == changed.ids[operation.Message]
	return isTrue, before.withBegun(changed, operation, operation.Message)
}

// hasQuota is whether a run that can begin begins, and if not, whether that is allowed.
func hasQuota(history *History, before *user, operation *Operation, result *Result) (isAllowed, hasBegun bool) {
	limits := history.Limits[operation.User]
	isUsedUp := map[string]bool{
		"concurrent-runs":  before.liveRuns() >= limits.Runs,
		"turns-per-minute": limits.Turns > 0 && before.turns[operation.Minute] >= limits.Turns,
		"tokens-per-day":   limits.Tokens > 0 && before.tokens >= limits.Tokens,
	}
	if result.Kind == "refused" {
		return isUsedUp[result.Quota], false
	}
	if isUsedUp["concurrent-runs"] || isUsedUp["turns-per-minute"] {
		return false, false
	}
	return false, !isUsedUp["tokens-per-day"] || history.Tokens != "exact"
}

// withBegun is the state after a run has begun for a message of a conversation.
func (before *user) withBegun(changed *conversation, operation *Operation, message string) *user {
	changed.unfinished = operation.Run
	changed.runs[operation.Run] = &run{message, []Entry{*operation.Entry}}
	after := before.with(operation.Conversation, changed)
	after.turns = maps.Clone(after.turns)
	if after.turns == nil {
		after.turns = map[int]int{}
	}
	after.turns[operation.Minute]++
	return after
}

func wait(before *user, there *conversation, operation *Operation, result *Result) (bool, *user) {
	if there.firstRun() != operation.Run {
		return result.Kind == "ended", before
	}
	if there.isWithdrawn[operation.Message] {
		return result.Kind == "withdrawn", before
	}
	if text, isStored := there.texts[operation.Message]; isStored {
		if text != operation.Text {
			return result.Kind == "mismatch", before
		}
		return result.Kind == "saved" && result.ID == there.ids[operation.Message], before
	}
	changed := there.copied()
	if !changed.store(operation) {
		return false, before
	}
	isTrue := result.Kind == "saved" && result.ID == changed.ids[operation.Message]
	return isTrue, before.with(operation.Conversation, changed)
}

func enqueue(before *user, there *conversation, operation *Operation, result *Result) (bool, *user) {
	if there.isWithdrawn[operation.Message] {
		return result.Kind == "withdrawn", before
	}
	text, isStored := there.texts[operation.Message]
	if isStored && text != operation.Text {
		return result.Kind == "mismatch", before
	}
	for _, each := range there.queue {
		if each.message == operation.Message {
			isTrue := result.Run == each.run && result.IsFirst == each.isFirst
			return result.Kind == "queued" && isTrue && result.ID == there.ids[operation.Message], before
		}
	}
	if there.firstRun() != operation.Behind {
		return result.Kind == "ended", before
	}
	if len(there.queue) >= operation.Most {
		return result.Kind == "full", before
	}
	changed := there.copied()
	if !isStored && !changed.store(operation) {
		return false, before
	}
	changed.order = append(changed.order, mark(operation.Run))
	changed.queue = append(changed.queue, queued{operation.Run, operation.Message, !isStored})
	isTrue := result.Kind == "queued" && result.Run == operation.Run && result.IsFirst == !isStored
	isTrue = isTrue && result.ID == changed.ids[operation.Message]
	return isTrue, before.with(operation.Conversation, changed)
}

func beginQueued(history *History, before *user, there *conversation, operation *Operation, result *Result) (bool, *user) {
	if there.unfinished != "" || len(there.queue) == 0 || there.queue[0].run != operation.Run {
		return result.Kind == "not next", before
	}
	if isAllowed, hasBegun := hasQuota(history, before, operation, result); !hasBegun {
		return isAllowed, before
	}
	next := there.queue[0]
	changed := there.copied()
	changed.queue = changed.queue[1:]
	isTrue := result.Kind == "begun" && result.IsFirst == next.isFirst && result.ID == there.ids[next.message]
	return isTrue, before.withBegun(changed, operation, next.message)
}

func leave(before *user, there *conversation, operation *Operation, result *Result) (bool, *user) {
	place := slices.Index(there.queuedRuns(), operation.Run)
	if place < 0 {
		return result.Kind == "absent", before
	}
	message := there.queue[place].message
	changed := there.copied()
	changed.queue = slices.Delete(changed.queue, place, place+1)
	changed.remove(mark(operation.Run))
	changed.runs[operation.Run] = &run{message, []Entry{*operation.Entry}}
	if _, hasReply := there.replies[message]; operation.IsWithdrawn && !hasReply {
		changed.remove(message)
		delete(changed.texts, message)
		changed.isWithdrawn[message] = true
	}
	return result.Kind == "left", before.with(operation.Conversation, changed)
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
	if operation.Reply == "" {
		changed.remove(mark(operation.Run))
	} else {
		changed.remove(there.replies[of.message].name)
		place := slices.Index(changed.order, mark(operation.Run))
		changed.order[place] = operation.Reply
		if !changed.isInOrder(place, operation.Reply) {
			return false, before
		}
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
		described += fmt.Sprintf("; %s: %v, queue: %v", name, there.order, there.queue)
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
	return &run{of.message, append(slices.Clip(of.log), entry)}
}

func (there *conversation) copied() *conversation {
	changed := &conversation{
		slices.Clone(there.order),
		maps.Clone(there.ids),
		maps.Clone(there.texts),
		maps.Clone(there.replies),
		maps.Clone(there.runs),
		there.unfinished,
		slices.Clone(there.queue),
		maps.Clone(there.isWithdrawn),
	}
	if changed.texts == nil {
		changed.texts, changed.replies, changed.runs = map[string]string{}, map[string]reply{}, map[string]*run{}
		changed.ids, changed.isWithdrawn = map[string]string{}, map[string]bool{}
	}
	return changed
}

// store is whether the id of a new message, if it is known, is greater than all others.
func (there *conversation) store(operation *Operation) bool {
	there.order = append(there.order, operation.Message)
	there.texts[operation.Message] = operation.Text
	there.ids[operation.Message] = operation.ID
	return operation.ID == "" || there.isInOrder(len(there.order)-1, operation.ID)
}

// isInOrder is whether the ids before a place are less than the one there, and the ids behind it greater.
func (there *conversation) isInOrder(place int, id string) bool {
	for at, name := range there.order {
		other := there.ids[name]
		if other == "" && strings.HasPrefix(name, "msg_") {
			other = name
		}
		if other != "" && (at < place && other >= id || at > place && other <= id) {
			return false
		}
	}
	return true
}

func (there *conversation) remove(name string) {
	if place := slices.Index(there.order, name); place >= 0 {
		there.order = slices.Delete(there.order, place, place+1)
	}
}

// names has all messages and replies.
func (there *conversation) names() []string {
	var names []string
	for _, name := range there.order {
		if !strings.HasPrefix(name, mark("")) {
			names = append(names, name)
		}
	}
	return names
}

func (there *conversation) queuedRuns() []string {
	var runs []string
	for _, each := range there.queue {
		runs = append(runs, each.run)
	}
	return runs
}

// firstRun is what any other message must wait for.
func (there *conversation) firstRun() string {
	if there.unfinished == "" && len(there.queue) > 0 {
		return there.queue[0].run
	}
	return there.unfinished
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
