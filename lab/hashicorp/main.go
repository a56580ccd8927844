// HashiCorp Vault as a server for tests: Vault's own core, HTTP handler, listeners and
// configuration files, in the command line of the published program:
//
//	vault server -dev [-dev-root-token-id=ID] [-dev-listen-address=ADDRESS] [-config=FILE]
//	vault server -config=FILE
//
// The published program cannot be built from its module: of its many storages, seals and
// plugins some want a library at a version that no one published. This has storage `file`
// and `inmem`, a Shamir seal, audit devices `file`, the secrets engine KV, and the ways to
// log in that the maps below name. SIGHUP reads certificates and opens audit files anew.
package main

import (
	"context"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/hashicorp/cli"
	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-secure-stdlib/reloadutil"
	jwt "github.com/hashicorp/vault-plugin-auth-jwt"
	kubernetes "github.com/hashicorp/vault-plugin-auth-kubernetes"
	kv "github.com/hashicorp/vault-plugin-secrets-kv"
	"github.com/hashicorp/vault/audit"
	"github.com/hashicorp/vault/builtin/credential/approle"
	"github.com/hashicorp/vault/builtin/credential/cert"
	"github.com/hashicorp/vault/builtin/credential/userpass"
	"github.com/hashicorp/vault/command/server"
	"github.com/hashicorp/vault/helper/namespace"
	vaulthttp "github.com/hashicorp/vault/http"
	"github.com/hashicorp/vault/internalshared/configutil"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/physical"
	"github.com/hashicorp/vault/sdk/physical/file"
	"github.com/hashicorp/vault/sdk/physical/inmem"
	"github.com/hashicorp/vault/vault"
)

var storages = map[string]physical.Factory{
	"file":  file.NewFileBackend,
	"inmem": inmem.NewInmem,
}

// Plugins of Vault that are compiled in; its core asks for them as for a registry.
type registry map[consts.PluginType]map[string]logical.Factory

var builtins = registry{
	consts.PluginTypeSecrets: {"kv": kv.Factory},
	consts.PluginTypeCredential: {
		"approle":    approle.Factory,
		"cert":       cert.Factory,
		"jwt":        jwt.Factory,
		"kubernetes": kubernetes.Factory,
		"userpass":   userpass.Factory,
	},
}

func (r registry) Contains(name string, kind consts.PluginType) bool {
	return r[kind][name] != nil
}

func (r registry) Get(name string, kind consts.PluginType) (func() (any, error), bool) {
	factory, found := r[kind][name]
	return func() (any, error) { return factory, nil }, found
}

