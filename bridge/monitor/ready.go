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
		if p.Optional || p.connected() {
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

// connected reports whether everything is open that has to be, or has been until its end.
func (p *Pipeline) connected() bool {
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
			if (e.State == EndDown || e.State == EndConnecting) && !e.Optional && e.Kind != "dead_letter" {
				return false
			}
		}
		return spare == 0 || up > 0
	default:
		return false
	}
}
