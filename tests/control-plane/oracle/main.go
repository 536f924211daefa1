// Command oracle answers what kube-scheduler's Filter plugins say about pods and nodes, for the differential tests of
// the autoscaler. It needs no API server.
//
// It reads requests from standard input and writes answers to standard output, one JSON object a line. Answers come in
// any order; the id says which is which. There are two kinds of requests.
//
// Judge: which nodes fit a pod in the cluster as it stands?
//
//	{"id": 1, "objects": [...], "pods": ["ns/name", ...]}
//	{"id": 1, "pods": [{"pod": "ns/name", "nodes": [{"node": "n1", "fits": false, "plugin": "...", "message": "..."}]}]}
//
// Bind: can these pods be bound one after another, in some order, each accepted by all plugins at that moment?
//
//	{"id": 2, "objects": [...], "binds": [{"pod": "ns/name", "node": "n1"}, ...]}
//	{"id": 2, "left": [{"pod": "ns/name", "node": "n1", "plugin": "...", "message": "..."}]}
//
// Objects are API objects in full, as the API server stores them: nothing is defaulted here. A request that cannot be
// answered gets {"id": ..., "error": "..."}.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"sync"

	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/scheduler/metrics"
)

const (
	// garbagePercent lets the heap grow further than by default before it is collected: cases are many and short-lived.
	garbagePercent = 400

	// lineBuffer is the size of the buffers of standard input and output.
	lineBuffer = 1 << 20
)

// request is one line of standard input.
type request struct {
	ID      int64             `json:"id"`
	Objects []json.RawMessage `json:"objects"`
	Pods    []string          `json:"pods"`
	Binds   []binding         `json:"binds"`
}

// answer is one line of standard output.
type answer struct {
	ID    int64       `json:"id"`
	Error string      `json:"error,omitempty"`
	Pods  []podAnswer `json:"pods,omitempty"`
	Left  []refusal   `json:"left,omitempty"`
}

// podAnswer is what was found out about one pod.
type podAnswer struct {
	Pod   string    `json:"pod"`
	Nodes []verdict `json:"nodes"`
}

// verdict says whether one node fits, or which plugin says no.
type verdict struct {
	Node    string `json:"node"`
	Fits    bool   `json:"fits"`
	Plugin  string `json:"plugin,omitempty"`
	Message string `json:"message,omitempty"`
}

// binding is a pod that is to be bound to a node.
type binding struct {
	Pod  string `json:"pod"`
	Node string `json:"node"`
}

// refusal is a binding that was never accepted, with what was said at the last attempt.
type refusal struct {
	binding
	Plugin  string `json:"plugin"`
	Message string `json:"message"`
}

func main() {
	debug.SetGCPercent(garbagePercent)
	klog.SetLogger(klog.Logger{})
	// Nobody reads them, but plugins count.
	metrics.InitMetrics()
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "oracle:", err)
		os.Exit(1)
	}
}

// run answers requests until the input ends.
func run(input io.Reader, output io.Writer) error {
	plugins, err := newProfile(context.Background())
	if err != nil {
		return err
	}
	lines := make(chan []byte)
	answers := make(chan answer)

	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for line := range lines {
				answers <- reply(plugins, line)
			}
		})
	}
	var readError error
	go func() {
		readError = readLines(input, lines)
		close(lines)
		workers.Wait()
		close(answers)
	}()

	// Whoever asks may wait for the answer before asking again, so nothing may stay in the buffer.
	buffered := bufio.NewWriterSize(output, lineBuffer)
	encoder := json.NewEncoder(buffered)
	for answer := range answers {
		if err := errors.Join(encoder.Encode(answer), buffered.Flush()); err != nil {
			return err
		}
	}
	return readError
}

// readLines sends each line that is not empty, without a limit on its length.
func readLines(input io.Reader, lines chan<- []byte) error {
	reader := bufio.NewReaderSize(input, lineBuffer)
	for {
		line, err := reader.ReadBytes('\n')
		if len(line) > 1 {
			lines <- line
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// reply answers one request.
func reply(plugins *profile, line []byte) (result answer) {
	var asked request
	// A plugin that panics on a case is an answer about that case, not the end of all others.
	defer func() {
		if problem := recover(); problem != nil {
			result = answer{ID: asked.ID, Error: fmt.Sprintf("panic: %v\n%s", problem, debug.Stack())}
		}
	}()
	if err := json.Unmarshal(line, &asked); err != nil {
		return answer{ID: asked.ID, Error: err.Error()}
	}
	objects, err := decode(asked.Objects)
	if err != nil {
		return answer{ID: asked.ID, Error: err.Error()}
	}
	result = answer{ID: asked.ID}
	if asked.Binds != nil {
		result.Left, err = bindAll(plugins, objects, asked.Binds)
	} else {
		result.Pods, err = judge(plugins, objects, asked.Pods)
	}
	if err != nil {
		result = answer{ID: asked.ID, Error: err.Error()}
	}
	return result
}
