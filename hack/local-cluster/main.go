// Command kubernetes is the whole control plane and node agent in one file: the first argument
// (or the name it was called by) picks kube-apiserver, kubelet, kubectl, etcd and so on. One link
// step instead of seven saves four fifths of the build time and of the disk.
//
// Called by hack/local-cluster (Python). The only command of our own is stop-sandboxes, which a
// teardown needs: pods outlive the container runtime through their shims.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	cri "k8s.io/cri-client/pkg"
	kubectl "k8s.io/kubectl/pkg/cmd"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

var daemons = map[string]func() *cobra.Command{
	"kube-apiserver":          apiserver.NewAPIServerCommand,
	"kube-controller-manager": controllermanager.NewControllerManagerCommand,
	"kube-scheduler":          func() *cobra.Command { return scheduler.NewSchedulerCommand() },
	"kube-proxy":              proxy.NewProxyCommand,
	// A plain context: with a signal context the kubelet closes a channel twice and panics.
	"kubelet": func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) },
}

func main() {
	name, args := filepath.Base(os.Args[0]), os.Args
	if !known(name) { // called by its own name: the first argument says which program
		if len(os.Args) < 2 || !known(os.Args[1]) {
			fmt.Fprintln(os.Stderr, "usage: kubernetes kube-apiserver|kube-controller-manager|kube-scheduler|kube-proxy|kubelet|kubectl|etcd|stop-sandboxes [arguments]")
			os.Exit(2)
		}
		name, args = os.Args[1], os.Args[1:]
	}
	os.Args = args // cobra and kubectl read it while they are built
	os.Exit(run(name, args))
}

func known(name string) bool {
	switch name {
	case "kubectl", "etcd", "stop-sandboxes":
		return true
	}
	return daemons[name] != nil
}

func run(name string, args []string) int {
	switch name {
	case "kubectl":
		// CheckErr keeps the exit code of a command run by `kubectl exec`.
		cmdutil.CheckErr(cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()))
		return 0
	case "etcd":
		etcdmain.Main(args)
		return 0
	case "stop-sandboxes":
		if len(args) != 2 {
			fmt.Fprintln(os.Stderr, "usage: stop-sandboxes CRI_ENDPOINT")
			return 2
		}
		if err := stopSandboxes(args[1]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return 0
	}
	return cli.Run(daemons[name]())
}

// stopSandboxes stops and removes every pod of the runtime behind endpoint and goes on after an
// error, so that one broken pod does not keep the others alive. The last error is returned.
func stopSandboxes(endpoint string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	runtime, err := cri.NewRemoteRuntimeService(endpoint, 30*time.Second, nil, nil)
	if err != nil {
		return err
	}
	sandboxes, err := runtime.ListPodSandbox(ctx, nil)
	if err != nil {
		return err
	}
	errs := make(chan error, len(sandboxes))
	for _, sandbox := range sandboxes {
		go func() {
			err := runtime.StopPodSandbox(ctx, sandbox.Id)
			if err == nil {
				err = runtime.RemovePodSandbox(ctx, sandbox.Id)
			}
			errs <- err
		}()
	}
	var last error
	for range sandboxes {
		if err := <-errs; err != nil {
			last = err
		}
	}
	fmt.Printf("stopped %d pods\n", len(sandboxes))
	return last
}
