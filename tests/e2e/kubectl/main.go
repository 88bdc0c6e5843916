// Command kubectl is the client that the tests speak with: upstream's, of exactly the version that Lanyard answers for.
// The version is stamped in at build time by `cargo xtask kubectl`.
package main

import (
	"os"

	"k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"

	// Credential plugins are found by import.
	_ "k8s.io/client-go/plugin/pkg/client/auth"
)

func main() {
	err := cli.RunNoErrOutput(cmd.NewDefaultKubectlCommand())
	if err != nil {
		util.CheckErr(err)
		os.Exit(1)
	}
}
