// Package monitor sees what the pipelines of a running bridge do, without a part in it: it wraps
// sources, steps and sinks before a pipeline runs, and counts per batch.
package monitor
