// HashiCorp's `vault agent` as a peer of benchmarks: its own configuration files, auto-auth
// and template server. The published program cannot be built from its module: of its many
// storages and plugins some want a library at a version that no one published. So this
// lacks caching, listeners, sinks and `exec`, and the program is smaller.
//
//	vault-agent FILE
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/api"
	"github.com/hashicorp/vault/command/agent/config"
	"github.com/hashicorp/vault/command/agent/template"
	"github.com/hashicorp/vault/command/agentproxyshared"
	"github.com/hashicorp/vault/command/agentproxyshared/auth"
)

func main() {
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(file string) error {
	found, err := config.LoadConfigFile(file)
	if err != nil {
		return err
	}
	logger := hclog.New(&hclog.LoggerOptions{Level: hclog.Info})
	client, err := connect(found.Vault)
	if err != nil {
		return err
	}
	wanted := found.AutoAuth.Method
	method, err := agentproxyshared.GetAutoAuthMethodFromConfig(wanted.Type, &auth.AuthConfig{
		Logger:    logger.Named("auth"),
		MountPath: wanted.MountPath,
		Config:    wanted.Config,
	}, found.Vault.Address)
	if err != nil {
		return err
	}
	logins := auth.NewAuthHandler(&auth.AuthHandlerConfig{
		Logger:                logger.Named("auth.handler"),
		Client:                client,
		EnableTemplateTokenCh: true,
	})
	templates := template.NewServer(&template.ServerConfig{
		Logger:      logger.Named("template"),
		LogLevel:    hclog.Info,
		LogWriter:   os.Stderr,
		AgentConfig: found,
	})
	ctx := context.Background()
	go func() {
		for range logins.OutputCh { // where sinks would take the token
		}
	}()
	failed := make(chan error, 2)
	go func() { failed <- logins.Run(ctx, method) }()
	go func() {
		failed <- templates.Run(
			ctx, logins.TemplateTokenCh, found.Templates, logins.AuthInProgress, logins.InvalidToken)
	}()
	return <-failed
}

func connect(wanted *config.Vault) (*api.Client, error) {
	settings := api.DefaultConfig()
	settings.Address = wanted.Address
	if err := settings.ConfigureTLS(&api.TLSConfig{CACert: wanted.CACert}); err != nil {
		return nil, err
	}
	return api.NewClient(settings)
}
