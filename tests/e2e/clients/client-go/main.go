// Command client-go is Lanyard's users in Go: client-go and controller-runtime with their default settings. Without an
// argument it runs in a pod; otherwise the argument names a scenario, which speaks to the server of $KUBECONFIG.
//
// A scenario states facts: each is a line on standard output, and the first that does not hold ends the program with 1.
package main

import (
	"fmt"
	"os"
	"slices"

	"k8s.io/klog/v2"
)

var scenarios = map[string]func(*harness) error{
	"controller-runtime": controllerRuntime,
	"encodings":          encodings,
	"informers":          informersScenario,
	"leader-election":    leaderElection,
	"writes":             writes,
	"apply":              applies,
	"pages":              pages,
	"events":             eventsScenario,
	"discovery":          discoveryScenario,
}

func main() {
	klog.SetOutput(os.Stderr)
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return inCluster()
	}
	if args[0] == "pairs" {
		return pairs(args[1:])
	}
	scenario := scenarios[args[0]]
	if scenario == nil {
		var names []string
		for name := range scenarios {
			names = append(names, name)
		}
		slices.Sort(names)
		return fmt.Errorf("unknown scenario %q, known are %v", args[0], names)
	}
	h, err := newHarness(args[0])
	if err != nil {
		return err
	}
	defer h.cancel()
	if err := scenario(h); err != nil {
		return fmt.Errorf("%s: %w", args[0], err)
	}
	fmt.Println("done")
	return nil
}
