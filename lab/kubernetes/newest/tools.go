//go:build tools

// Package tools names the one command that server-side dry runs need.
package tools

import _ "k8s.io/kubernetes/cmd/kube-apiserver"
