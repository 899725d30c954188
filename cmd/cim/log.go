package main

import (
	"io"
	"log/slog"

	"github.com/spf13/pflag"
)

// logConfig holds the settings of a log.
type logConfig struct{ level, format string }

func defaultLog() logConfig { return logConfig{level: "info", format: "text"} }

func (c *logConfig) define(flags *pflag.FlagSet) {
	choiceVar(flags, &c.level, "log-level", "lowest level that is logged", "debug", "info", "warn", "error")
	choiceVar(flags, &c.format, "log-format", "form of the log on standard error", "text", "json")
}

// logger writes to w. define has checked the level.
func (c logConfig) logger(w io.Writer) *slog.Logger {
	levels := map[string]slog.Level{
		"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
	}
	options := &slog.HandlerOptions{Level: levels[c.level]}
	if c.format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}
