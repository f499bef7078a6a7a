package metrics

// plugin is what the processes of a plugin have used.
type plugin struct {
	pid        int
	cpu, spent float64 // of the process of now, when it was seen last, and of those before it
}

// plugin says what a plugin uses, where that can be known.
func (c *collector) plugin(of Plugin, say func(m metric, v float64, labels ...string)) {
	p := c.plugins[of.Name]
	if p == nil {
		p = new(plugin)
		c.plugins[of.Name] = p
	}
	cpuNow, bytes, ok := usage(of.PID)
	if p.pid != of.PID || ok && cpuNow < p.cpu {
		p.pid, p.spent, p.cpu = of.PID, p.spent+p.cpu, 0
	}
	if ok {
		p.cpu = cpuNow
		say(memory, bytes, of.Name)
	}
	if ok || p.spent > 0 {
		say(cpu, p.spent+p.cpu, of.Name)
	}
}
