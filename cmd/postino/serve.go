package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/postino-mail/postino/app"
)

type serveCmd struct {
	store
}

// Run serves until a signal; SIGHUP reloads certificates and the log level.
func (c *serveCmd) Run(e *env) error {
	cfg, err := loadConfig(c.Config)
	if err != nil {
		return err
	}
	level := new(slog.LevelVar)
	level.Set(cfg.LogLevel())
	log := newLogger(e.err, cfg.LogFormat(), level)
	opts, err := cfg.Options(log, version())
	if err != nil {
		return err
	}
	node, err := app.Start(opts)
	if err != nil {
		return err
	}
	for _, l := range node.Bound() {
		log.Info("listening", "service", l.Service, "address", l.Address)
	}
	notify(log, daemon.SdNotifyReady)
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	ctx, cancel := context.WithCancel(e.ctx)
	defer cancel()
	go c.reloads(ctx, hup, node, cfg, level, log)
	go func() {
		<-ctx.Done()
		notify(log, daemon.SdNotifyStopping)
	}()
	err = node.Run(ctx)
	log.Info("stopped", "err", err)
	return err
}

// reloads answers SIGHUP. A configuration with an error, or one that changes
// what only a restart can change, alters nothing and says so.
func (c *serveCmd) reloads(ctx context.Context, hup <-chan os.Signal, node *app.Node, cfg *app.Config, level *slog.LevelVar, log *slog.Logger) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hup:
		}
		notify(log, daemon.SdNotifyReloading)
		if next, err := loadConfig(c.Config); err != nil {
			log.Error("reload: nothing changed", "err", err)
		} else if keys := cfg.Pinned(next); len(keys) > 0 {
			log.Error("reload: nothing changed, these keys need a restart", "keys", keys)
		} else if err := node.Reload(); err != nil {
			log.Error("reload: nothing changed", "err", err)
		} else {
			level.Set(next.LogLevel())
			log.Info("reloaded")
		}
		notify(log, daemon.SdNotifyReady)
	}
}

// notify tells systemd, if it started us.
func notify(log *slog.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("service manager not told", "err", err)
	}
}

// newLogger writes lines for people or JSON.
func newLogger(w io.Writer, format string, level slog.Leveler) *slog.Logger {
	o := &slog.HandlerOptions{Level: level}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

// quietLogger is for commands that answer on their own: only what is wrong.
func quietLogger(e *env) *slog.Logger { return newLogger(e.err, "text", slog.LevelWarn) }

type configCmd struct {
	Check configCheckCmd `cmd:"" help:"Read the configuration file and report all errors."`
}

type configCheckCmd struct {
	store
}

func (c *configCheckCmd) Run(e *env) error {
	cfg, err := loadConfig(c.Config)
	if err != nil {
		return err
	}
	if _, err := cfg.Options(quietLogger(e), version()); err != nil { // certificates too
		return configError{err}
	}
	return said(e, "%s: ok", c.Config)
}

type versionCmd struct{}

func (versionCmd) Run(e *env) error {
	_, err := fmt.Fprintf(e.out, "postino %s %s %s/%s\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}

// version is the module's version, or the commit that was built.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return "devel-" + s.Value[:min(12, len(s.Value))]
		}
	}
	return "devel"
}