func (r registry) Keys(kind consts.PluginType) (names []string) {
	for name := range r[kind] {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (r registry) DeprecationStatus(name string, kind consts.PluginType) (consts.DeprecationStatus, bool) {
	return consts.Supported, r.Contains(name, kind)
}

func (r registry) IsBuiltinEntPlugin(string, consts.PluginType) bool { return false }

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	flags := flag.NewFlagSet("vault server", flag.ExitOnError)
	dev := flags.Bool("dev", false, "in memory, unsealed, KV version 2 at secret/")
	token := flags.String("dev-root-token-id", "root", "the root token")
	address := flags.String("dev-listen-address", "127.0.0.1:8200", "where it listens")
	file := flags.String("config", "", "a configuration file")
	flags.Bool("dev-no-store-token", true, "no token is ever stored in the home folder")
	if len(os.Args) < 2 || os.Args[1] != "server" {
		return errors.New("usage: vault server [-dev] [-config=FILE]")
	}
	flags.Parse(os.Args[2:])

	config := server.NewConfig()
	if *dev {
		config, _ = server.DevConfig("inmem")
		config.Listeners[0].Address = *address
	}
	if *file != "" {
		read, err := server.LoadConfig(*file)
		if err != nil {
			return err
		}
		config = config.Merge(read)
	}
	core, reloadAudit, err := newCore(config)
	if err != nil {
		return err
	}
	if *dev {
		if err := prepare(core, *token); err != nil {
			return err
		}
	}
	reloads := []reloadutil.ReloadFunc{reloadAudit}
	for _, wanted := range config.Listeners {
		listener, reload, err := serve(core, wanted)
		if err != nil {
			return err
		}
		defer listener.Close()
		if reload != nil {
			reloads = append(reloads, reload)
		}
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM)
	for <-signals == syscall.SIGHUP {
		for _, reload := range reloads {
			if err := reload(); err != nil {
				core.Logger().Error("cannot reload", "error", err)
			}
		}
	}
	return core.Shutdown()
}

func newCore(config *server.Config) (*vault.Core, reloadutil.ReloadFunc, error) {
	logger := hclog.New(&hclog.LoggerOptions{Level: hclog.Info, Output: os.Stderr})
	if config.Storage == nil || storages[config.Storage.Type] == nil {
		return nil, nil, errors.New("storage must be file or inmem")
	}
	storage, err := storages[config.Storage.Type](config.Storage.Config, logger.Named("storage"))
	if err != nil {
		return nil, nil, err
	}
	settings := &vault.CoreConfig{
		RawConfig:          config,
		Physical:           storage,
		StorageType:        config.Storage.Type,
		RedirectAddr:       config.Storage.RedirectAddr,
		DisableMlock:       config.DisableMlock,
		DefaultLeaseTTL:    config.DefaultLeaseTTL,
		MaxLeaseTTL:        config.MaxLeaseTTL,
		Logger:             logger,
		AuditBackends:      map[string]audit.Factory{"file": audit.NewFileBackend},
		LogicalBackends:    builtins[consts.PluginTypeSecrets],
		CredentialBackends: builtins[consts.PluginTypeCredential],
		BuiltinRegistry:    builtins,
	}
	core, err := vault.NewCore(settings)
	reload := func() error {
		settings.ReloadFuncsLock.RLock()
		defer settings.ReloadFuncsLock.RUnlock()
		var failed error
		for _, functions := range *settings.ReloadFuncs {
			for _, function := range functions {
				failed = errors.Join(failed, function())
			}
		}
		return failed
	}
	return core, reload, err
}

// What `vault server -dev` does: initialize, unseal, make the root token, mount KV.
func prepare(core *vault.Core, token string) error {
	ctx := namespace.RootContext(context.Background())
	made, err := core.Initialize(ctx, &vault.InitParams{
		BarrierConfig: &vault.SealConfig{SecretShares: 1, SecretThreshold: 1},
	})
	if err != nil {
		return err
	}
	fmt.Println("Unseal Key:", base64.StdEncoding.EncodeToString(made.SecretShares[0]))
	if _, err := core.Unseal(made.SecretShares[0]); err != nil {
		return err
	}
	for _, step := range []struct {
		path, token string
		data        map[string]any
	}{
		{"auth/token/create", made.RootToken, map[string]any{
			"id": token, "policies": []string{"root"}, "no_parent": true, "no_default_policy": true,
		}},
		{"auth/token/revoke-self", made.RootToken, nil},
		{"sys/mounts/secret", token, map[string]any{
			"type": "kv", "description": "key/value secret storage",
			"options": map[string]string{"version": "2"},
		}},
	} {
		_, err := core.HandleRequest(ctx, &logical.Request{
			Operation:   logical.UpdateOperation,
			Path:        step.path,
			ClientToken: step.token,
			Data:        step.data,
		})
		if err != nil {
			return fmt.Errorf("%s: %w", step.path, err)
		}
	}
	return nil
}

// Serve what the configuration says of one listener; return how to read its certificate
// anew, nil where it has none.
func serve(core *vault.Core, wanted *configutil.Listener) (net.Listener, reloadutil.ReloadFunc, error) {
	listener, _, reload, err := server.NewListener(wanted, os.Stderr, &cli.BasicUi{})
	if err != nil {
		return nil, nil, fmt.Errorf("listener %s: %w", wanted.Type, err)
	}
	properties := &vault.HandlerProperties{Core: core, ListenerConfig: wanted}
	answering := &http.Server{
		Handler:           vaulthttp.Handler.Handler(properties),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		IdleTimeout:       5 * time.Minute,
		ErrorLog:          core.Logger().StandardLogger(nil),
	}
	go answering.Serve(listener)
	return listener, reload, nil
}
