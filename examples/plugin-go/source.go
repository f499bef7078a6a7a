package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// SourceSettings are the settings of a source in YAML.
type SourceSettings struct {
	Path     string        `yaml:"path,required,path" doc:"of the database file, which must be there"`
	Table    string        `yaml:"table,required" doc:"rows are read in the order of their rowid"`
	Topic    string        `yaml:"topic" doc:"of the messages; the name of the table unless set"`
	Interval time.Duration `yaml:"interval" doc:"between looks for new rows"`
}

var defaultSource = SourceSettings{Interval: time.Second}

// Validate checks what the types do not say.
func (s SourceSettings) Validate() error {
	if s.Interval <= 0 {
		return &bridge.KeyError{Key: "interval", Err: errors.New("must be more than nothing")}
	}
	return nil
}

// Describe says how sure delivery is.
func (SourceSettings) Describe() bridge.Description {
	return bridge.Description{Guarantee: bridge.Guarantee{
		Level: bridge.LevelAtLeastOnce,
		Why:   "read on from the last row acknowledged",
	}}
}

type source struct {
	settings *SourceSettings
	env      bridge.Env
	db       *sql.DB
	query    string
	last     int64 // rowid of the last row read

	closed chan struct{}
	once   sync.Once
}

func openSource(ctx context.Context, s *SourceSettings, env bridge.Env) (bridge.Source, error) {
	saved, err := env.Checkpoint.Load(ctx)
	if err != nil {
		return nil, err
	}
	src := &source{
		settings: s, env: env, closed: make(chan struct{}),
		query: "SELECT rowid AS rowid_, * FROM " + quote(s.Table) + " WHERE rowid > ? ORDER BY rowid LIMIT ?",
	}
	if saved != nil {
		if src.last, err = strconv.ParseInt(string(saved), 10, 64); err != nil {
			return nil, bridge.Permanent(fmt.Errorf("read checkpoint: %w", err))
		}
	}
	src.db, err = open(ctx, s.Path)
	return src, err
}

// Read returns the rows that are new, as JSON objects, and looks again after the interval while
// there is none.
func (s *source) Read(ctx context.Context) (bridge.Batch, bridge.Ack, error) {
	for {
		batch, ids, err := s.rows(ctx)
		if err != nil || len(batch) > 0 {
			return batch, func(ctx context.Context, err error) error { return s.ack(ctx, ids, err) }, err
		}
		select {
		case <-time.After(s.settings.Interval):
		case <-s.closed:
			return nil, nil, errors.New("the source is closed")
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
}

// ack saves how far the rows have been delivered. An instance that follows begins there.
func (s *source) ack(ctx context.Context, ids []int64, err error) error {
	n := bridge.Settled(len(ids), err)
	if n == 0 {
		return nil
	}
	return s.env.Checkpoint.Save(ctx, []byte(strconv.FormatInt(ids[n-1], 10)))
}

// rows returns new rows, and their numbers.
func (s *source) rows(ctx context.Context) (batch bridge.Batch, ids []int64, err error) {
	rows, err := s.db.QueryContext(ctx, s.query, s.last, s.env.MaxBatch)
	if err != nil {
		return nil, nil, fmt.Errorf("read table %s: %w", s.settings.Table, err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	names, err := rows.Columns()
	if err != nil {
		return nil, nil, fmt.Errorf("read table %s: %w", s.settings.Table, err)
	}
	topic := s.settings.Topic
	if topic == "" {
		topic = s.settings.Table
	}
	for rows.Next() {
		values, to := make([]any, len(names)), make([]any, len(names))
		for i := range values {
			to[i] = &values[i]
		}
		if err := rows.Scan(to...); err != nil {
			return nil, nil, fmt.Errorf("read row: %w", err)
		}
		id := values[0].(int64)
		row := make(map[string]any, len(names)-1)
		for i, name := range names[1:] {
			row[name] = values[i+1]
		}
		payload, err := json.Marshal(row)
		if err != nil {
			return nil, nil, fmt.Errorf("write row %d as JSON: %w", id, err)
		}
		// No id: SQLite gives the number of a row that was deleted again.
		batch = append(batch, bridge.Message{Topic: topic, Payload: payload, Time: time.Now()})
		ids = append(ids, id)
	}
	if err := rows.Err(); err != nil {
		return nil, nil, fmt.Errorf("read table %s: %w", s.settings.Table, err)
	}
	if len(ids) > 0 {
		s.last = ids[len(ids)-1]
	}
	return batch, ids, nil
}

func (s *source) Close() error {
	s.once.Do(func() { close(s.closed) })
	return s.db.Close()
}
