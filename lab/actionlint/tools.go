//go:build tools

// Package tools names the one command that is built.
package tools

import _ "github.com/rhysd/actionlint/cmd/actionlint"
