package main

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// SinkSettings are the settings of a sink in YAML.
type SinkSettings struct {
	Path  string `yaml:"path,required,short,path" doc:"of the database file, made if missing"`
	Table string `yaml:"table" doc:"made if missing"`
}

// Describe says how sure delivery is.
func (SinkSettings) Describe() bridge.Description {
	return bridge.Description{Guarantee: bridge.Guarantee{Level: bridge.LevelOnce, Why: "the id is the primary key"}}
}

type sink struct {
	db     *sql.DB
	insert string
}

// openSink asks for ids: they are the primary key, so that a message that comes again is one row.
func openSink(ctx context.Context, s *SinkSettings, env bridge.Env) (bridge.Sink, error) {
	env.NeedID()
	db, err := open(ctx, s.Path)
	if err != nil {
		return nil, err
	}
	_, err = db.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS "+quote(s.Table)+
		" (id TEXT PRIMARY KEY, time TEXT, topic TEXT, payload TEXT)")
	if err != nil {
		_ = db.Close()
		return nil, fmt.Errorf("make table %s: %w", s.Table, err)
	}
	return &sink{db, "INSERT OR IGNORE INTO " + quote(s.Table) + " (id, time, topic, payload) VALUES (?, ?, ?, ?)"}, nil
}

// Write inserts the batch in one transaction: all of it or nothing.
func (s *sink) Write(ctx context.Context, batch bridge.Batch) (none bridge.Result, err error) {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return none, fmt.Errorf("begin transaction: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // does nothing after Commit
	insert, err := tx.PrepareContext(ctx, s.insert)
	if err != nil {
		return none, fmt.Errorf("prepare insert: %w", err)
	}
	for i := range batch {
		m := &batch[i]
		if _, err := insert.ExecContext(ctx, m.ID, m.Time.UTC().Format("2006-01-02T15:04:05.000Z"), m.Topic,
			string(m.Payload)); err != nil {
			return none, fmt.Errorf("insert message: %w", err)
		}
	}
	if err := tx.Commit(); err != nil {
		return none, fmt.Errorf("commit: %w", err)
	}
	return bridge.Result{Settled: len(batch)}, nil
}

func (s *sink) Close() error { return s.db.Close() }
