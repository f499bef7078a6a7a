package engine

import "time"

// Phase is what a pipeline of a [Bridge] does.
type Phase string

// The phases.
const (
	Starting Phase = "starting" // not everything is open that has to be
	Running  Phase = "running"
	Waiting  Phase = "waiting" // it has failed, and is started again later
	Failed   Phase = "failed"  // for good
	Paused   Phase = "paused"
	Draining Phase = "draining" // it stops, and delivers what it has read
	Finished Phase = "finished" // its input has ended, and all is delivered
)

// Situation is what a pipeline does, and since when.
type Situation struct {
	Pipeline *Pipeline
	Phase    Phase
	Since    time.Time
	Err      error     // why, where something has failed
	Again    time.Time // of one that waits: when it is started again
	Restarts uint64
}

// Situations returns those of all pipelines.
func (b *Bridge) Situations() []Situation {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := make([]Situation, len(b.jobs))
	for i, j := range b.jobs {
		all[i] = j.situation()
	}
	return all
}

func (j *job) situation() Situation {
	s := j.past.situation(j.parts())
	s.Pipeline = j.Pipeline
	switch {
	case !j.over():
		if j.ctx.Err() != nil {
			s.Phase, s.Since = Draining, j.Clock.Now()
			if told := j.told.Load(); told != nil {
				s.Since = *told
			}
		}
		return s
	case j.paused:
		s.Phase = Paused
	case j.err != nil:
		s.Phase = Failed
	default:
		s.Phase = Finished
	}
	s.Since, s.Err = j.ended, j.err
	return s
}

// parts returns how many runs the pipeline consists of.
func (p *Pipeline) parts() int {
	if p.Buffer != nil {
		return 2
	}
	return 1
}

// situation returns what a pipeline that has not ended does, of which so many runs have to be open.
func (p *past) situation(runs int) Situation {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := Situation{Phase: Starting, Since: p.since, Err: p.failed, Restarts: p.restarts}
	switch {
	case p.failed != nil:
		s.Phase, s.Again = Waiting, p.until
	case p.open >= runs:
		s.Phase = Running
	}
	return s
}
