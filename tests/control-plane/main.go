// Command control-plane is kube-apiserver, kube-controller-manager, kube-scheduler and etcd in one binary,
// for the integration tests of the autoscaler. The first argument picks the program; the rest are its flags.
//
// These are the programs that Kubernetes and etcd publish as Go packages, unchanged: the tests run against real
// admission, real scheduling and real controllers. Nothing here is part of what the autoscaler ships.
//
// A test process can be killed at any instruction, and then it ends nothing itself. So the life of each program can
// be tied to its standard input: see exitWithStdin.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"

	// The same side effects that the published programs import: JSON logs, and metrics of clients and of versions.
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
)

const (
	// exitWithStdin is the environment variable that, when it is "1", makes this process exit as soon as its
	// standard input is closed. The harness holds the other end of that pipe, and an operating system closes the
	// pipes of a process that ends, however it ends.
	exitWithStdin = "CONTROL_PLANE_EXIT_WITH_STDIN"

	// removeOnExit is the environment variable that names a folder to remove when the process exits because of
	// exitWithStdin: the data of the cluster.
	removeOnExit = "CONTROL_PLANE_REMOVE_ON_EXIT"

	// exitUsage is the exit code for a command line that names no program.
	exitUsage = 2
)

func main() {
	if len(os.Args) < 2 {
		usage()
	}
	program := os.Args[1]
	// Each program reads its flags as if it had been started under its own name.
	os.Args = append([]string{program}, os.Args[2:]...)

	if program == "exec" {
		os.Exit(runOther(os.Args[1:]))
	}
	if stdinEnded := watchStdin(); stdinEnded != nil {
		go func() {
			<-stdinEnded
			// Not an orderly shutdown: nobody is left to read what would be saved.
			removeFolder(os.Getenv(removeOnExit))
			os.Exit(0)
		}()
	}

	var command *cobra.Command
	switch program {
	case "kube-apiserver":
		command = apiserver.NewAPIServerCommand()
	case "kube-controller-manager":
		command = controllermanager.NewControllerManagerCommand()
	case "kube-scheduler":
		command = scheduler.NewSchedulerCommand()
	case "etcd":
		etcdmain.Main(os.Args)
		return
	default:
		usage()
	}
	os.Exit(cli.Run(command))
}

// runOther runs a program that is not part of this binary, such as the etcd of KUBEBUILDER_ASSETS, and ties its life
// to standard input as for the programs inside. It returns the exit code.
func runOther(commandLine []string) int {
	if len(commandLine) == 0 {
		usage()
	}
	stdinEnded := watchStdin()
	folder := os.Getenv(removeOnExit)
	// They are for this process, not for the one that it starts.
	_ = os.Unsetenv(exitWithStdin)
	_ = os.Unsetenv(removeOnExit)

	command := exec.Command(commandLine[0], commandLine[1:]...)
	command.Stdout = os.Stdout
	command.Stderr = os.Stderr
	if err := command.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "control-plane:", err)
		return 1
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()

	select {
	case err := <-ended:
		var status *exec.ExitError
		if errors.As(err, &status) && status.ExitCode() > 0 {
			return status.ExitCode()
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "control-plane:", err)
			return 1
		}
		return 0
	case <-stdinEnded:
		if err := command.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			fmt.Fprintln(os.Stderr, "control-plane:", err)
			return 1
		}
		<-ended
		removeFolder(folder)
		return 0
	}
}

// watchStdin returns a channel that is closed when standard input ends. It returns nil, which is never ready, unless
// exitWithStdin is set.
func watchStdin() <-chan struct{} {
	if os.Getenv(exitWithStdin) != "1" {
		return nil
	}
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // An error is an end, too.
		close(ended)
	}()
	return ended
}

// removeFolder removes the folder that removeOnExit named, if it did. It tries again for a while, because programs
// that end at the same moment may still write into it.
func removeFolder(folder string) {
	if folder == "" {
		return
	}
	const attempts = 50
	var err error
	for range attempts {
		if err = os.RemoveAll(folder); err == nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	fmt.Fprintln(os.Stderr, "control-plane:", err)
}

func usage() {
	fmt.Fprintln(os.Stderr, "usage: control-plane etcd|kube-apiserver|kube-controller-manager|kube-scheduler [flags]")
	fmt.Fprintln(os.Stderr, "       control-plane exec PROGRAM [arguments]")
	os.Exit(exitUsage)
}
