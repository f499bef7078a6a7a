package monitor

import "fmt"

// Judge says whether the bridge is ready, and why not.
func (s *Status) Judge() {
	s.Reasons = nil
	if s.Draining {
		s.Reasons = append(s.Reasons, "the bridge stops")
	}
	for i := range s.Pipelines {
		p := &s.Pipelines[i]
		if p.Optional || p.Connected() {
			continue
		}
		why := fmt.Sprintf("pipeline %s is %s", p.Name, p.State)
		if p.Reason != "" {
			why += ": " + p.Reason
		}
		s.Reasons = append(s.Reasons, why)
	}
	s.Ready = len(s.Reasons) == 0
}

// Connected reports whether everything is open that has to be, or has been until its end.
func (p *Pipeline) Connected() bool {
	switch p.State {
	case Running, Finished:
		return true
	case Degraded: // an end that is not needed may be down, or nothing has come for a while
		spare, up := 0, 0 // of sinks of which one does
		for _, e := range p.Ends {
			if e.Kind == "sink" && e.Optional {
				spare++
				if e.State == EndUp {
					up++
				}
			}
			unopened := e.State == EndIdle && e.Kind == "source"
			if (e.State == EndDown || e.State == EndConnecting || unopened) && !e.Optional && e.Kind != "dead_letter" {
				return false
			}
		}
		return spare == 0 || up > 0
	default:
		return false
	}
}

// Undecided reports whether it is not known yet how the start of the pipeline goes: what has to be
// open was not tried, or has failed for good, which the pipeline is about to do as well.
func (p *Pipeline) Undecided() bool {
	if p.State != Starting {
		return false
	}
	tried := false
	for _, e := range p.Ends {
		switch {
		case e.Kind == "dead_letter":
		case e.State == EndConnecting, e.State == EndDown && e.Permanent:
			return true
		case e.State == EndDown:
			tried = true
		}
	}
	return !tried
}
